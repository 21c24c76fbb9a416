"""Every message on the bus, as a frozen Struct. Payloads are JSON; `docs/schemas/` has a schema for each.

Times are integer milliseconds UTC. `since`/`until` are half-open. A row is
`[open time, open, high, low, close, volume]`. Unknown fields are ignored, so that fields can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, field

from tickwire.errors import BadRequest, InternalError, TickwireError
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, JobId, Key, Name, Symbol, Timeframe
from tickwire.model.times import Count, Sequence, Time

Row = tuple[Time, float, float, float, float, float]
"""Open time (ms), open, high, low, close, volume."""
VolumeUnit = Literal["base", "contracts", "quote", "unknown"]
"""What a volume counts: base currency, contracts, quote currency; or unknown: as the exchange says, whatever it is."""


class ErrorReply(Struct, frozen=True, kw_only=True):
    """What a service answers instead of a reply, with the header `Nats-Service-Error-Code`."""

    code: str
    message: str
    remedy: str = ""


class CandlePage(Struct, frozen=True, kw_only=True):
    """`tape.ohlcv.<exchange>.<token>.<timeframe>`: closed candles to be cached.

    `rows` are all candles that open in `[since, until)`: where there is none, nothing was traded. `volume_unit` is
    what their volumes count; a page without it is of an earlier version, which mixed units on contract markets.

    Candles that open at or after `settled` may still be revised by the exchange: they are stored, and not verified.
    Without it all are final. `opens_at` is the open time of any one candle of the key, where its candles do not open
    where most venues' do (days at midnight UTC, weeks on Monday, months on the first).
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    rows: list[Row]
    source: Literal["rest", "live"] = "rest"
    volume_unit: VolumeUnit | None = None
    settled: Time | None = None
    opens_at: Time | None = None

    @property
    def key(self) -> Key:
        """The key that the page belongs to."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Stored(Struct, frozen=True, kw_only=True):
    """`md.stored.<exchange>.<token>.<timeframe>`: the cache made `[since, until)` durable.

    `rows` is how many candles the pages held, `total_rows` how many the file has now.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time
    rows: Count
    total_rows: Count


class RejectedPage(Struct, frozen=True, kw_only=True):
    """`md.rejected.<exchange>.<token>.<timeframe>`: a page of candles that the cache passed over for good, and why.

    `sequence` is its place in stream OHLCV. `since` and `until` are absent where the page could not be read.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    sequence: Sequence
    reason: str
    since: Time | None = None
    until: Time | None = None


class FetchRequest(Struct, frozen=True, kw_only=True):
    """`fetcher.fetch`, and `jobs.fetch.<exchange>` once it has an `id`: have `[since, until)` fetched into the cache.

    Without `until`, up to now.

    `refresh` asks the exchange again for what is known. With an `id` of one's own (1 to 64 of
    `[A-Za-z0-9_-]`), `md.job.<id>` can be subscribed to before asking, and asking twice makes one job.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time
    until: Time | None = None
    refresh: bool = False
    id: JobId | None = None

    @property
    def key(self) -> Key:
        """The key to fetch."""
        return Key(self.exchange, self.symbol, self.timeframe)


class FetchAccepted(Struct, frozen=True, kw_only=True):
    """The reply to `fetcher.fetch`: the job is queued; follow `md.job.<id>`."""

    id: JobId


class CancelRequest(Struct, frozen=True, kw_only=True):
    """`fetcher.cancel`, and `jobs.cancel.<id>`: end a fetch job that waits or runs.

    The reply is the job's newest message. The job ends as `failed` with the error code `cancelled`, within a page of
    candles; what was stored is kept, and `missing` says what was not.
    """

    id: JobId


class Refused(Struct, frozen=True, kw_only=True):
    """`[since, until)` is missing because the exchange refused to give it; `message` is why."""

    since: Time
    until: Time
    message: str


