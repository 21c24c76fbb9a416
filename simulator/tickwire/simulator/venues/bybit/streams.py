"""Bybit's public topics v5, and the dialect of its sockets. No I/O.

Source of names, cadences, fields and limits: Bybit's documentation of its API v5, "Websocket Stream, Connect" and
"Public", as of 2025.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tickwire.simulator.faults import Fault
from tickwire.simulator.market.book import FRAME_MS, Side, frame_of, last_update_id
from tickwire.simulator.market.cursors import BookCursor, CandleCursor, TradeCursor
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import by_taker, fixed_levels
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venues.bybit import rows as bybit_rows

BOOKS = {1: 1, 50: 1, 200: 1, 1000: 2}
"""Depths of the topic `orderbook`, and the frames of the book between two of its messages."""
SPOT_TOPICS = 10
"""Most topics of one request at the sockets of spot markets."""
MOST_TRADES = 1024
"""Most trades of one message (an AsyncAPI description of `publicTrade`, apis.io)."""
_CONNECTION = "cejreaspqfm9se7usbrg-2xh"
_TICKER_MS = 100


class Bybit(Dialect):
    """The dialect of one category. A stream's name is its topic: `publicTrade.BTCUSDT`."""

    malformed = b'{"topic":"publicTrade.'

    def __init__(self, exchange: Exchange, category: str) -> None:
        self._exchange, self._category = exchange, category

    def stream(self, name: str) -> Stream | None:
        """See Dialect.stream."""
        kind, _, rest = name.partition(".")
        detail, _, symbol = rest.rpartition(".")
        found = bybit_rows.instrument(self._exchange, self._category, symbol)
        if found is None:
            return None
        now = self._exchange.clock.now()
        if kind == "kline" and bybit_rows.INTERVALS.get(detail) in found.intervals:
            return _candle_stream(found, detail, now)
        if kind == "orderbook" and detail.isdigit() and int(detail) in BOOKS:
            book = _BookStream(found, int(detail), now)
            return Stream(book.new, book.first)
        if kind == "tickers" and not detail:
            ticker = _TickerStream(self._category, found, now)
            return Stream(ticker.new, ticker.first)
        return Stream(_TradeStream(self._category, found, now).new) if kind == "publicTrade" and not detail else None

    def error(self, fault: Fault) -> bytes:
        """See Dialect.error."""
        return msgspec.json.encode(_refusal({}, fault.text or "error:invalid op"))

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """See Dialect.answers."""
        message = decoded(text)
        kind, names = message.get("op"), message.get("args")
        if kind == "ping":
            return [msgspec.json.encode({"success": True, "ret_msg": "pong", **_echo(message, "ping")})]
        if kind not in ("subscribe", "unsubscribe") or not names or not isinstance(names, list):
            return [msgspec.json.encode(_refusal(message, "error:invalid op"))]
        if self._category == "spot" and len(names) > SPOT_TOPICS:
            return [msgspec.json.encode(_refusal(message, f"args size >{SPOT_TOPICS}"))]
        order = Order(kind == "subscribe", [Topic(str(name)) for name in names], message)
        return carry_out(self, socket, order, subscriptions, _FORMS)


def _echo(message: dict[str, Any], kind: Any) -> dict[str, Any]:
    """Return the end of an answer: the connection, the id of the request if it has one, and its operation."""
    id_ = {"req_id": str(message["req_id"])} if "req_id" in message else {}
    return {"conn_id": _CONNECTION, **id_, "op": kind}


def _acknowledged(order: Order) -> Any:
    return {"success": True, "ret_msg": "", **_echo(order.message, order.message["op"])}


def _refusal(message: dict[str, Any], reason: str) -> dict[str, Any]:
    return {"success": False, "ret_msg": reason, **_echo(message, message.get("op", ""))}


# One topic that does not exist refuses the whole request.
_FORMS = Forms(
    refused=lambda order, topic: _refusal(order.message, f"Invalid topic: {topic.name}"),
    per_request=_acknowledged,
    whole=True,
)


