"""Past trades of one exchange by its REST: asked for as the exchange takes it, which is declared or found out.

A refusal may mean the number asked for, the missing end of the time, or the time itself. So before trades are called
gone, smaller pages are tried, then both ends of the time, then the newest without a time; what works is remembered.
Where nothing can work (no endpoint, a wallet or a key that is missing), REST is not asked again.

Two kinds of answer need more than one request. Where an answer has the newest of what was asked for (coinbase,
cryptocom; OKX by a second endpoint), the ones before are asked for until what is known is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from ccxt.base import errors

from tickwire.exchange.opening import keys_of, page_limit
from tickwire.model.feeds import Trade
from tickwire.redaction import described
from tickwire.streamer.subscriptions.admission import Admission, LeftOut
from tickwire.streamer.subscriptions.ccxt_caches import trade as trade_of
from tickwire.streamer.trades.repair_plan import PAGE, Ask
from tickwire.venues.profile import MarketKind, TradeFacts

SMALLER = (500, 100, None)
"""Pages that are asked for where a larger one is refused; none named is what the exchange gives by itself."""
OLDER_PAGES = 100
"""How many older pages are asked for at most, one after the other: OKX allows ten in a second."""
SECOND_MS = 1000
COARSE = 8
"""So many trades in whole seconds, and no other, show that REST counts in seconds."""
_LATER_MS = 60_000
"""How far the end of a time lies beyond the present: the exchange's clock may be ahead."""