class Job(Struct, frozen=True, kw_only=True):
    """`md.job.<id>`: progress, and at the end the result, of a fetch job.

    `since` and `until` are the request's, moved up to where candles open. A request without `until` gets the end
    of the newest closed candle, by the exchange's clock, once the job runs.

    `rows_from_cache` were known already, `rows_fetched` came from the exchange and are durable, both within
    `[since, until)`. `missing` is what is still not known, and while a refresh runs, what is not refreshed yet;
    `complete` means that nothing is missing.
    `refused` says of parts that are missing why the exchange did not give them.
    `error` is set when the job stopped early: code `cancelled` when `fetcher.cancel` ended it, `parked` when the
    fetcher's process ended twice while it ran. `crashes` counts those ends since the job last got on; a running job
    without an `instance` was handed on in order, and waits for the next fetcher.

    While the exchange fails, `last_error` says how, and `next_try_at` when it is asked again at the earliest (ms, by
    the fetcher's clock).
    """

    id: JobId
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    state: Literal["queued", "running", "done", "failed"]
    since: Time
    until: Time
    rows_from_cache: Count = 0
    rows_fetched: Count = 0
    rows_expected: Count = 0
    pages: Count = 0
    retries: Count = 0
    complete: bool = False
    missing: list[Range] = field(default_factory=list)
    error: ErrorReply | None = None
    instance: Name = ""
    crashes: Count = 0
    refused: list[Refused] = field(default_factory=list)
    last_error: str = ""
    next_try_at: Time | None = None

    @property
    def key(self) -> Key:
        """The key that is fetched."""
        return Key(self.exchange, self.symbol, self.timeframe)

    @property
    def ended(self) -> bool:
        """Whether this is the job's last message."""
        return self.state in ("done", "failed")


class KeyRequest(Struct, frozen=True, kw_only=True):
    """`cache.coverage`, `cache.verify` and `cache.repair`: one key.

    With `since` or `until`, a coverage counts `rows` and `holes` only within `[since, until)`, and `verified`
    is clipped to it; `first`, `last` and `bytes` stay those of the whole file.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None

    @property
    def key(self) -> Key:
        """The key asked about."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Coverage(Struct, frozen=True, kw_only=True):
    """What the cache knows of a key. `first` and `last` are open times, absent without rows.

    `verified` are the ranges known to be complete; `holes` counts candles absent within them (nothing was
    traded then); `bytes` is the size of the data file.

    `volume_unit` is what the volumes within `verified` count, absent where nothing says it. Rows that an earlier
    version stored of a contract market, in who knows which unit, are in the file but not within `verified`; so are the
    newest while the exchange may still revise them. `opens_at` as in CandlePage.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count = 0
    first: Time | None = None
    last: Time | None = None
    verified: list[Range] = field(default_factory=list)
    holes: Count = 0
    bytes: Count = 0
    volume_unit: VolumeUnit | None = None
    opens_at: Time | None = None

    @property
    def key(self) -> Key:
        """The key that this is about."""
        return Key(self.exchange, self.symbol, self.timeframe)


class CandlesRequest(Struct, frozen=True, kw_only=True):
    """`cache.get`: the rows that open in `[since, until)`, the first `limit` of them, or with `last` the newest.

    `format` is `rows` (JSON) or `columns` (MessagePack, see CandleColumns).
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    since: Time | None = None
    until: Time | None = None
    limit: Count | None = None
    last: bool = False
    format: Literal["rows", "columns"] = "rows"

    @property
    def key(self) -> Key:
        """The key asked for."""
        return Key(self.exchange, self.symbol, self.timeframe)


