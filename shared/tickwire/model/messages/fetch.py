"""Fetch jobs: requests, progress and results."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tickwire.model.messages.errors import ErrorReply
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, JobId, Key, Name, Symbol, Timeframe
from tickwire.model.times import Count, Time

FetchKind = Literal["candle", "trade"]


class FetchRequest(Struct, frozen=True, kw_only=True):
    """`fetcher.fetch`, and `jobs.fetch.<exchange>` once it has an `id`: fetch `[since, until)` into the cache.

    Of kind `trade`, what the archive lacks of the history of trades is fetched into the archive: of days that have
    ended, and from venues that give it. Such a request has no `timeframe`, and no `refresh` or `audit`.

    `until` defaults to now. `refresh` also fetches ranges again that the cache has. `audit` fetches only what the cache
    has, once it has settled, names in the job's message what differs, and replaces it. A job in the `background` gives
    way to others of its exchange. A client that chooses the `id`
    itself (1 to 64 of `[A-Za-z0-9_-]`) can subscribe to `md.job.<id>` before the request, and a repeated request makes
    no second job.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe = ""
    since: Time
    until: Time | None = None
    kind: FetchKind = "candle"
    refresh: bool = False
    audit: bool = False
    background: bool = False
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
    candles; stored candles are kept, and `missing` lists the rest.
    """

    id: JobId


class Refused(Struct, frozen=True, kw_only=True):
    """`[since, until)` is missing because the exchange refused the request, or the cache rejected the page.

    `message` is the reason.
    """

    since: Time
    until: Time
    message: str


DifferentField = Literal["open", "high", "low", "close", "volume"]


class Difference(Struct, frozen=True, kw_only=True):
    """A field of the candle that opens at `timestamp` that differed in the cache and at the exchange.

    The value is absent on the side that had no such candle; volumes are in base currency where both are.
    """

    timestamp: Time
    field: DifferentField
    cached: float | None = None
    exchange: float | None = None


class Job(Struct, frozen=True, kw_only=True):
    """`md.job.<id>`: progress, and at the end the result, of a fetch job.

    `since` and `until` are the request's, rounded up to open times. Without `until` in the request it becomes the end
    of the newest closed candle, by the exchange's clock, once the job runs.

    `rows_from_cache` were in the cache before, `rows_fetched` came from the exchange and are durable, both within
    `[since, until)`. `missing` are the ranges that are not verified, or while a refresh runs, not refreshed yet;
    `complete` means that none is missing. `refused` gives the reasons of the exchange or the cache for some of them.
    `error` is set when the job stopped early: code `cancelled` when `fetcher.cancel` ended it, `page_rejected` when the
    cache rejected one of its pages, `parked` when the fetcher's process ended twice while the job ran. `crashes` counts
    those ends since the job last progressed; a running job without an `instance` was released by a fetcher that
    stopped, and waits for the next one.

    While the exchange fails, `last_error` is the failure, and `next_try_at` the earliest time of the next attempt (ms,
    by the fetcher's clock).

    Of an audit, `missing` are the ranges that the cache has and that were not compared; `rows_compared` counts the
    exchange's rows, `difference_count` the fields that differed, `differences` lists the first 100 (beyond them, some
    may be counted twice if the fetcher ended meanwhile).

    Of a job of kind `trade`, the archive takes the place of the cache, rows are trades (those of `rows_from_cache` are
    of whole days), and `timeframe` is empty.
    """

    id: JobId
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    state: Literal["queued", "running", "done", "failed"]
    since: Time
    until: Time
    kind: FetchKind = "candle"
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
    rows_compared: Count = 0
    difference_count: Count = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """The key to fetch."""
        return Key(self.exchange, self.symbol, self.timeframe)

    @property
    def ended(self) -> bool:
        """Whether this is the job's last message."""
        return self.state in ("done", "failed")
