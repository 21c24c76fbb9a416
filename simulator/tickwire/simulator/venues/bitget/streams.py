"""Bitget's public channels v2, and the dialect of its sockets. No I/O.

Source of names, cadences, fields and limits: Bitget's documentation of its API v2, "Websocket API" and "Websocket,
Public" of spot markets and contracts, as of 2025, and the recorded frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market import day
from tickwire.simulator.market.book import FRAME_MS, Book, book_at, frame_of
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.cursors import BookCursor, TradeCursor
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import fixed_levels, top
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.bitget import rows as bitget_rows

LEVELS = 400
"""Levels a side of the channel `books`."""
DEPTHS = {"books1": 1, "books5": 5, "books15": 15}
"""Channels that send the best levels, whole, each time."""
BOOK_FRAMES = 2
"""Frames of the market's book between two messages: 200 ms."""
CHECKED = 25
"""Levels a side that the checksum covers."""
RECENT = 50
"""Trades in the first message of the channel `trade`."""
IN_FRAME = 100
"""Most trades in one message."""
CANDLES = 500
"""Candles in the first message of a channel of candles."""
_TICKER_MS = 200
_CANDLE_MS = 500


class Bitget(Dialect):
    """The dialect of the public socket. A stream's name is `SPOT:trade:BTCUSDT`."""

    malformed = b'{"action":"update","arg":{"instType":"SPOT","channel":"trade","instId":"BT'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        product, _, rest = name.partition(":")
        kind, _, symbol = rest.partition(":")
        found = bitget_rows.instrument(self._exchange, product, symbol)
        if found is None:
            return None
        arg = {"instType": product, "channel": kind, "instId": symbol}
        made = _channel(found, arg, self._exchange.clock.now())
        return None if made is None else Stream(made.new, made.first)

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_error(30002 if fault.code is None else fault.code, fault.text or "illegal request"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        if text in ("ping", b"ping"):
            return [b"pong"]
        message = decoded(text)
        kind, args = message.get("op"), message.get("args")
        if kind not in ("subscribe", "unsubscribe"):
            return [msgspec.json.encode(_error(30003, "INVALID op"))]
        try:
            topics = [Topic(f"{arg['instType']}:{arg['channel']}:{arg['instId']}", arg) for arg in args or ()]
        except (TypeError, KeyError):
            topics = []
        if not topics:
            return [msgspec.json.encode(_error(30016, "Param error"))]
        return carry_out(self, socket, Order(kind == "subscribe", topics, message), subscriptions, _FORMS)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"event": "error", "code": code, "msg": message}


def _refused(order: Order, topic: Topic) -> Any:
    named = ",".join(f"{name}:{topic.words[name]}" for name in ("instType", "channel", "instId"))
    return _error(30001, f"{named} doesn't exist")


_FORMS = Forms(
    refused=_refused,
    per_topic=lambda order, topic: {"event": order.message["op"], "arg": topic.words},
    full=lambda order, topic: _error(30006, "request too many"),
)


def _channel(found: Instrument, arg: dict[str, str], now: int) -> _Trades | _Books | _Best | _Ticker | _Candles | None:
    name = arg["channel"]
    match name:
        case "trade":
            return _Trades(found, arg, now)
        case "books":
            return _Books(found, arg, now)
        case "ticker":
            return _Ticker(found, arg, now)
    if name in DEPTHS:
        return _Best(found, arg, now, DEPTHS[name])
    bar = name.removeprefix("candle") if name.startswith("candle") else ""
    local = bar in bitget_rows.LOCAL
    interval = bitget_rows.LOCAL.get(bar) or bitget_rows.SOCKET_BARS.get(bar, "")
    return _Candles(found, arg, now, interval, local) if interval in found.intervals else None


def _message(action: str, arg: dict[str, str], data: list[Any], now: int) -> dict[str, Any]:
    return {"action": action, "arg": arg, "data": data, "ts": now}


class _Trades:
    """The newest trades first: some that were before the subscription, then all since the last message."""

    def __init__(self, found: Instrument, arg: dict[str, str], now: int) -> None:
        self._found, self._arg = found, arg
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        found = self._cursor.new_until(now)
        if found is not None:
            for start in range(0, len(found), IN_FRAME):
                yield self._trades("update", found[start : start + IN_FRAME], now)

    def first(self, now: int) -> Iterable[Any]:
        if found := self._cursor.newest(RECENT):
            yield self._trades("snapshot", found, now)

    def _trades(self, action: str, trades: Trades, now: int) -> Any:
        rows = bitget_rows.trades(self._found, trades)
        data = [{"ts": str(time), "price": price, "size": size, "side": "sell" if sell else "buy", "tradeId": id_}
                for id_, price, size, sell, time in reversed(rows)]  # fmt: skip
        return _message(action, self._arg, data, now)


