"""Model exchanges for paging: a market of trades, and the ways in which exchanges answer requests for its candles.

Everything is a function of the trades, the clock and the request; nothing is taken from the code under test but where
candles open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from tickwire.fetcher.paging_types import PageRequest
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.timeframes import Grid

MINUTE = 60_000


def row(at: int, volume: float = 1.0) -> Row:
    return (at, 1.0, 2.0, 0.5, 1.5, volume)


@dataclass(frozen=True)
class Market:
    """Trades of a volume of 1 to 7 happened in these minutes (ms, ascending); it is `now` (ms)."""

    trades: tuple[int, ...]
    now: int

    def candles(self, timeframe: str, grid: Grid | None = None) -> list[Row]:
        """All candles so far, the open one too; on the usual grid unless on another."""
        return list(_candles(self.trades, self.now, grid or timeframes.grid(timeframe)))

    def truth(self, since: int, until: int) -> list[Row]:
        """The minutes' candles that open in `[since, until)`."""
        return [each for each in self.candles("1m") if since <= each[0] < until]


@lru_cache(maxsize=64)
def _candles(trades: tuple[int, ...], now: int, on: Grid) -> list[Row]:
    sums: dict[int, int] = {}
    for at in trades:
        if at <= now:
            opened = on.open_of(at)
            sums[opened] = sums.get(opened, 0) + at // MINUTE % 7 + 1
    return [row(at, float(volume)) for at, volume in sorted(sums.items())]


Answers = Callable[[Market, PageRequest, int], list[Row]]
"""(market, request, largest page) -> the answer."""


def _limit(ask: PageRequest, page: int) -> int:
    return min(ask.limit, page)


def honoured(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The first candles at or after `since`, ascending; the newest without."""
    rows, limit = market.candles(ask.timeframe), _limit(ask, page)
    if ask.since is None:
        return rows[-limit:]
    return [each for each in rows if each[0] >= ask.since][:limit]


def windowed(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Those of so many candles' time after `since`, whatever is in it."""
    rows, limit = market.candles(ask.timeframe), _limit(ask, page)
    if ask.since is None:
        return rows[-limit:]
    until = timeframes.advance(ask.timeframe, ask.since, limit)
    return [each for each in rows if ask.since <= each[0] < until]


def newest(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The newest, whatever was asked."""
    return market.candles(ask.timeframe)[-_limit(ask, page) :]


def newest_cut(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The newest page, of which ccxt gives what opens from `since` on, and of that so many."""
    rows = [each for each in market.candles(ask.timeframe)[-page:] if ask.since is None or each[0] >= ask.since]
    return rows[: ask.limit] if ask.since is not None else rows[-ask.limit :]


def newest_since(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The newest of those since `since`, up to `until` where the request says it."""
    rows = [each for each in market.candles(ask.timeframe) if ask.since is None or each[0] >= ask.since]
    return [each for each in rows if ask.until is None or each[0] < ask.until][-_limit(ask, page) :]


def before_an_end(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The last ones before the end of the window that was asked for, the newest first."""
    rows, limit = market.candles(ask.timeframe), _limit(ask, page)
    if ask.since is not None:
        until = timeframes.advance(ask.timeframe, ask.since, limit)
        rows = [each for each in rows if each[0] < until]
    return rows[-limit:][::-1]


def repeats(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """The last candle, for ever."""
    return market.candles(ask.timeframe)[-1:]


def capped(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Honoured, of a history of the newest candles only."""
    rows, limit = market.candles(ask.timeframe)[-3 * page :], _limit(ask, page)
    if ask.since is None:
        return rows[-limit:]
    return [each for each in rows if each[0] >= ask.since][:limit]


def capped_by_age(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Honoured, of a history of some hours only, for every timeframe."""
    oldest = market.now - 90 * MINUTE
    return [each for each in honoured(market, ask, 10**6) if each[0] >= oldest][: _limit(ask, page)]


def empty_before_the_listing(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Honoured, but nothing at all where `since` is before the first candle."""
    rows = market.candles(ask.timeframe)
    if ask.since is not None and rows and ask.since < rows[0][0]:
        return []
    return honoured(market, ask, page)


def adds_the_open_candle(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Windows, and the newest candle behind each."""
    rows = windowed(market, ask, page)
    return [*rows, *(each for each in market.candles(ask.timeframe)[-1:] if each not in rows)]


def exclusive(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Those after `since`, but not the one at it."""
    asked = ask if ask.since is None else PageRequest(ask.timeframe, ask.since + 1, ask.limit)
    return honoured(market, asked, page)


def silent(market: Market, ask: PageRequest, page: int) -> list[Row]:
    """Nothing, ever."""
    return []


@dataclass
class Exchange:
    """A venue that answers in one of these ways, with passing faults: "empty", or "short" (a part of the page)."""

    market: Market
    answers: Answers
    page: int = 10
    faults: Iterable[str] = ()
    asked: list[PageRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._faults = iter(self.faults)

    def answer(self, ask: PageRequest) -> list[list[float]]:
        self.asked.append(ask)
        fault = next(self._faults, "")
        rows = self.answers(self.market, ask, self.page) if fault != "empty" else []
        if fault == "short":
            rows = rows[: max(1, _limit(ask, self.page) // 3)]
        return [list(each) for each in rows]
