"""Single requests for the history of a market's trades by REST, for a fetcher that pages through days of it.

`past_trades` fills a short interruption in whatever form a venue accepts. Nothing is tried here: a venue's profile says
how its history is requested, or it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ccxt.base import errors
from msgspec.structs import replace

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_types import TradePages
from tickwire.exchange.past_trades import read_trades
from tickwire.model.feeds import Trade
from tickwire.venues.profile import MarketKind, TradeFacts
from tickwire.venues.units import kind_of

Paging = Literal["by id", "back", "by time"]
"""From an id on; back from a time; from a time on."""
PAGE = 100
"""Trades of a page where the profile has no maximum: what every venue grants."""


def paging_of(facts: TradeFacts) -> Paging | None:
    """How history is requested; None if the profile declares no way."""
    if facts.method == "by_id" and facts.first_id is not None and facts.ids == "counting":
        return "by id"
    if facts.method == "newest" and facts.older is not None and facts.older.by_time is not None:
        return "back"
    return "by time" if facts.method == "by_time" and facts.cut == "oldest" and not facts.needs_until else None


def why_refused(exchange: str, facts: TradeFacts) -> str | None:
    """Why history of trades cannot be archived; None if it can. Pure."""
    if paging_of(facts) is None:
        return f"the REST API of {exchange} gives no history of trades that tickwire can page through"
    if facts.ids not in ("counting", "rising", "opaque") or not facts.ids_shared:
        return f"trades of {exchange} have no ids that are known to be the same live and by REST"
    if facts.resolution_ms not in (None, 1):
        return f"the REST API of {exchange} gives the times of trades in units of {facts.resolution_ms} ms"
    return None


class TradeHistory:
    """The history of one opened exchange. Methods raise ccxt's errors, BadResponse if a trade cannot be read.

    Pages are in the venue's order. `latest` is the latest plausible time, ms.
    """

    def __init__(self, rest: TradePages, facts: TradeFacts, latest: Callable[[], int]) -> None:
        self.facts = facts
        self._rest = rest
        self._admission = Admission(latest)

    async def newest(self, symbol: str) -> list[Trade]:
        """The newest trades."""
        return await self._page(symbol, self._kind_params(symbol), self._size(symbol))

    async def from_id(self, symbol: str, first: int, limit: int | None = None) -> list[Trade]:
        """Trades from an id on."""
        assert self.facts.first_id is not None
        params = {self.facts.first_id: first, **self._kind_params(symbol)}
        return await self._page(symbol, params, limit or self._size(symbol))

    async def from_time(self, symbol: str, since: int) -> list[Trade]:
        """Trades from a time (ms) on, the oldest ones of these."""
        in_ns = {} if self.facts.since_ns is None else {self.facts.since_ns: str(since * 1_000_000)}
        found = await self._page(symbol, {**self.facts.params, **in_ns}, self._size(symbol), since)
        # Some venues include the millisecond before.
        return [each for each in found if each.timestamp >= since]

    async def before_time(self, symbol: str, until: int) -> list[Trade]:
        """The newest trades before a time (ms)."""
        older = self.facts.older
        assert older is not None
        assert older.by_time is not None
        params = {**older.params, **older.by_time, older.before: until}
        found = await self._page(symbol, params, older.page or self._size(symbol))
        return [each for each in found if each.timestamp < until]

    async def before_id(self, symbol: str, id_: str) -> list[Trade]:
        """The newest trades before the one with an id."""
        older = self.facts.older
        assert older is not None
        return await self._page(symbol, {**older.params, older.before: id_}, older.page or self._size(symbol))

    async def _page(self, symbol: str, params: Mapping[str, Any], limit: int, since: int | None = None) -> list[Trade]:
        rows = list(await self._rest.fetch_trades(symbol, since=since, limit=limit, params=dict(params)))
        side = self.facts.side_of(self._kind(symbol))
        trades = self._admission.timed(read_trades(rows, symbol, side or "taker", _refused), _refused)
        if side is None:
            trades = [replace(each, side=None) for each in trades]
        if paging_of(self.facts) == "by id":
            return sorted(trades, key=number_of)
        by_id = self.facts.ids == "rising"
        return sorted(trades, key=lambda each: (each.timestamp, number_of(each) if by_id else 0))

    def _kind_params(self, symbol: str) -> Mapping[str, Any]:
        if (self._rest.options.get("watchTrades") or {}).get("name") == "trade":
            return self.facts.raw.get(self._kind(symbol), {})
        return {}

    def _kind(self, symbol: str) -> MarketKind:
        return kind_of((self._rest.markets or {}).get(symbol) or {}) or "spot"

    def _size(self, symbol: str) -> int:
        return self.facts.page_of(self._kind(symbol)) or PAGE


def number_of(trade: Trade) -> int:
    """The id as a number. Raises BadResponse."""
    try:
        return int(trade.id or "")
    except ValueError as error:
        raise errors.BadResponse(f"the id {str(trade.id)[:40]!r} of a trade is no number") from error


def _refused(reason: str) -> None:
    # A page without one of its trades would prove too much.
    raise errors.BadResponse(f"a trade cannot be used: {reason}")
