"""Fetches the history of trades into the archive.

| subject | what |
|---|---|
| `fetcher.fetch`, `md.job.<id>` | a job of kind `trade`, and its progress |
"""

from __future__ import annotations

from tickwire.bus.connection import Bus
from tickwire.client import history
from tickwire.client.arguments import Time, span_of
from tickwire.client.history import Progress
from tickwire.errors import TickwireError
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key


class FetchesTrades:
    """The part of a client that fetches past trades."""

    bus: Bus

    async def fetch_trades(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, progress: Progress = None
    ) -> list[Range]:
        """Fetch what the archive lacks of the trades in `[since, until)`; without `until` to the end of yesterday.

        Only days (UTC) that have ended are fetched. Returns the ranges (ms) that are missing still, such as those that
        the exchange does not give any more; none if the archive has it all. `progress` is as in `candles`.

        Raises UnknownExchange, UnknownSymbol, UnsupportedKind (no usable history), ExchangeFailed, NoSuchService,
        StorageError, BadRequest.
        """
        start, end = span_of(since, until)
        assert start is not None
        key = Key(exchange, symbol, "")
        found = (await history.fetched(self.bus, [key], start, end, progress))[key]
        if isinstance(found, TickwireError):
            raise found
        return found.missing
