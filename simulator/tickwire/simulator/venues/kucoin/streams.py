"""KuCoin's public topics of spot markets, and the dialect of its sockets. No I/O.

Source of names, cadences, fields and limits: KuCoin's documentation, "WebSocket API, Introduction", "Error Code,
Websocket" and "Spot Trading, Public Channels", as of 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id
from tickwire.simulator.market.cursors import BookCursor, CandleCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.rows import levels, top
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.kucoin import rows as kucoin_rows

AT_ONCE = 100
"""Most topics of one request."""
_SNAPSHOT_MS, _TICKER_MS, _WEEK_MS = 2_000, 100, 250


class Kucoin(Dialect):
    """The dialect of spot markets. A stream's name is its topic for one market: `/market/match:BTC-USDT`."""

    malformed = b'{"topic":"/market/match:'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        topic, _, rest = name.partition(":")
        market, _, interval = rest.partition("_")
        found, now = kucoin_rows.instrument(self._exchange, market), self._exchange.clock.now()
        if found is None or bool(interval) != (topic == "/market/candles"):
            return None
        match topic:
            case "/market/match":
                return Stream(_Trades(found, name, now).new)
            case "/market/level2":
                return Stream(_Book(found, name, now).new)
            case "/market/ticker":
                return Stream(every(_TICKER_MS, now, lambda now: _ticker(found, name, now)))
            case "/market/snapshot":
                return Stream(every(_SNAPSHOT_MS, now, lambda now: _snapshot(found, name, now)))
            case "/spotMarket/level1":
                return Stream(_Best(found, name, now).new)
            case "/market/candles" if kucoin_rows.INTERVALS.get(interval) in found.intervals:
                return _candles(found, name, interval, now)
        return None

    def opened(self, socket: Socket, query: Mapping[str, str], subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.opened."""
        return [_encode({"id": query.get("connectId", "hQvf8jkno"), "type": "welcome"})]

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return _encode(_refusal({}, fault.code or 500, fault.text or "system error"))

    def excess(self, socket: Socket) -> bytes:
        """See Dialect.excess."""
        return _encode(_refusal({}, 509, "exceed max permits per second"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        kind, topic = message.get("type"), message.get("topic")
        if kind == "ping":
            return [_encode({"id": message.get("id", ""), "type": "pong"})]
        if kind not in ("subscribe", "unsubscribe"):
            return [_encode(_refusal(message, 415, "type is not supported"))]
        if not topic or not isinstance(topic, str):
            return [_encode(_refusal(message, 406, "topic is required"))]
        channel, _, markets = topic.partition(":")
        topics = [Topic(f"{channel}:{market}", topic) for market in markets.split(",")]
        if len(topics) > AT_ONCE:
            reason = f"exceed max subscription count limitation of {AT_ONCE} per time"
            return [_encode(_refusal(message, 509, reason))]
        forms = _ANSWERED if message.get("response") else _SILENT
        return carry_out(self, socket, Order(kind == "subscribe", topics, message), subscriptions, forms)


_encode = msgspec.json.encode


def _refusal(message: Mapping[str, Any], code: int, reason: str) -> dict[str, Any]:
    return {"id": message.get("id", "public"), "type": "error", "code": code, "data": reason}


def _not_found(order: Order, topic: Topic) -> Any:
    return _refusal(order.message, 404, f"topic {topic.words} is not found")


def _too_many(order: Order, topic: Topic) -> Any:
    return _refusal(order.message, 509, "exceed max subscription count limitation of 400 per session")


# One market that does not exist refuses the whole request.
_SILENT = Forms(refused=_not_found, full=_too_many, whole=True)
_ANSWERED = Forms(
    refused=_not_found,
    full=_too_many,
    whole=True,
    per_request=lambda order: {"id": order.message.get("id", ""), "type": "ack"},
)


def _message(topic: str, subject: str, data: Any) -> dict[str, Any]:
    return {"topic": topic, "type": "message", "subject": subject, "data": data}


class _Trades:
    """Each trade in a message of its own."""

    def __init__(self, found: Instrument, topic: str, now: int) -> None:
        self._found, self._topic = found, topic
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        trades = self._cursor.new_until(now)
        if trades is not None:
            for trade in kucoin_rows.live_trades(self._found, trades):
                yield _message(self._topic, "trade.l3match", trade)


class _Book:
    """The changes of the whole book. One without an effect has a level of price and size 0."""

    def __init__(self, found: Instrument, topic: str, now: int) -> None:
        self._found, self._topic, self._cursor = found, topic, BookCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is None:
            return
        last = last_update_id(self._cursor.frame)
        found = {
            name: kucoin_rows.changed_levels(self._found, side, last)
            for name, side in (("asks", change.asks), ("bids", change.bids))
        }
        if not any(found.values()):
            found["asks"] = [["0", "0", str(last)]]
        data = {"changes": found, "sequenceEnd": last, "sequenceStart": last_update_id(change.frame) + 1,
                "symbol": kucoin_rows.name_of(self._found), "time": self._cursor.frame * FRAME_MS}  # fmt: skip
        yield _message(self._topic, "trade.l2update", data)


class _Best:
    """The best level of each side, when it changed."""

    def __init__(self, found: Instrument, topic: str, now: int) -> None:
        self._found, self._topic, self._frame = found, topic, frame_of(now)
        self._sent: Any = None

    def new(self, now: int) -> Iterable[Any]:
        frame = frame_of(now)
        if frame == self._frame:
            return
        self._frame, book = frame, top(book_at(self._found, frame), 1)
        asks, bids = ((levels(self._found, side) or [[]])[0] for side in (book.asks, book.bids))
        if (asks, bids) != self._sent:
            self._sent = asks, bids
            yield _message(self._topic, "level1", {"asks": asks, "bids": bids, "timestamp": frame * FRAME_MS})


def _ticker(found: Instrument, topic: str, now: int) -> Any:
    day = kucoin_rows.day(found, now)
    data = {"bestAsk": day["sell"], "bestAskSize": day["bestAskSize"], "bestBid": day["buy"],
            "bestBidSize": day["bestBidSize"], "price": day["last"], "sequence": str(last_update_id(frame_of(now))),
            "size": day["size"], "time": now}  # fmt: skip
    return _message(topic, "trade.ticker", data)


def _snapshot(found: Instrument, topic: str, now: int) -> Any:
    data = {"sequence": str(last_update_id(frame_of(now))), "data": kucoin_rows.snapshot(found, now)}
    return _message(topic, "trade.snapshot", data)


def _candles(found: Instrument, topic: str, interval: str, now: int) -> Stream:
    """A candle when it changes, not said to be closed; none without a trade. Weeks open on Thursday."""

    def message(values: list[str], now: int) -> Any:
        data = {"symbol": kucoin_rows.name_of(found), "candles": values, "time": now * 1_000_000}
        return _message(topic, "trade.candles.update", data)

    cursor, sent, turn = CandleCursor(found, kucoin_rows.INTERVALS[interval], now), None, now // _WEEK_MS

    def new(now: int) -> Iterable[Any]:
        for row, _, _, _ in cursor.changed_until(now):
            if row[8]:
                yield message(kucoin_rows.candle(row), now)

    def new_week(now: int) -> Iterable[Any]:
        nonlocal sent, turn
        if now // _WEEK_MS != turn:
            turn, values = now // _WEEK_MS, kucoin_rows.week(found, now)
            if values is not None and values != sent:
                sent = values
                yield message(values, now)

    return Stream(new_week if interval == "1week" else new)
