"""Kraken's public channels of WebSocket v2, and the dialect of its sockets. No I/O.

Source of names, fields, acknowledgements and errors: Kraken's documentation, "Spot WebSocket v2", recorded messages,
and the errors that ccxt knows (`exceptions` of pro/kraken). Of a heartbeat for each second without other messages every
second has one here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market import day
from tickwire.simulator.market.book import FRAME_MS, Side
from tickwire.simulator.market.candles import Row
from tickwire.simulator.market.cursors import BookCursor, TradeCursor, every
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.rows import by_taker, number, top
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.kraken import rows as kraken_rows

DEPTHS = (10, 25, 100, 500, 1000)
CHECKED = 10
"""Levels of each side that the checksum covers."""
SNAPSHOT_TRADES = 50
SNAPSHOT_CANDLES = 10
HEARTBEAT = "heartbeat"
"""The name of the stream that comes with any other."""
_CONNECTION = 7734965360043499011
_UPDATES = {"ticker": 100, "ohlc": 250}
"""How often these channels have news (ms)."""


class Topic(NamedTuple):
    """What a client subscribes to: a channel of a market, with its depth or interval."""

    channel: str
    symbol: str
    detail: Any
    snapshot: bool

    @property
    def stream(self) -> str:
        """The name of the stream."""
        return f"{self.channel} {self.detail} {int(self.snapshot)} {self.symbol}"


class Kraken(Dialect):
    """The dialect of the public sockets."""

    malformed = b'{"channel":"trade",'

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        now = self._exchange.clock.now()
        if name == HEARTBEAT:
            return Stream(every(1_000, now, lambda now: {"channel": HEARTBEAT}))
        channel, detail, snapshot, symbol = name.split(" ", 3)
        found = kraken_rows.market(self._exchange, symbol)
        if found is None:
            return None
        made = _CHANNELS[channel](found, int(detail), now)
        return Stream(made.new, made.first) if int(snapshot) else Stream(made.new)

    def opened(self, socket: Socket, query: Any, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.opened: the status of the venue."""
        data = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": _CONNECTION}
        return [msgspec.json.encode({"channel": "status", "type": "update", "data": [data]})]

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(self._refused({}, fault.text or "Exceeded msg rate", ""))

    def excess(self, socket: Socket) -> bytes | None:
        """See Dialect.excess: "Spot rate limits"."""
        return msgspec.json.encode({"Error": "Exceeded msg rate"})

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        method, params = message.get("method"), message.get("params")
        if method == "ping":
            return [msgspec.json.encode({"method": "pong", **self._ends(message)})]
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            return [msgspec.json.encode(self._refused(message, "Malformed request", ""))]
        symbols = params.get("symbol")
        if params.get("channel") not in _CHANNELS or not symbols or not isinstance(symbols, list):
            return [msgspec.json.encode(self._refused(message, "Subscription name invalid", ""))]
        answers: list[bytes] = []
        for symbol in symbols:
            answers += self._carried_out(socket, message, str(symbol), subscriptions)
        return answers

    def _carried_out(
        self, socket: Socket, message: dict[str, Any], symbol: str, subscriptions: Subscriptions
    ) -> list[bytes]:
        """Subscribe to, or unsubscribe, one market; each is answered by itself."""
        params = message["params"]
        channel = params["channel"]
        detail = params.get(
            {"book": "depth", "ohlc": "interval"}.get(channel, ""), {"book": 10, "ohlc": 1}.get(channel, 0)
        )
        topic = Topic(channel, symbol, detail, bool(params.get("snapshot", channel != "trade")))
        held = [name for name in socket.names if name.startswith(f"{channel} ") and name.endswith(f" {symbol}")]
        if (reason := self._reason(message["method"], topic, held, subscriptions.full(socket, 1))) is not None:
            return [msgspec.json.encode(self._refused(message, reason, symbol))]
        acknowledged = msgspec.json.encode(self._acknowledged(message, topic))
        if message["method"] == "unsubscribe":
            subscriptions.unsubscribe(socket, held)
            return [acknowledged]
        first = subscriptions.subscribe(socket, [topic.stream])
        if HEARTBEAT not in socket.names:
            first += subscriptions.subscribe(socket, [HEARTBEAT])
        return [acknowledged, *first]

    def _reason(self, method: str, topic: Topic, held: list[str], full: bool) -> str | None:
        """Return why an order is refused; None where it is not."""
        if kraken_rows.market(self._exchange, topic.symbol) is None:
            return f"Currency pair not supported {topic.symbol}"
        if method == "unsubscribe":
            return None if any(name.split(" ")[1] == str(topic.detail) for name in held) else "Subscription Not Found"
        if not isinstance(topic.detail, int):
            return "Subscription depth must be an integer"
        if topic.channel == "book" and topic.detail not in DEPTHS:
            return "Subscription depth not supported"
        if topic.channel == "ohlc" and topic.detail not in kraken_rows.INTERVALS:
            return "Subscription ohlc interval not supported"
        if held:
            same = topic.channel != "ohlc" or held[0].split(" ")[1] == str(topic.detail)
            return "Already subscribed" if same else "Already subscribed to one ohlc interval on this symbol"
        return "Subscription limit exceeded" if full else None

    def _acknowledged(self, message: dict[str, Any], topic: Topic) -> dict[str, Any]:
        result: dict[str, Any] = {"channel": topic.channel}
        if topic.channel == "book":
            result["depth"] = topic.detail
        if topic.channel == "ohlc":
            result["interval"] = topic.detail
        if message["method"] == "subscribe":
            result["snapshot"] = topic.snapshot
        result["symbol"] = topic.symbol
        if topic.channel == "ohlc" and message["method"] == "subscribe":
            result["warnings"] = ["timestamp is deprecated, use interval_begin"]
        return {"method": message["method"], "result": result, "success": True, **self._ends(message)}

    def _refused(self, message: dict[str, Any], reason: str, symbol: str) -> dict[str, Any]:
        named = {"symbol": symbol} if symbol else {}
        method = message.get("method", "subscribe")
        return {"error": reason, "method": method, "success": False, **named, **self._ends(message)}

    def _ends(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the end of an answer: when it was asked and answered, and the id of the request if it has one."""
        at = kraken_rows.iso(self._exchange.clock.now() * 10_000)
        id_ = {"req_id": message["req_id"]} if "req_id" in message else {}
        return {"time_in": at, "time_out": at, **id_}


def _frame(channel: str, kind: str, data: list[Any]) -> dict[str, Any]:
    return {"channel": channel, "type": kind, "data": data}


class _Trades:
    """The trades of one taker in one message; a snapshot has the last 50 ones."""

    def __init__(self, found: Instrument, detail: int, now: int) -> None:
        self._found = found
        self._cursor = TradeCursor(found, now)

    def new(self, now: int) -> Iterable[Any]:
        picked = self._cursor.new_until(now)
        if picked is not None:
            yield from (_frame("trade", "update", group) for group in by_taker(self._rows(picked), picked))

    def first(self, now: int) -> Iterable[Any]:
        picked = self._cursor.newest(SNAPSHOT_TRADES)
        if picked is not None:
            yield _frame("trade", "snapshot", self._rows(picked))

    def _rows(self, picked: Any) -> list[Any]:
        return [
            {"symbol": kraken_rows.name_of(self._found), "side": row.side, "price": number(row.price),
             "qty": number(row.amount), "ord_type": row.kind, "trade_id": row.id,
             "timestamp": kraken_rows.iso(row.moment)}
            for row in kraken_rows.trades(self._found, picked)
        ]  # fmt: skip


class _Book:
    """A snapshot, then changes, each with the checksum of the book after it. Levels that leave the depth are not
    named."""

    def __init__(self, found: Instrument, depth: int, now: int) -> None:
        self._found, self._depth = found, depth
        self._cursor = BookCursor(found, now, depth)

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is None:
            return
        left = kraken_rows.in_scope(change.book, self._cursor.book, self._depth)
        bids, asks = (_without(side, each) for side, each in zip((change.bids, change.asks), left, strict=True))
        if len(bids[0]) or len(asks[0]):
            yield self._message("update", bids, asks)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", self._cursor.book.bids, self._cursor.book.asks)]

    def _message(self, kind: str, bids: Side, asks: Side) -> Any:
        data = {
            "symbol": kraken_rows.name_of(self._found),
            "bids": self._levels(bids),
            "asks": self._levels(asks),
            "checksum": self._checksum(),
            "timestamp": kraken_rows.iso(self._cursor.frame * FRAME_MS * 10_000),
        }
        return _frame("book", kind, [data])

    def _levels(self, side: Side) -> list[Any]:
        return [
            {"price": number(price), "qty": number(amount)} for price, amount in kraken_rows.levels(self._found, side)
        ]

    def _checksum(self) -> int:
        """Return the CRC32 of the best levels, asks first: their numbers without point and zeros in front."""
        best = top(self._cursor.book, CHECKED)
        text = "".join(
            number.replace(".", "").lstrip("0")
            for side in (best.asks, best.bids)
            for level in kraken_rows.levels(self._found, side)
            for number in level
        )
        return zlib.crc32(text.encode())


def _without(side: Side, prices: set[int]) -> Side:
    kept = [place for place, price in enumerate(side[0].tolist()) if price not in prices]
    return side[0][kept], side[1][kept]


class _Ticker:
    """The whole ticker, when it has changed."""

    def __init__(self, found: Instrument, detail: int, now: int) -> None:
        self._found, self._at = found, now // _UPDATES["ticker"]
        self._said = self._fields(now)

    def new(self, now: int) -> Iterable[Any]:
        if now // _UPDATES["ticker"] == self._at:
            return
        self._at, before = now // _UPDATES["ticker"], self._said
        self._said = self._fields(now)
        if self._said != before:
            yield self._message("update", now)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", now)]

    def _message(self, kind: str, now: int) -> Any:
        row = {"symbol": kraken_rows.name_of(self._found)} | {name: number(text) for name, text in self._said.items()}
        return _frame("ticker", kind, [row | {"timestamp": kraken_rows.iso(now * 10_000)}])

    def _fields(self, now: int) -> dict[str, str]:
        return kraken_rows.live_ticker(self._found, day.window(self._found, now), day.best(self._found, now))


class _Candles:
    """A snapshot of the newest candles, then the one of each trade; none says that it is closed."""

    def __init__(self, found: Instrument, interval: int, now: int) -> None:
        self._found, self._interval, self._at = found, interval, now // _UPDATES["ohlc"]
        self._said = self._newest(now)

    def _newest(self, now: int) -> list[Row]:
        return kraken_rows.candles(self._found, self._interval, now, 2)

    def new(self, now: int) -> Iterable[Any]:
        if now // _UPDATES["ohlc"] == self._at:
            return
        self._at, before = now // _UPDATES["ohlc"], self._said
        self._said = self._newest(now)
        for row in self._said:
            if row not in before and row[8]:
                yield self._message("update", [row], now)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", kraken_rows.candles(self._found, self._interval, now, SNAPSHOT_CANDLES), now)]

    def _message(self, kind: str, rows: list[Row], now: int) -> Any:
        data = [kraken_rows.live_candle(self._found, self._interval, row) for row in rows]
        at = kraken_rows.iso(now * 10_000)[:-1] + "000Z"
        return {"channel": "ohlc", "type": kind, "timestamp": at, "data": data}


_CHANNELS: dict[str, Any] = {"trade": _Trades, "book": _Book, "ticker": _Ticker, "ohlc": _Candles}