class Candles(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get`: one chunk of at most 512 KiB. `more` says that chunk + 1 follows it."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: list[Row]
    chunk: Count = 0
    more: bool = False


class CandleColumns(Struct, frozen=True, kw_only=True):
    """A reply to `cache.get` with `"format":"columns"`, in MessagePack.

    `dates` is raw little-endian int64, the others are raw little-endian float64, `count` values each.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    count: Count
    dates: bytes
    opens: bytes
    highs: bytes
    lows: bytes
    closes: bytes
    volumes: bytes
    chunk: Count = 0
    more: bool = False


class ListRequest(Struct, frozen=True, kw_only=True):
    """`cache.list`: every key that the cache holds, of one exchange if it is named."""

    exchange: Exchange | None = None


class CacheList(Struct, frozen=True, kw_only=True):
    """A reply to `cache.list`: one chunk. `damaged` names files that are refused, with the reason."""

    keys: list[Coverage]
    damaged: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False


class Problem(Struct, frozen=True, kw_only=True):
    """One finding of `cache.verify`. `line` counts from 1; 0 is the file as a whole."""

    line: Count
    message: str


class Verification(Struct, frozen=True, kw_only=True):
    """The reply to `cache.verify`: clean when there is no problem. At most the first 100 are listed."""

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    rows: Count
    holes: Count
    problems: list[Problem] = field(default_factory=list)
    problem_count: Count = 0


class Repair(Struct, frozen=True, kw_only=True):
    """The reply to `cache.repair`: where the damaged file was moved, what was kept, what must be fetched again.

    `problems` says of each dropped line why it was, of the first 100.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    moved_to: str
    rows_kept: Count
    lines_dropped: Count
    unverified: list[Range] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class LogLevel(Struct, frozen=True, kw_only=True):
    """`control.log`: every process sets the level of a logger (`tickwire` is the root) until it ends."""

    level: Literal["debug", "info", "warning", "error"]
    logger: Name = "tickwire"


class SinkRequest(Struct, frozen=True, kw_only=True):
    """`sink.report`."""


class SinkReport(Struct, frozen=True, kw_only=True):
    """The reply to `sink.report`: what this instance did since it started.

    Only the `active` one writes. `trades` were written and acknowledged, in `points`, which count the other
    measurements too; the database refused `rejected` of them. `failures` are writes that it did not take at once.
    `missed` counts where the tape let go of messages before they could be written.
    """

    instance: Name
    active: bool
    trades: Count = 0
    points: Count = 0
    rejected: Count = 0
    failures: Count = 0
    missed: Count = 0


class SinkTotals(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.trade.<exchange>.<token>`: a feed as the sink wrote it, up to the message at `sequence` of TRADES.

    `stream` is when that stream was made (ms): in another one, sequences begin anew. `count` trades were written; `cvd`
    is the cumulative volume delta by size class: quote currency bought less that sold by takers, since the sink first
    saw the feed. `measured` is true on contract markets whose contract sizes were taken into account; earlier versions
    did not, so `cvd` then began anew.
    """

    sequence: Sequence = 0
    stream: Time = 0
    count: Count = 0
    cvd: dict[str, float] = field(default_factory=dict)
    measured: bool = False


class SinkPosition(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.stream.SINK`: books and candles up to the message at `sequence` of SINK, of `time` (ms), are written.

    Until a sink has been there, `sequence` is none. `stream` is when that stream was made (ms).
    """

    sequence: Sequence | None = None
    time: Time = 0
    stream: Time = 0


class LeaseHolder(Struct, frozen=True, kw_only=True):
    """The value of a lease in bucket LEASES: who holds it, since when (ms)."""

    holder: Name
    since: Time


class Instance(Struct, frozen=True, kw_only=True):
    """The value of a member in bucket LEASES: a live service process."""

    instance: Name
    service: Name
    host: Name
    pid: Count
    started: Time


M = TypeVar("M")

HEADER_DIGITS = 20
"""Digits of the largest sequence that a stream can have, 2^64 - 1."""


def encode(message: Struct) -> bytes:
    """A message as JSON. Raises InternalError where nobody could decode it.

    msgspec writes NaN and Infinity as null: where a number is required, the message would be unreadable for good.
    """
    data = _encoder.encode(message)
    if b"null" in data:
        try:
            msgspec.json.decode(data, type=type(message))
        except msgspec.MsgspecError as error:
            raise InternalError(f"a {type(message).__name__} message that cannot be read: {error}") from error
    return data


def encode_request(message: Struct) -> bytes:
    """A request as JSON. Raises BadRequest, naming the field, when whoever is asked would refuse it."""
    data = _encoder.encode(message)
    decode(data, type(message))
    return data


def decode(data: bytes, kind: type[M]) -> M:
    """A message from JSON. Raises BadRequest, naming the field, when it does not fit, or is nested too deeply."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        # It quotes what was sent, and then says where.
        said = str(error)
        said = said if len(said) <= 200 else f"{said[:80]} … {said[-100:]}"
        raise BadRequest(f"the {kind.__name__} message does not fit: {said}", "see docs/schemas") from error


def header_int(headers: Mapping[str, str] | None, name: str) -> int | None:
    """A header that is a count or a time (ms); None where it is absent. Raises BadRequest where it is no number."""
    text = (headers or {}).get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= HEADER_DIGITS):
        raise BadRequest(f"the header {name} is not a number: {text[:30]!r}", "see docs/asyncapi.json")
    return int(text)


def error_reply(error: TickwireError) -> ErrorReply:
    """An error as it travels."""
    return ErrorReply(code=error.code, message=error.message, remedy=error.remedy)


_encoder = msgspec.json.Encoder()
