"""KuCoin: spot and futures.

The dialect decodes public topics from the text of their frames, `{"topic":"/market/match:BTC-USDT",..,"data":{..}}`.
Source of names and fields: KuCoin's documentation, "WebSocket API, Spot Trading, Public Channels" and "Futures
Trading, Public Channels".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_position
from tickwire.venues.decoding import candle_of, decoder
from tickwire.venues.dialect import Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("kucoin", "kucoinfutures"),
    # Futures, "Match Execution Data" and "Get Trade History": `size` is in lots (contracts). The unit of the volume of
    # futures candles is unknown: a comment in ccxt 4.5.90 `pro/kucoin.py` says that ccxt reads the wrong column.
    # Spot, "Get Trade Histories": "the returned quantity is the last 100 transaction records"; they have a `sequence`,
    # which ccxt 4.5.90 `parse_spot_or_uta_trade` does not read, and no `tradeId`, which live trades have ("Trade").
    # Times are in nanoseconds, live and by REST.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=False,
        method="newest",
        page=100,
        resolution_ms=1,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # Spot, "Get Klines": "Klines data may be incomplete. No data is published for intervals where there are no ticks";
    # at most 1,500 rows. ccxt 4.5.90 sends `startAt` and `endAt` (futures: `from`, `to`), the time of one page apart.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        quiet="none",
        # Spot, "Klines": "Transaction volume" is the first of two columns, as by REST; ccxt reads it as base currency.
        live_volume={"spot": "base"},
        # Spot: weeks open on Thursday at 00:00 UTC, as they are counted from the epoch.
        opens_at={"1w": 0},
    ),
    # "Orderbook - Increment": changes of `sequenceStart` to `sequenceEnd` that follow a snapshot by REST; of futures,
    # changes of one `sequence`. Without a key, "Get Part OrderBook" has 20 or 100 levels, and ccxt 4.5.90
    # `fetch_order_book` refuses other numbers.
    book=BookFacts(deltas=True, snapshot="rest", sequence="ranges", request_levels=(20, 100)),
    # "WebSocket API, Introduction": with `response` each request is answered by an `ack` with its id; "the token is
    # valid for only 24 hours, and a single connection is expected to be disconnected after 24 hours". "Rate Limit,
    # Websocket": 100 messages in 10 seconds, 400 topics of a connection.
    sockets=SocketFacts(
        acknowledges=True, subscriptions=400, messages_per_s=10, lifetime_ms=86_400_000, url_option="urls"
    ),
)

_NS_PER_MS = 1_000_000
SPOT_BOOK, FUTURES_BOOK = "/market/level2", "/contractMarket/level2"
"""The topics whose changes are decoded."""
INTERVALS = {
    **{f"{minutes}min": f"{minutes}m" for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}hour": f"{hours}h" for hours in (1, 2, 4, 6, 8, 12)},
    "1day": "1d",
    "1week": "1w",
    "1month": "1M",
}
"""Timeframes of ccxt by KuCoin's intervals of spot candles."""


class _Trade(Struct, gc=False):
    """Times are in nanoseconds: `time` of spot markets, `ts` of futures."""

    symbol: str
    side: Literal["buy", "sell"]
    size: Amount
    price: Price
    tradeId: str
    time: int = 0
    ts: int = 0


class _Change(Struct, array_like=True, gc=False):
    """Price and amount; the third element, the change's own sequence, is not read. A change without an effect has the
    price 0 ("If the price is 0, ignore the messages and update the sequence")."""

    price: Amount
    amount: Amount


class _Changes(Struct, gc=False):
    asks: list[_Change] = []
    bids: list[_Change] = []


class _Update(Struct, gc=False):
    symbol: str
    changes: _Changes
    sequenceStart: int
    sequenceEnd: int
    time: int | None = None


class _Step(Struct, gc=False):
    """A change of a futures book: `change` is `price,side,size`."""

    sequence: int
    change: str
    timestamp: int | None = None