class Unanswered(Exception):
    """REST gave no page. `kind`: `failed` may be asked again, `refused` would be again, `impossible` always."""

    def __init__(self, kind: Literal["failed", "refused", "impossible"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Take(NamedTuple):
    """What of the answers about a market is taken."""

    symbol: str
    admission: Admission
    left_out: LeftOut


class _Shape(NamedTuple):
    """What a request names besides the market."""

    limit: int | None
    until: bool = False
    since: bool = True


class _Page(NamedTuple):
    """An answer. `whole`: it has all there is of what was asked for, because it is shorter than it could be."""

    trades: list[Trade]
    whole: bool


class PastTrades:
    """Asks the REST of an opened exchange of ccxt's. `now` tells its time (ms), None while that is unknown."""

    def __init__(self, rest: Any, facts: TradeFacts, now: Callable[[], int | None] = lambda: None) -> None:
        self.facts = facts
        self.ids_shared = facts.ids_shared
        """Whether one trade has one id live and by REST, as declared or found out by whoever compares them."""
        self._rest = rest
        self._now = now
        self._resolution_ms = facts.resolution_ms
        self._shapes: dict[MarketKind, _Shape] = {}
        """What was taken after something else had been refused."""
        self._impossible: dict[MarketKind, str] = {}

    @property
    def resolution_ms(self) -> int:
        """The resolution of REST's timestamps, ms; 1 unless something coarser is known."""
        return self._resolution_ms or 1

    @property
    def asks_from_ms(self) -> int:
        """To what a time that is asked from is rounded down, ms: seconds where the resolution is not known."""
        return self._resolution_ms or SECOND_MS

    def impossible(self, symbol: str) -> str | None:
        """Why REST cannot be asked for the past trades of a market at all; None where it can, as far as is known."""
        name = getattr(self._rest, "id", "the exchange")
        if self.facts.method == "none":
            return f"the REST of {name} has no past trades of a market: interruptions are gaps"
        if not getattr(self._rest, "has", {"fetchTrades": True}).get("fetchTrades"):
            return f"ccxt knows no past trades by the REST of {name}: interruptions are gaps"
        return self._impossible.get(self._kind(symbol))

    async def fetch(self, symbol: str, ask: Ask, admission: Admission, left_out: LeftOut) -> list[Trade]:
        """A page of trades in the exchange's order. Raises Unanswered.

        `left_out` is told of each trade that cannot be read, or whose time cannot be right.
        """
        if why := self.impossible(symbol):
            raise Unanswered("impossible", why)
        take = _Take(symbol, admission, left_out)
        try:
            if ask.first_id is not None:
                trades = (await self._page(take, ask, _Shape(ask.limit), self._by_id(symbol, ask.first_id))).trades
            else:
                trades = await self._by_time(take, ask)
        except errors.BaseError as error:
            raise self._unanswered(symbol, ask, error) from error
        self._look_at_times(trades)
        return trades

    def _unanswered(self, symbol: str, ask: Ask, error: errors.BaseError) -> Unanswered:
        said = described(error, keys_of(self._rest))
        if isinstance(error, errors.OperationFailed):
            return Unanswered("failed", said)
        if isinstance(error, _NEVER) and ask.first_id is None:
            said = f"REST cannot be asked for past trades, so interruptions are gaps: {said}"
            self._impossible[self._kind(symbol)] = said
            return Unanswered("impossible", said)
        return Unanswered("refused", said)

    def _look_at_times(self, trades: Sequence[Trade]) -> None:
        if self._resolution_ms is None and len(trades) >= COARSE:
            whole = all(trade.timestamp % SECOND_MS == 0 for trade in trades)
            self._resolution_ms = SECOND_MS if whole else 1

    # ---- by time

    async def _by_time(self, take: _Take, ask: Ask) -> list[Trade]:
        kind = self._kind(take.symbol)
        refusal: errors.BaseError | None = None
        for shape in self._tried(take.symbol, ask):
            try:
                page = await self._page(take, ask, shape, self._until(shape, None))
            except errors.BaseError as error:
                if not _may_be_the_shape(error):
                    raise
                refusal = refusal or error
                continue
            if refusal is not None:
                self._shapes[kind] = shape
            return await self._older(take, ask, shape, page)
        assert refusal is not None
        raise refusal

    def _tried(self, symbol: str, ask: Ask) -> Iterator[_Shape]:
        """What is asked for, one after the other while it is refused."""
        known = self._shapes.get(self._kind(symbol))
        if known is not None:
            yield known
        largest = ask.limit or self.facts.page or self._told_limit(symbol) or PAGE
        limits = [largest, *(each for each in SMALLER if each is None or each < largest)]
        times = [(bool(self.facts.needs_until), True), (True, True)] if ask.since is not None else []
        for until, since in dict.fromkeys([*times, (False, False)]):
            for limit in limits:
                shape = _Shape(limit, until, since)
                if shape != known:
                    yield shape

    async def _older(self, take: _Take, ask: Ask, shape: _Shape, page: _Page) -> list[Trade]:
        """The trades of a page with those before it, where they are to be had, back to the time asked for."""
        trades = page.trades
        for _ in range(OLDER_PAGES):
            if page.whole or not trades or ask.since is None or trades[0].timestamp <= ask.since:
                break
            before = self._before(shape, trades[0])
            if before is None:
                break
            page = await self._page(take, ask, *before)
            there = set(map(_key, trades))
            fresh = [trade for trade in page.trades if _key(trade) not in there and _order(trade) < _order(trades[0])]
            if not fresh:
                break
            trades[:0] = fresh
        return trades

    def _before(self, shape: _Shape, first: Trade) -> tuple[_Shape, dict[str, Any]] | None:
        """What to ask for the trades before one; None where they are not to be had."""
        older = self.facts.older
        if older is not None:
            return shape._replace(limit=older.page or shape.limit), {**older.params, older.before: first.id}
        if self.facts.cut == "newest" or (self.facts.cut is None and shape.until):
            return shape, self._until(shape._replace(until=True), first.timestamp)
        return None

    def _until(self, shape: _Shape, first: int | None) -> dict[str, Any]:
        """The end of the time: whole seconds that include `first` (ms), which some round down to."""
        if not shape.until:
            return {}
        if first is None:
            return {"until": (self._now() or self._rest.milliseconds()) + _LATER_MS}
        return {"until": (first // SECOND_MS + 1) * SECOND_MS}

    # ---- a request

    async def _page(self, take: _Take, ask: Ask, shape: _Shape, params: dict[str, Any]) -> _Page:
        symbol, admission, left_out = take
        since = ask.since if shape.since else None
        try:
            rows = list(await self._rest.fetch_trades(symbol, since=since, limit=shape.limit, params=params))
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            # ccxt's parsers trip like this over answers that are not what they should be.
            raise errors.BadResponse(f"the answer cannot be read: {error!r}") from error
        trades: list[Trade] = []
        bad: list[str] = []
        for row in rows:
            try:
                trades.append(trade_of(row, symbol))
            except (TypeError, KeyError, AttributeError, ValueError) as error:
                bad.append(f"{error!r} over {str(row)[:200]}")
        if bad and not trades:
            raise errors.BadResponse(f"the answer cannot be read: {bad[0]}")
        for reason in bad:
            # The others are good.
            left_out(reason)
        trades = list(admission.timed(trades, left_out))
        # ccxt sorts by time and then by id as a text: 10 before 9.
        trades.sort(key=_number if ask.first_id is not None else _order)
        older = self.facts.older
        declared = older.page if older is not None and older.page and older.before in params else self.facts.page
        return _Page(trades, declared is not None and shape.limit == declared and len(rows) < declared)

    def _by_id(self, symbol: str, first: int) -> dict[str, Any]:
        params: dict[str, Any] = {self.facts.first_id or "fromId": first}
        if (getattr(self._rest, "options", {}).get("watchTrades") or {}).get("name") == "trade":
            params |= self.facts.raw.get(self._kind(symbol), {})
        return params

    def _kind(self, symbol: str) -> MarketKind:
        market = (getattr(self._rest, "markets", None) or {}).get(symbol) or {}
        return "linear" if market.get("linear") else "inverse" if market.get("inverse") else "spot"

    def _told_limit(self, symbol: str) -> int | None:
        market = (getattr(self._rest, "markets", None) or {}).get(symbol) or {}
        return page_limit(getattr(self._rest, "features", None), market, "fetchTrades")


_NEVER = (errors.NotSupported, errors.ArgumentsRequired)
"""What no other request changes: no such endpoint, a wallet that is missing."""


def _may_be_the_shape(error: errors.BaseError) -> bool:
    """Whether another number or time may be answered where this was refused."""
    if isinstance(error, errors.ArgumentsRequired):
        return "until" in str(error)
    if isinstance(error, errors.BadSymbol):
        return False
    return isinstance(error, errors.BadRequest) or type(error) is errors.ExchangeError


def _key(trade: Trade) -> tuple[Any, ...]:
    return trade.id, trade.timestamp, trade.side, trade.price, trade.amount


def _number(trade: Trade) -> int:
    try:
        return int(trade.id or 0)
    except ValueError:
        return 0


def _order(trade: Trade) -> tuple[int, int, str]:
    """Texts of one length are in the order of the numbers that they may be."""
    text = trade.id or ""
    return trade.timestamp, len(text), text
