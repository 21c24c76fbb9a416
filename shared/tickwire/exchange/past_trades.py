"""Requests past trades from the REST API of one exchange, in the form that the exchange accepts.

What an exchange accepts is declared in its profile or found out: a refusal may concern the page size, a missing end of
the time range, or the start of it. So before trades are given up, smaller pages are tried, then a range with both ends,
then the newest trades without a time; the form that works is remembered. Where no form can work (no endpoint, a missing
wallet or key), REST is not asked again.

Some exchanges need more than one request for a page: where an answer has the newest trades of the range (coinbase,
cryptocom; OKX by a second endpoint), older pages are requested until the requested time is reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from ccxt.base import errors

from tickwire.exchange.admission import Admission, LeftOut
from tickwire.exchange.ccxt_trades import trade as trade_of
from tickwire.exchange.ccxt_types import TradePages
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.opening import keys_of, page_limit
from tickwire.model.feeds import Trade
from tickwire.redaction import described
from tickwire.venues.profile import MarketKind, TradeFacts

PAGE = 1000
"""Trades per page where ccxt declares no maximum: many exchanges give a tenth of it unless asked for more."""
SMALLER = (500, 100, None)
"""Page sizes tried where a larger one is refused; None leaves the size to the exchange."""
OLDER_PAGES = 100
"""Most older pages requested for one page: OKX allows ten in a second."""
SECOND_MS = 1000
COARSE = 8
"""This many trades, all in whole seconds, show that REST timestamps have whole seconds."""
_LATER_MS = 60_000
"""How far the end of a range lies beyond the present: the exchange's clock may be ahead."""


class PageRequest(NamedTuple):
    """The next call of `fetch_trades`. Times are ms.

    Without a `limit`, the largest page is requested. `cut`: trades before `since` are missing but too old to request.
    `floor`: nothing before this time is missing, though no known trade overlaps the page.
    """

    since: int | None
    limit: int | None
    first_id: int | None = None
    cut: bool = False
    floor: int | None = None