class _Best(Struct, gc=False):
    """The best level of each side: price and amount, empty where there is none."""

    asks: list[Amount]
    bids: list[Amount]
    timestamp: int | None = None


class _Ticker(Struct, gc=False):
    """The last trade and the best prices; the documentation's example has `Time`, the recorded message `time`."""

    last: Amount | None = field(default=None, name="price")
    bid: Amount | None = field(default=None, name="bestBid")
    bid_amount: Amount | None = field(default=None, name="bestBidSize")
    ask: Amount | None = field(default=None, name="bestAsk")
    ask_amount: Amount | None = field(default=None, name="bestAskSize")
    timestamp: int | None = field(default=None, name="time")
    Time: int | None = None


class _Day(Struct, gc=False):
    """A snapshot of a market, sent every two seconds."""

    symbol: str
    timestamp: int = field(name="datetime")
    last: Amount | None = field(default=None, name="lastTradedPrice")
    bid: Amount | None = field(default=None, name="buy")
    bid_amount: Amount | None = field(default=None, name="bidSize")
    ask: Amount | None = field(default=None, name="sell")
    ask_amount: Amount | None = field(default=None, name="askSize")
    open: Amount | None = None
    high: Amount | None = None
    low: Amount | None = None
    volume: Amount | None = field(default=None, name="vol")
    quote_volume: Amount | None = field(default=None, name="volValue")


class _Snapshot(Struct, gc=False):
    data: _Day | list[_Day]


class Bar(Struct, frozen=True, array_like=True, gc=False):
    """A `VenueCandle` of a spot market. It is not said when a candle is closed."""

    time: int
    """In seconds."""
    open: Price
    close: Price
    high: Price
    low: Price
    volume: Amount
    turnover: Amount

    @property
    def timestamp(self) -> int:
        """The open time, ms."""
        return self.time * 1000

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.volume)


class _Candles(Struct, gc=False):
    symbol: str
    candles: Bar


class _Name(Struct, gc=False):
    topic: str | None = None
    type: str | None = None


def _decoder(type_: Any) -> Callable[[str | bytes], Any]:
    framed = msgspec.defstruct("_Frame", [("topic", str), ("data", type_ | None, None)], gc=False)
    return decoder(framed)


class _TradeFrame(Struct, gc=False):
    """`topic` is not read: each trade names its market."""

    data: _Trade | None = None


_trade = decoder(_TradeFrame)
_update, _step, _best = _decoder(_Update), _decoder(_Step), _decoder(_Best)
_ticker, _snapshot, _candles = _decoder(_Ticker), _decoder(_Snapshot), _decoder(_Candles)
_name = decoder(_Name)


def _ms(nanoseconds: int) -> int:
    """As ccxt cuts the times of REST trades, by a division of floats: repairs compare them with these."""
    return int(nanoseconds / _NS_PER_MS)


def _of_trade(text: str) -> Sequence[Decoded] | None:
    t = _trade(text).data
    if t is None:
        return None
    made = Trade(id=t.tradeId, timestamp=_ms(t.time or t.ts), side=t.side, price=t.price, amount=t.size)
    return (Decoded("trade", t.symbol, (made,)),)


def _levels(side: list[_Change]) -> list[Level]:
    return [(level.price, level.amount) for level in side if level.price]


def _of_update(text: str) -> Sequence[Decoded] | None:
    found = _update(text).data
    if found is None:
        return None
    bids, asks = _levels(found.changes.bids), _levels(found.changes.asks)
    diff = Diff(timestamp=found.time, bids=bids, asks=asks, first=found.sequenceStart, last=found.sequenceEnd)
    return (Decoded("book", found.symbol, (diff,)),)


def _of_step(text: str) -> Sequence[Decoded] | None:
    frame = _step(text)
    found = frame.data
    if found is None:
        return None
    parts = found.change.split(",")
    if len(parts) != 3 or parts[1] not in ("buy", "sell"):
        raise msgspec.ValidationError(f"a change of {found.change!r}")
    changes = _levels([msgspec.convert((parts[0], parts[2]), _Change, strict=False)])
    bids, asks = (changes, []) if parts[1] == "buy" else ([], changes)
    number = found.sequence
    diff = Diff(timestamp=found.timestamp, bids=bids, asks=asks, first=number, last=number)
    return (Decoded("book", _market(frame.topic), (diff,)),)