class _Books:
    """A snapshot of 400 levels, then changes with the checksum of the book after them."""

    def __init__(self, found: Instrument, arg: dict[str, str], now: int) -> None:
        self._found, self._arg = found, arg
        self._cursor = BookCursor(found, now, LEVELS, BOOK_FRAMES)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is not None:
            yield self._message("update", change.bids, change.asks, checksum(self._found, self._cursor.book), now)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", self._cursor.book.bids, self._cursor.book.asks, 0, now)]

    def _message(self, action: str, bids: Any, asks: Any, check: int, now: int) -> Any:
        return _message(action, self._arg, [_sides(self._found, bids, asks, check, self._cursor.frame)], now)


def _frame_of(now: int) -> int:
    return frame_of(now) // BOOK_FRAMES * BOOK_FRAMES


def _sides(found: Instrument, bids: Any, asks: Any, check: int, frame: int) -> dict[str, Any]:
    return {"asks": fixed_levels(found, asks), "bids": fixed_levels(found, bids), "checksum": check,
            "ts": str(frame * FRAME_MS)}  # fmt: skip


def checksum(found: Instrument, book: Book) -> int:
    """Return the signed CRC32 of `bid:size:ask:size:…` of the best 25 levels ("Depth Channel, Checksum")."""
    best = top(book, CHECKED)
    pairs = zip_longest(fixed_levels(found, best.bids), fixed_levels(found, best.asks), fillvalue=())
    value = zlib.crc32(":".join(chain.from_iterable((*bid, *ask) for bid, ask in pairs)).encode())
    return value - 2**32 if value >= 2**31 else value


class _Best:
    """The best levels, whole, whenever they change; without a checksum."""

    def __init__(self, found: Instrument, arg: dict[str, str], now: int, levels: int) -> None:
        self._found, self._arg, self._levels = found, arg, levels
        self._sent = self._now(now)

    def _now(self, now: int) -> dict[str, Any]:
        frame = _frame_of(now)
        book = top(book_at(self._found, frame), self._levels)
        return _sides(self._found, book.bids, book.asks, 0, frame)

    def new(self, now: int) -> Iterable[Any]:
        found = self._now(now)
        if found | {"ts": ""} != self._sent | {"ts": ""}:
            self._sent = found
            yield from self.first(now)

    def first(self, now: int) -> Iterable[Any]:
        return [_message("snapshot", self._arg, [self._sent], now)]


class _Ticker:
    """The whole ticker when the best prices or sizes have changed."""

    def __init__(self, found: Instrument, arg: dict[str, str], now: int) -> None:
        self._found, self._arg, self._at = found, arg, now // _TICKER_MS
        self._sent: Any = None

    def new(self, now: int) -> Iterable[Any]:
        if now // _TICKER_MS == self._at:
            return
        self._at, best = now // _TICKER_MS, day.best(self._found, now)
        if best != self._sent:
            self._sent = best
            yield from self.first(now)

    def first(self, now: int) -> Iterable[Any]:
        fields = bitget_rows.socket_ticker(self._arg["instType"], self._found, now)
        return [_message("snapshot", self._arg, [fields], now)]


class _Candles:
    """The newest candles, then the open one while it changes, and each once more when it has closed."""

    def __init__(self, found: Instrument, arg: dict[str, str], now: int, interval: str, local: bool) -> None:
        self._found, self._arg, self._interval = found, arg, interval
        self._style = PageStyle(opens_at=bitget_rows.LOCAL_MS if local else 0)
        self._at = now // _CANDLE_MS
        self._sent = (self._newest(1, now) or [["0"]])[-1]

    def _newest(self, count: int, now: int) -> list[list[str]]:
        page = candle_page(self._found, self._interval, (None, None), count, now, self._style)
        return [bitget_rows.candle(row) for row in page]

    def new(self, now: int) -> Iterable[Any]:
        if now // _CANDLE_MS == self._at:
            return
        self._at = now // _CANDLE_MS
        for row in self._newest(2, now):
            if int(row[0]) >= int(self._sent[0]) and row != self._sent:
                self._sent = row
                yield _message("update", self._arg, [row], now)

    def first(self, now: int) -> Iterable[Any]:
        return [_message("snapshot", self._arg, self._newest(CANDLES, now), now)]
