"""Gate's public channels v4: the messages of each between two moments of the exchange's clock. No I/O.

Source of names, cadences and fields: "Spot WebSocket v4" and "Futures WebSocket v4" as of 2025; "Gate Spot Depth
Channel Upgrade" for `spot.obu`. Books change every 100 ms here, also with 50 levels (20 ms there). A book of contracts
begins without a whole one, as ccxt 4.5.90 expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.book import FRAME_MS, frame_of, last_update_id
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.cursors import BookCursor, CandleCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.rows import by_taker
from tickwire.simulator.sockets.dialect import Stream
from tickwire.simulator.venues.gate import rows as gate_rows

OBU_LEVELS, UPDATE_LEVELS = ("50", "400"), ("20", "50", "100")
TICKER_MS, BEST_MS, WEEK_MS = 1_000, 100, 2_000
"""How often a ticker comes, the best prices at most, and the open candle of seven days."""


def made(exchange: Exchange, kind: str, channel: str, parameters: list[str]) -> Stream | None:
    """Return the messages of a subscription from now on; None where there is no such channel or market."""
    name, now = channel.partition(".")[2], exchange.clock.now()

    def found(market: str) -> Instrument | None:
        return gate_rows.instrument(exchange, kind, market)

    match name, parameters:
        case (("trades" | "tickers" | "book_ticker"), [market]) if (of := found(market)) is not None:
            return _LISTED[name](channel, of, now)
        case "candlesticks", [interval, market] if (of := found(market)) is not None:
            return _candles(channel, of, interval, now)
        case "obu", [stream] if kind == gate_rows.SPOT:
            market, levels = stream.removeprefix("ob.").rpartition(".")[::2]
            of = found(market) if stream.startswith("ob.") and levels in OBU_LEVELS else None
            return None if of is None else _books(_WholeBook(of, stream, int(levels), now))
        case "order_book_update", [market, "20ms" | "100ms", *rest] if (of := found(market)) is not None:
            levels = rest[0] if rest else "100"
            return None if levels not in UPDATE_LEVELS else _books(_ChangedBook(channel, of, int(levels), now))
        case _:
            return None


def _update(channel: str, result: Any, now: int) -> dict[str, Any]:
    return {"time": now // 1000, "time_ms": now, "channel": channel, "event": "update", "result": result}


def _result(found: Instrument, row: Any) -> Any:
    """Return what `result` has: an object for a spot market, a list for contracts."""
    return row if found.terms is None else [row]


def _trades(channel: str, found: Instrument, now: int) -> Stream:
    cursor = TradeCursor(found, now)

    def new(now: int) -> Iterator[Any]:
        trades = cursor.new_until(now)
        if trades is None:
            return
        rows = gate_rows.live_trades(found, trades)
        if found.terms is None:
            yield from (_update(channel, row, now) for row in rows)
            return
        yield from (_update(channel, group, now) for group in by_taker(rows, trades))

    return Stream(new)


def _tickers(channel: str, found: Instrument, now: int) -> Stream:
    def form(now: int) -> Any:
        return _update(channel, _result(found, gate_rows.ticker(found, now, rest=False)), now)

    return Stream(every(TICKER_MS, now, form))


def _best(channel: str, found: Instrument, now: int) -> Stream:
    sent, at = day.best(found, now), now // BEST_MS

    def new(now: int) -> Iterator[Any]:
        nonlocal sent, at
        if now // BEST_MS == at:
            return
        at, before, sent = now // BEST_MS, sent, day.best(found, now)
        if sent != before:
            yield _update(channel, gate_rows.best_prices(found, now, last_update_id(frame_of(now))), now)

    return Stream(new)


_LISTED: dict[str, Callable[[str, Instrument, int], Stream]] = {
    "trades": _trades,
    "tickers": _tickers,
    "book_ticker": _best,
}


def _candles(channel: str, found: Instrument, asked: str, now: int) -> Stream | None:
    interval = gate_rows.INTERVALS.get(asked, "")
    if interval not in found.intervals:
        return None
    name = f"{asked}_{gate_rows.name_of(found)}"

    def form(row: Any, now: int, *, closed: bool) -> Any:
        candle = gate_rows.live_candle(found, name, row, closed=closed)
        return _update(channel, _result(found, candle), now)

    if interval == "1w":
        style, bounds = PageStyle(opens_at=gate_rows.WEEK_OPENS_MS), (None, None)

        def newest(now: int) -> Any:
            return form(candle_page(found, interval, bounds, 1, now, style)[-1], now, closed=False)

        return Stream(every(WEEK_MS, now, newest))
    cursor = CandleCursor(found, interval, now)

    def new(now: int) -> Iterator[Any]:
        for row, _, _, closed in cursor.changed_until(now):
            yield form(row, now, closed=closed)

    return Stream(new)


class _ChangedBook:
    """The changes of the best levels: update ids `U` to `u`, of which the next begins after this one."""

    def __init__(self, channel: str, found: Instrument, levels: int, now: int) -> None:
        self._channel, self._found, self._levels = channel, found, levels
        self._cursor = BookCursor(found, now, levels)
        self._last = last_update_id(self._cursor.frame)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is None:
            return
        shown = gate_rows.sides(self._found, change.bids, change.asks)
        if any(shown):
            first, self._last = self._last + 1, last_update_id(self._cursor.frame)
            yield self.changed(*shown, first, self._last, now)

    def first(self, now: int) -> Iterable[Any]:
        return []

    def changed(self, bids: list[Any], asks: list[Any], first: int, last: int, now: int) -> Any:
        result = {"t": self._cursor.frame * FRAME_MS, "s": gate_rows.name_of(self._found), "U": first, "u": last,
                  "b": bids, "a": asks, "l": str(self._levels)}  # fmt: skip
        return _update(self._channel, result, now)


class _WholeBook(_ChangedBook):
    """`spot.obu`: the whole book after the subscription, then its changes."""

    def __init__(self, found: Instrument, stream: str, levels: int, now: int) -> None:
        super().__init__("spot.obu", found, levels, now)
        self._stream = stream

    def first(self, now: int) -> Iterable[Any]:
        bids, asks = gate_rows.sides(self._found, self._cursor.book.bids, self._cursor.book.asks)
        whole = {
            "t": self._cursor.frame * FRAME_MS,
            "full": True,
            "s": self._stream,
            "u": self._last,
            "b": bids,
            "a": asks,
        }
        return [self._message(whole, now)]

    def changed(self, bids: list[Any], asks: list[Any], first: int, last: int, now: int) -> Any:
        return self._message(
            {"t": self._cursor.frame * FRAME_MS, "s": self._stream, "u": last, "U": first, "b": bids, "a": asks}, now
        )

    def _message(self, result: Any, now: int) -> Any:
        return {"channel": "spot.obu", "result": result, "time_ms": now, "event": "update"}


def _books(book: _ChangedBook) -> Stream:
    return Stream(book.new, book.first)
