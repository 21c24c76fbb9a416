"""Fetch jobs: requests, progress and results."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tickwire.model.messages.errors import ErrorReply
from tickwire.model.ranges import Range
from tickwire.model.subjects import Exchange, JobId, Key, Name, Symbol, Timeframe
from tickwire.model.times import Count, Time


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
    """`[since, until)` is missing because the exchange refused to give it, or the cache to store it.

    `message` is why.
    """

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
    `refused` says of parts that are missing why the exchange did not give them, or the cache did not store them.
    `error` is set when the job stopped early: code `cancelled` when `fetcher.cancel` ended it, `page_rejected` when the
    cache passed over one of its pages, `parked` when the fetcher's process ended twice while it ran. `crashes` counts
    those ends since the job last got on; a running job without an `instance` was handed on in order, and waits for the
    next fetcher.

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