class _TradeStream:
    """The trades of one taker at one time in one message; contracts have the direction of each tick (`L`)."""

    def __init__(self, category: str, found: Instrument, now: int) -> None:
        self._category, self._found = category, found
        self._cursor = TradeCursor(found, now)
        self._price, self._up = 0, True

    def new(self, now: int) -> Iterable[Any]:
        trades, topic = self._cursor.new_until(now), f"publicTrade.{self._found.id}"
        if trades is None:
            return
        for group in by_taker(self._rows(trades), trades):
            for start in range(0, len(group), MOST_TRADES):
                data = group[start : start + MOST_TRADES]
                yield {"topic": topic, "type": "snapshot", "ts": data[-1]["T"], "data": data}

    def _rows(self, trades: Trades) -> Iterator[dict[str, Any]]:
        rows = bybit_rows.trades(self._category, self._found, trades)
        for (id_, price, size, side, time), level in zip(rows, trades.price.tolist(), strict=True):
            if self._category == "spot":
                yield {"i": id_, "T": time, "p": price, "v": size, "S": side, "s": self._found.id, "BT": False}
            else:
                yield {"T": time, "s": self._found.id, "S": side, "v": size, "p": price, "L": self._tick(level),
                       "i": id_, "BT": False}  # fmt: skip

    def _tick(self, price: int) -> str:
        same, before = price == self._price, self._price
        self._price, self._up = price, self._up if same else price > before
        return ("Zero" if same else "") + ("PlusTick" if self._up else "MinusTick")


class _BookStream:
    """A snapshot, then changes, whose update ids count up by one."""

    def __init__(self, found: Instrument, depth: int, now: int) -> None:
        self._found, self._depth = found, depth
        self._cursor = BookCursor(found, now, depth, BOOKS[depth])
        self._update = self._cursor.frame

    def new(self, now: int) -> Iterable[Any]:
        change = self._cursor.changed_until(now)
        if change is not None:
            self._update += 1
            yield self._message("delta", change.bids, change.asks)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", self._cursor.book.bids, self._cursor.book.asks)]

    def _message(self, kind: str, bids: Side, asks: Side) -> Any:
        data = {
            "s": self._found.id,
            "b": fixed_levels(self._found, bids),
            "a": fixed_levels(self._found, asks),
            "u": self._update,
            "seq": last_update_id(self._cursor.frame),
        }
        topic = f"orderbook.{self._depth}.{self._found.id}"
        return {"topic": topic, "type": kind, "ts": self._cursor.frame * FRAME_MS, "data": data}


class _TickerStream:
    """Spot markets: the whole ticker when it changes, without best prices; contracts: a snapshot, then what changed."""

    def __init__(self, category: str, found: Instrument, now: int) -> None:
        self._category, self._found, self._at = category, found, now // _TICKER_MS
        self._state = self._fields(now)

    def _fields(self, now: int) -> dict[str, str]:
        fields = bybit_rows.ticker(self._category, self._found, now)
        best = ("bid1Price", "bid1Size", "ask1Price", "ask1Size") if self._category == "spot" else ()
        return {name: value for name, value in fields.items() if name not in best}

    def new(self, now: int) -> Iterable[Any]:
        if now // _TICKER_MS == self._at:
            return
        self._at, before = now // _TICKER_MS, self._state
        self._state = self._fields(now)
        changed = {name: value for name, value in self._state.items() if value != before[name] or name == "symbol"}
        if len(changed) > 1:
            snapshot = self._category == "spot"
            yield self._message("snapshot", self._state, now) if snapshot else self._message("delta", changed, now)

    def first(self, now: int) -> Iterable[Any]:
        return [self._message("snapshot", self._state, now)]

    def _message(self, kind: str, data: dict[str, str], now: int) -> Any:
        return {"topic": f"tickers.{self._found.id}", "type": kind, "data": data,
                "cs": last_update_id(frame_of(now)), "ts": now}  # fmt: skip


def _candle_stream(found: Instrument, name: str, now: int) -> Stream:
    cursor = CandleCursor(found, bybit_rows.INTERVALS[name], now)

    def new(now: int) -> Iterable[Any]:
        for row, _, _, closed in cursor.changed_until(now):
            start, opened, high, low, close, volume, turnover = bybit_rows.candle(found, row, now)
            data = {"start": int(start), "end": row[6], "interval": name, "open": opened, "close": close,
                    "high": high, "low": low, "volume": volume, "turnover": turnover, "confirm": closed,
                    "timestamp": now}  # fmt: skip
            yield {"topic": f"kline.{name}.{found.id}", "data": [data], "ts": now, "type": "snapshot"}

    return Stream(new)