def _market(topic: str) -> str:
    return topic.partition(":")[2]


def _of_best(text: str) -> Sequence[Decoded] | None:
    frame = _best(text)
    found = frame.data
    if found is None:
        return None
    item: dict[str, Any] = {} if found.timestamp is None else {"timestamp": found.timestamp}
    for name, side in (("bid", found.bids), ("ask", found.asks)):
        item[name], item[f"{name}_amount"] = (side[0], side[1]) if len(side) >= 2 else (0.0, 0.0)
    return (Decoded("ticker", _market(frame.topic), (item,)),)


def _stated(found: Struct, *others: str) -> dict[str, Any]:
    """The fields of a ticker that have a value, without some others."""
    fields = msgspec.structs.asdict(found)
    return {name: value for name, value in fields.items() if value is not None and name not in others}


def _of_ticker(text: str) -> Sequence[Decoded] | None:
    frame = _ticker(text)
    found, market = frame.data, _market(frame.topic)
    if found is None or market == "all":
        # The topic of all markets has the market in `subject`.
        return None
    time = {} if found.Time is None else {"timestamp": found.Time}
    return (Decoded("ticker", market, (time | _stated(found, "Time"),)),)


def _of_snapshot(text: str) -> Sequence[Decoded] | None:
    found = _snapshot(text).data
    if found is None:
        return None
    days = found.data if isinstance(found.data, list) else [found.data]
    return [Decoded("ticker", day.symbol, (_stated(day, "symbol"),)) for day in days]


def _of_candles(text: str) -> Sequence[Decoded] | None:
    frame = _candles(text)
    found = frame.data
    timeframe = INTERVALS.get(frame.topic.rpartition("_")[2])
    if found is None or timeframe is None:
        return None
    return (Decoded("candle", found.symbol, (found.candles,), timeframe),)


_TOPICS: dict[str, Callable[[str], Sequence[Decoded] | None]] = {
    "/market/match": _of_trade,
    SPOT_BOOK: _of_update,
    "/market/ticker": _of_ticker,
    "/market/snapshot": _of_snapshot,
    "/market/candles": _of_candles,
    "/spotMarket/level1": _of_best,
    "/contractMarket/execution": _of_trade,
    FUTURES_BOOK: _of_step,
}
_TOPIC = '"topic":"'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`. Candles and tickers of futures are ccxt's."""
    start = text.find(_TOPIC, 0, 48) + len(_TOPIC)
    if start >= len(_TOPIC):
        found = _TOPICS.get(text[start : text.find(":", start)])
    elif '"topic"' not in text:
        return None
    else:
        # The order of fields is not promised.
        topic = _name(text).topic
        found = None if topic is None else _TOPICS.get(topic.partition(":")[0])
    return None if found is None else found(text)


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The topic of the book, where an option of the user selects one that is not decoded."""
    if method != "watchOrderBook":
        return {}
    chosen: Mapping[str, Any] = options.get(method) or {}
    topics = {"spotMethod": SPOT_BOOK, "contractMethod": FUTURES_BOOK}
    other = {name: topic for name, topic in topics.items() if chosen.get(name, topic) != topic}
    return other | ({"uta": False} if chosen.get("uta") else {})


# Spot, "Get Klines": time (s), open, close, high, low, volume. Futures, "Get Klines": time (ms), open, high, low,
# close, volume.
_FUTURES = by_position(path=("data",))
_FORMS = CandleForms(spot=by_position((1, 3, 4, 2, 5), path=("data",), unit_ms=1000), linear=_FUTURES, inverse=_FUTURES)

DIALECT = Dialect(decode=decode, candles=_FORMS, stream_params=stream_params)