class Unanswered(Exception):
    """REST gave no page.

    `kind`: `failed` may be retried, `refused` would be refused again, `impossible` applies to every request.
    """

    def __init__(self, kind: Literal["failed", "refused", "impossible"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Target(NamedTuple):
    """The market that is requested, and how its trades are admitted."""

    symbol: str
    admission: Admission
    left_out: LeftOut


class _Form(NamedTuple):
    """The parameters that a request has besides the market."""

    limit: int | None
    until: bool = False
    since: bool = True


class _Page(NamedTuple):
    """An answer. `whole`: it has all trades of the requested range, because it is shorter than a full page."""

    trades: list[Trade]
    whole: bool


class PastTrades:
    """Requests past trades through an opened ccxt exchange. `now` returns its time (ms); None if that is unknown."""

    def __init__(self, rest: TradePages, facts: TradeFacts, now: Callable[[], int | None] = lambda: None) -> None:
        self.facts = facts
        self.ids_shared = facts.ids_shared
        """Whether a trade has the same id live and by REST, as declared or as found out by an ordering."""
        self._rest = rest
        self._now = now
        self._resolution_ms = facts.resolution_ms
        self._ids_rise = facts.ids in ("counting", "rising")
        self._forms: dict[MarketKind, _Form] = {}
        """The form that was accepted after another one had been refused."""
        self._impossible: dict[MarketKind, str] = {}

    @property
    def resolution_ms(self) -> int:
        """The resolution of REST's timestamps, ms; 1 unless a coarser one is known."""
        return self._resolution_ms or 1

    @property
    def asks_from_ms(self) -> int:
        """The multiple (ms) to which the start of a range is rounded down: a second while the resolution is unknown."""
        return self._resolution_ms or SECOND_MS

    def knows_sides(self, symbol: str) -> bool:
        """Whether the sides of a market's past trades are the takers'; otherwise they may be the makers'."""
        return self.facts.side_of(self._kind(symbol)) is not None

    def impossible(self, symbol: str) -> str | None:
        """Why past trades of a market cannot be requested at all; None as far as they can."""
        name = self._rest.id
        if self.facts.method == "none":
            return f"the REST API of {name} has no past trades of a market: interruptions are gaps"
        if not self._rest.has.get("fetchTrades"):
            return f"ccxt cannot fetch past trades from {name}: interruptions are gaps"
        return self._impossible.get(self._kind(symbol))

    async def fetch(self, symbol: str, ask: PageRequest, admission: Admission, left_out: LeftOut) -> list[Trade]:
        """A page of trades in the exchange's order. Raises Unanswered.

        `left_out` is called for each trade that cannot be read or has an implausible time.
        """
        if why := self.impossible(symbol):
            raise Unanswered("impossible", why)
        target = _Target(symbol, admission, left_out)
        try:
            if ask.first_id is not None:
                params = self._params_by_id(symbol, ask.first_id)
                trades = (await self._page(target, ask, _Form(ask.limit), params)).trades
            else:
                trades = await self._by_time(target, ask)
        except errors.BaseError as error:
            raise self._unanswered(symbol, ask, error) from error
        self._learn_resolution(trades)
        return trades

    def _unanswered(self, symbol: str, ask: PageRequest, error: errors.BaseError) -> Unanswered:
        reason = described(error, keys_of(self._rest))
        if isinstance(error, errors.OperationFailed):
            return Unanswered("failed", reason)
        if isinstance(error, _NEVER) and ask.first_id is None:
            reason = f"past trades cannot be requested by REST, so interruptions are gaps: {reason}"
            self._impossible[self._kind(symbol)] = reason
            return Unanswered("impossible", reason)
        return Unanswered("refused", reason)

    def _learn_resolution(self, trades: Sequence[Trade]) -> None:
        if self._resolution_ms is None and len(trades) >= COARSE:
            whole_seconds = all(trade.timestamp % SECOND_MS == 0 for trade in trades)
            self._resolution_ms = SECOND_MS if whole_seconds else 1

    # ---- by time

    async def _by_time(self, target: _Target, ask: PageRequest) -> list[Trade]:
        kind = self._kind(target.symbol)
        refusal: errors.BaseError | None = None
        for form in self._forms_to_try(target.symbol, ask):
            try:
                page = await self._page(target, ask, form, self._until(form, None))
            except errors.BaseError as error:
                if not _may_concern_the_form(error):
                    raise
                refusal = refusal or error
                continue
            if refusal is not None:
                self._forms[kind] = form
            return await self._with_older_pages(target, ask, form, page)
        assert refusal is not None
        raise refusal

    def _forms_to_try(self, symbol: str, ask: PageRequest) -> Iterator[_Form]:
        """The forms to try, one after the other while they are refused."""
        known = self._forms.get(self._kind(symbol))
        if known is not None:
            yield known
        page = self.facts.page_of(self._kind(symbol))
        largest = ask.limit or page or self._declared_limit(symbol) or PAGE
        limits = [largest, *(each for each in SMALLER if each is None or each < largest)]
        times = [(bool(self.facts.needs_until), True), (True, True)] if ask.since is not None else []
        for until, since in dict.fromkeys([*times, (False, False)]):
            for limit in limits:
                form = _Form(limit, until, since)
                if form != known:
                    yield form

    async def _with_older_pages(self, target: _Target, ask: PageRequest, form: _Form, page: _Page) -> list[Trade]:
        """The trades of a page and those before it, back to the requested time as far as they are available."""
        trades = page.trades
        for _ in range(OLDER_PAGES):
            if page.whole or not trades or ask.since is None or trades[0].timestamp <= ask.since:
                break
            before = self._form_before(form, trades[0])
            if before is None:
                break
            page = await self._page(target, ask, *before)
            # As many as are known: trades that say the same may be on both sides of where a page begins.
            known = Counter(map(_key, trades))
            fresh = [trade for trade in reversed(page.trades) if self._is_fresh(trade, trades[0], known)][::-1]
            if not fresh:
                break
            trades[:0] = fresh
        return trades

    def _is_fresh(self, trade: Trade, first: Trade, known: Counter[tuple[Any, ...]]) -> bool:
        """Whether a trade of an older page is none of those `known`, of which it is taken, and is before `first`."""
        key = _key(trade)
        if known[key]:
            known[key] -= 1
            return False
        return self._precedes(trade, first)

    def _form_before(self, form: _Form, first: Trade) -> tuple[_Form, dict[str, Any]] | None:
        """The request for the trades before `first`; None if they are not available."""
        older = self.facts.older
        if older is not None:
            return form._replace(limit=older.page or form.limit), {**older.params, older.before: first.id}
        if self.facts.cut == "newest" or (self.facts.cut is None and form.until):
            return form, self._until(form._replace(until=True), first.timestamp)
        return None

    def _until(self, form: _Form, first: int | None) -> dict[str, Any]:
        """The end of the range: a whole second that includes `first` (ms), because some exchanges round down."""
        if not form.until:
            return {}
        if first is None:
            return {"until": (self._now() or self._rest.milliseconds()) + _LATER_MS}
        return {"until": (first // SECOND_MS + 1) * SECOND_MS}

    # ---- one request

    async def _page(self, target: _Target, ask: PageRequest, form: _Form, params: dict[str, Any]) -> _Page:
        since = ask.since if form.since else None
        if since is not None:
            in_ns = {} if self.facts.since_ns is None else {self.facts.since_ns: str(since * 1_000_000)}
            params = {**self.facts.params, **params, **in_ns}

        async def rows_of_page() -> list[Any]:
            return list(await self._rest.fetch_trades(target.symbol, since=since, limit=form.limit, params=params))

        rows = await guarded_call(rows_of_page)
        side = self.facts.side_of(self._kind(target.symbol)) or "taker"
        trades = list(target.admission.timed(read_trades(rows, target.symbol, side, target.left_out), target.left_out))
        trades.sort(key=_number if ask.first_id is not None else self._order)
        older = self.facts.older
        declared = self.facts.page_of(self._kind(target.symbol))
        if older is not None and older.page and older.before in params:
            declared = older.page
        return _Page(trades, declared is not None and form.limit == declared and len(rows) < declared)

    def _order(self, trade: Trade) -> tuple[int, int]:
        """Trades of one timestamp are in the order of their ids where that is known to be the venue's, else as listed.

        See `ccxt_patches.venue_order`.
        """
        return trade.timestamp, _number(trade) if self._ids_rise else 0

    def _precedes(self, trade: Trade, first: Trade) -> bool:
        """Whether an unknown trade of an older page happened before the first one known, which has the same order."""
        own, known = self._order(trade), self._order(first)
        return own < known if self._ids_rise else own <= known

    def _params_by_id(self, symbol: str, first: int) -> dict[str, Any]:
        if self.facts.first_id is None:
            raise Unanswered("impossible", "the profile names no parameter for the first id of a page")
        params: dict[str, Any] = {self.facts.first_id: first}
        if (self._rest.options.get("watchTrades") or {}).get("name") == "trade":
            params |= self.facts.raw.get(self._kind(symbol), {})
        return params

    def _kind(self, symbol: str) -> MarketKind:
        market = (self._rest.markets or {}).get(symbol) or {}
        return "linear" if market.get("linear") else "inverse" if market.get("inverse") else "spot"

    def _declared_limit(self, symbol: str) -> int | None:
        market = (self._rest.markets or {}).get(symbol) or {}
        return page_limit(self._rest.features, market, "fetchTrades")


_NEVER = (errors.NotSupported, errors.ArgumentsRequired)
"""Refusals that no other form changes: no such endpoint, a missing wallet."""


def read_trades(rows: Sequence[Any], symbol: str, side_of: Literal["taker", "maker"], left_out: LeftOut) -> list[Trade]:
    """The trades of an answer, without those that cannot be read. Raises BadResponse if none can."""
    trades: list[Trade] = []
    unreadable: list[str] = []
    for row in rows:
        try:
            trades.append(trade_of(row, symbol, side_of))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            unreadable.append(f"{error!r} over {str(row)[:200]}")
    if unreadable and not trades:
        raise errors.BadResponse(f"the answer cannot be read: {unreadable[0]}")
    for reason in unreadable:
        left_out(reason)
    return trades


def _may_concern_the_form(error: errors.BaseError) -> bool:
    """Whether another page size or range may be accepted where this one was refused."""
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
