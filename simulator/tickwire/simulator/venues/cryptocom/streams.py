"""Crypto.com's public channels v1, and the dialect of their sockets. No I/O.

Source of names and fields: recorded frames, among them one acknowledgement, and those that ccxt 4.5.90 quotes beside
its handlers; of the depths of books: a published test of them. How often messages come is chosen here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS, last_update_id
from tickwire.simulator.market.cursors import BookCursor, CandleCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.cryptocom import rows as cryptocom_rows

DEPTHS = ("10", "50")
SNAPSHOT_MS, HEARTBEAT_MS = 500, 30_000
_WHOLE, _CHANGES = "SNAPSHOT", "SNAPSHOT_AND_UPDATE"
_HEARTBEAT = " heartbeat"
"""The stream that each socket has; names of clients have no spaces in front."""
_TICKER_MS, _CANDLES = 100, 300


class Cryptocom(Dialect):
    """The dialect of market data. A stream's name is its channel, of a book with its type after a space."""

    malformed = b'{"id":-1,"code":0,"method":"subscribe","result":{"channel":"trade","subscr'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        now = self._exchange.clock.now()
        if name == _HEARTBEAT:
            return Stream(every(HEARTBEAT_MS, now, _heartbeat))
        channel, _, kind = name.partition(" ")
        instruments = cryptocom_rows.instruments(self._exchange)
        match channel.split("."):
            case ["trade", market] if market in instruments:
                return Stream(_Trades(market, instruments[market], now).new)
            case ["ticker", market] if market in instruments:
                found = instruments[market]
                return Stream(every(_TICKER_MS, now, lambda at: _ticker(market, found, at)),
                              lambda at: [_ticker(market, found, at)])  # fmt: skip
            case ["candlestick", interval, market] if market in instruments and interval in cryptocom_rows.INTERVALS:
                return _candles(market, interval, instruments[market], now)
            case ["book", market, depth] if market in instruments and depth in DEPTHS and kind in (_WHOLE, _CHANGES):
                book = _Book(market, int(depth), instruments[market], now, whole=kind == _WHOLE)
                return Stream(book.new, book.first)
        return None

    def opened(self, socket: Socket, query: Mapping[str, str], subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.opened."""
        return subscriptions.send_unasked(socket, [_HEARTBEAT])

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_refusal({}, fault.code or 50001, fault.text or "INTERNAL_ERROR"))

    def excess(self, socket: Socket) -> bytes:
        """See Dialect.excess."""
        return msgspec.json.encode(_refusal({}, 10006, "TOO_MANY_REQUESTS"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        method, sent = message.get("method"), message.get("params")
        if method == "public/respond-heartbeat":
            return []
        parameters = sent if isinstance(sent, dict) else {}
        channels = parameters.get("channels")
        if method not in ("subscribe", "unsubscribe") or not isinstance(channels, list) or not channels:
            return [msgspec.json.encode(_refusal(message, 40003, "INVALID_REQUEST"))]
        kind = str(parameters.get("bookSubscriptionType", _WHOLE))
        named = [str(each).strip() for each in channels]
        names = [f"{each} {kind}" if each.startswith("book.") else each for each in named]
        topics = [Topic(name, words) for name, words in zip(names, channels, strict=True)]
        return carry_out(self, socket, Order(method == "subscribe", topics, message), subscriptions, _FORMS)


def _answer(message: dict[str, Any], code: int) -> dict[str, Any]:
    return {"id": message.get("id", -1), "code": code, "method": message.get("method", "")}


def _refusal(message: dict[str, Any], code: int, reason: str) -> dict[str, Any]:
    return _answer(message, code) | {"message": reason}


def _unknown(order: Order, topic: Topic) -> Any:
    named = msgspec.json.encode({"channels": [topic.words]}).decode()
    return _refusal(order.message, 10004, f"invalid channel {named}")


_FORMS = Forms(
    refused=_unknown,
    per_request=lambda order: _answer(order.message, 0),
    whole=True,
    full=lambda order, topic: _refusal(order.message, 40107, "EXCEED_MAX_SUBSCRIPTIONS"),
)


def _heartbeat(now: int) -> Any:
    return {"id": now, "method": "public/heartbeat", "code": 0}


def _frame(channel: str, subscription: str, market: str, data: list[Any], **more: Any) -> Any:
    result = {"channel": channel, "subscription": subscription, "instrument_name": market, **more, "data": data}
    return {"id": -1, "code": 0, "method": "subscribe", "result": result}


def _ticker(market: str, found: Instrument, now: int) -> Any:
    return _frame("ticker", f"ticker.{market}", market, [cryptocom_rows.ticker(market, found, now)], id=-1)


class _Trades:
    """The trades since the last frame in one, the newest first, as recorded."""

    def __init__(self, market: str, found: Instrument, now: int) -> None:
        self._market, self._found = market, found
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        trades = self._cursor.new_until(now)
        if trades is not None:
            rows = cryptocom_rows.trades(self._market, self._found, trades)
            yield _frame("trade", f"trade.{self._market}", self._market, rows[::-1])


class _Book:
    """Whole books, or one and then its changes; `pu` of a change is `u` of what came before it."""

    def __init__(self, market: str, depth: int, found: Instrument, now: int, *, whole: bool) -> None:
        self._market, self._depth, self._found, self._whole = market, depth, found, whole
        self._cursor = BookCursor(found, now, depth, SNAPSHOT_MS // FRAME_MS if whole else 1)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is None:
            return
        if self._whole:
            yield self._snapshot()
            return
        update = {side: cryptocom_rows.side(self._found, levels)
                  for side, levels in (("asks", change.asks), ("bids", change.bids))}  # fmt: skip
        previous = last_update_id(change.frame)
        yield self._message("book.update", {"update": update, **self._ends(), "pu": previous, "cs": 0})

    def first(self, now: int) -> Iterable[Any]:
        return [self._snapshot()]

    def _snapshot(self) -> Any:
        bids, asks = (
            cryptocom_rows.side(self._found, side) for side in (self._cursor.book.bids, self._cursor.book.asks)
        )
        return self._message("book", {"asks": asks, "bids": bids, **self._ends(), "cs": 0})

    def _ends(self) -> dict[str, int]:
        time = self._cursor.frame * FRAME_MS
        return {"t": time, "tt": time, "u": last_update_id(self._cursor.frame)}

    def _message(self, channel: str, data: Any) -> Any:
        subscription = f"book.{self._market}.{self._depth}"
        return _frame(channel, subscription, self._market, [data], depth=self._depth)


def _candles(market: str, interval: str, found: Instrument, now: int) -> Stream:
    cursor = CandleCursor(found, cryptocom_rows.INTERVALS[interval], now)

    def new(now: int) -> Iterable[Any]:
        for row, *_ in cursor.changed_until(now):
            data = [{**cryptocom_rows.candle(row), "ut": now}]
            subscription = f"candlestick.{interval}.{market}"
            yield _frame("candlestick", subscription, market, data, interval=interval, depth=_CANDLES)

    return Stream(new)
