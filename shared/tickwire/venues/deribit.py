"""Deribit.

The dialect decodes notifications, `{"jsonrpc":"2.0","method":"subscription","params":{"channel":..,"data":..}}`.
Source of names and fields: Deribit's API documentation v2, "Subscriptions", and recorded frames, of which old ones lack
the `type` of a book.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta, Struct, field

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.model.numbers import LARGEST, Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_column
from tickwire.venues.decoding import candle_of, decoder
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("deribit",),
    trades=TradeFacts(
        # `trade_id`, "unique (per currency) trade identifier", live and by REST (`parse_trade` of ccxt 4.5.90): those
        # of one instrument have holes. `trade_seq` counts by instrument, but is not the id that ccxt gives.
        ids="opaque",
        ids_shared=True,
        # "public/get_last_trades_by_instrument_and_time": `count`, "maximum 1000"; `start_timestamp`, "when param is
        # provided trades are returned from the earliest"; `sorting`, "`default` value means no sorting, results will be
        # returned in order in which they left the database". ccxt 4.5.90 does not send it.
        method="by_time",
        params={"sorting": "asc"},
        page=1000,
        cut="oldest",
        # Deribit's support, "Accessing historical trades and orders using API": "Recent trades: Available for 24 hours
        # before removal". "public/get_last_trades_by_currency_and_time", of the same trades: "requests with
        # `start_timestamp` older than 24 hours will return an empty result without an error". ccxt 4.5.90 also sends
        # `include_old`, which is not documented any more. The minute is for a clock that is behind.
        reach_ms=86_400_000 - 60_000,
        # `timestamp`: "the timestamp of the trade (milliseconds since the UNIX epoch)".
        resolution_ms=1,
        # "trades.(instrument_name).(interval)": `amount` is in USD for inverse perpetuals and futures (not in
        # contracts, although they have a contract size), and in base currency for linear ones and spot.
        amount={"spot": "base", "linear": "base", "inverse": "quote"},
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 sends `start_timestamp` and `end_timestamp`, the time of one page apart; the response has all
        # candles between them.
        since="honoured",
        windowed=True,
        # "public/get_tradingview_chart_data": `volume` is "in base currency", `cost` in quote currency. The example
        # there has a candle of volume 0 whose prices are the previous close; "chart.trades.(instrument_name).
        # (resolution)": without a trade "a filling sample is generated".
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        # "chart.trades": the same two fields; the recorded one of an inverse perpetual has `cost` / `volume` = a price.
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # "book.(instrument_name).(interval)": "the first notification contains a full snapshot of the book (bids and asks
    # for all price levels)", then changes; "if prev_change_id equals the change_id of the previous message, it
    # indicates that no messages were missed".
    book=BookFacts(deltas=True, snapshot="socket", sequence="chain"),
    # "public/subscribe": the reply has the id of the request and the channels; "sustained rate: ~3.3 requests/second",
    # after 10 at once ("Rate Limits": 3,000 credits each of 30,000, of which 10,000 come back in a second).
    sockets=SocketFacts(acknowledges=True, messages_per_s=10 / 3),
)

RESOLUTIONS = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "10": "10m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "180": "3h",
    "360": "6h",
    "720": "12h",
    "1D": "1d",
}
"""Timeframes of ccxt by `resolution`. ccxt 4.5.90's table for sockets has no `10`, and 180 as `4h`."""
_COMBINATION = re.compile(r"[^-]+-(?!PERPETUAL)[A-Z]")
"""Names of combinations, such as `BTC-FS-30SEP22_PERP`; futures and options have a date there, `BTC-30SEP22`."""
_Difference = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
"""A price of a combination: it may be zero or below."""
P = TypeVar("P")


class _Trade(Struct, Generic[P], gc=False):
    trade_id: str
    timestamp: int
    price: P
    amount: Amount
    direction: Literal["buy", "sell"]


class _Level(Struct, Generic[P], array_like=True, gc=False):
    action: Literal["new", "change", "delete"]
    price: P
    amount: Amount


class _Book(Struct, Generic[P]):
    timestamp: int
    change_id: int
    bids: list[_Level[P]]
    asks: list[_Level[P]]
    type: Literal["snapshot", "change"] | None = None
    prev_change_id: int | None = None


class _Stats(Struct, frozen=True, gc=False):
    """Values are null where nothing was traded."""

    high: Amount | None = None
    low: Amount | None = None
    volume: Amount | None = None
    volume_notional: Amount | None = None
    volume_usd: Amount | None = None


class _Ticker(Struct, gc=False):
    """Best prices are 0, or null ("if there aren't any bids"), on a side that is empty. `quote` has no `stats`."""

    timestamp: int
    last_price: Amount | None = None
    best_bid_price: Amount | None = None
    best_bid_amount: Amount | None = None
    best_ask_price: Amount | None = None
    best_ask_amount: Amount | None = None
    stats: _Stats | None = None


class Bar(Struct, frozen=True, gc=False):
    """A `VenueCandle`. `volume` is in base currency; nothing says that a candle is closed."""

    timestamp: int = field(name="tick")
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Amount

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.volume)


D = TypeVar("D")


class _Params(Struct, Generic[D], gc=False):
    data: D


class _Frame(Struct, Generic[D], gc=False):
    params: _Params[D]


class _Channel(Struct, gc=False):
    channel: str | None = None


class _Name(Struct, gc=False):
    method: str | None = None
    params: _Channel | None = None


_decoder = partial(decoder, strict=True)
_trades, _trades_of_combination = (_decoder(_Frame[list[_Trade[p]]]) for p in (Price, _Difference))  # type: ignore[valid-type]
_book, _book_of_combination = (_decoder(_Frame[_Book[p]]) for p in (Price, _Difference))  # type: ignore[valid-type]
_ticker, _bar, _name = _decoder(_Frame[_Ticker]), _decoder(_Frame[Bar]), _decoder(_Name)


def _made(text: str, decoder: Callable[[str], Any]) -> Sequence[Trade]:
    data = decoder(text).params.data
    if len(data) == 1:
        # Most frames.
        t = data[0]
        return (Trade(id=t.trade_id, timestamp=t.timestamp, side=t.direction, price=t.price, amount=t.amount),)
    return [Trade(id=t.trade_id, timestamp=t.timestamp, side=t.direction, price=t.price, amount=t.amount) for t in data]


def _of_trades(text: str, market: str) -> Sequence[Decoded]:
    made = _made(text, _trades)
    return (Decoded("trade", market, made),) if made else ()


def _of_trades_of_combination(text: str, market: str) -> Sequence[Decoded]:
    made = _made(text, _trades_of_combination)
    return (Decoded("trade", market, made),) if made else ()


def _of_book(text: str, market: str, decoder: Callable[[str], Any] = _book) -> Sequence[Decoded]:
    found = decoder(text).params.data
    bids, asks = (
        [(level.price, 0.0 if level.action == "delete" else level.amount) for level in side]
        for side in (found.bids, found.asks)
    )
    time, kind = found.timestamp, found.type or ("snapshot" if found.prev_change_id is None else "change")
    if kind == "snapshot":
        return (
            Decoded("book", market, (BookSnapshot(timestamp=time, bids=bids, asks=asks, sequence=found.change_id),)),
        )
    diff = Diff(timestamp=time, bids=bids, asks=asks, last=found.change_id, previous=found.prev_change_id)
    return (Decoded("book", market, (diff,)),)


def _of_ticker(text: str, market: str) -> Sequence[Decoded]:
    """`ticker` and `quote`, which has the best prices alone."""
    found = _ticker(text).params.data
    stats = found.stats
    fields: dict[str, Any] = {"timestamp": found.timestamp}
    # A price of 0 is none: it must replace the last one.
    for name, price, amount in (
        ("bid", found.best_bid_price, found.best_bid_amount),
        ("ask", found.best_ask_price, found.best_ask_amount),
    ):
        fields[name], fields[f"{name}_amount"] = price or 0.0, (price and amount) or 0.0
    if stats is None:
        return (Decoded("ticker", market, (fields,)),)
    fields |= {"last": found.last_price or 0.0, "high": stats.high or 0.0, "low": stats.low or 0.0}
    quote = stats.volume_usd if stats.volume_notional is None else stats.volume_notional
    for name, volume in (("volume", stats.volume), ("quote_volume", quote)):
        if volume is not None:
            fields[name] = volume
    return (Decoded("ticker", market, (fields,)),)


Reader = Callable[[str, str], Sequence[Decoded]]
"""(text of a frame, name of its market) -> what it says."""


def _of_chart(timeframe: str) -> Reader:
    return lambda text, market: (Decoded("candle", market, (_bar(text).params.data,), timeframe),)


@lru_cache(maxsize=4096)
def _reader(channel: str) -> tuple[Reader, str] | None:
    """The reader of a channel's frames, and its market; None for channels that are not decoded.

    `trades.(kind).(currency).(interval)` is about many markets; `book.(instrument_name).(group).(depth).(interval)` has
    whole books of grouped prices.
    """
    kind, *rest = channel.split(".")
    match kind, rest:
        case "trades", [market, _]:
            return _of_trades_of_combination if _COMBINATION.match(market) else _of_trades, market
        case "book", [market, _]:
            return partial(_of_book, decoder=_book_of_combination) if _COMBINATION.match(market) else _of_book, market
        case ("ticker", [market, _]) | ("quote", [market]) if not _COMBINATION.match(market):
            # Of a combination zero is a price, not an empty side.
            return _of_ticker, market
        case "chart", ["trades", market, resolution] if resolution in RESOLUTIONS:
            return _of_chart(RESOLUTIONS[resolution]), market
        case _:
            return None


_BEGINNING = '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"'
_CHANNEL = len(_BEGINNING)


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_BEGINNING):
        found = _reader(text[_CHANNEL : text.find('"', _CHANNEL)])
    elif not text.startswith("{") or '"subscription"' not in text:
        return None
    else:
        # Deribit does not promise the order of fields.
        named = _name(text)
        if named.method != "subscription" or named.params is None or named.params.channel is None:
            return None
        found = _reader(named.params.channel)
    return None if found is None else found[0](text, found[1])


def stream_params(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The channel of the book with changes: ccxt's option `useDepthEndpoint` selects one that is not decoded."""
    return {"useDepthEndpoint": False} if method == "watchOrderBook" else {}


def unsubscription(channels: Sequence[str]) -> dict[str, Any]:
    """See `Dialect.unsubscription`. The message: "public/unsubscribe".

    ccxt 4.5.90 names subscriptions by their channels; its ids of requests begin with 1.
    """
    return {"jsonrpc": "2.0", "id": 0, "method": "public/unsubscribe", "params": {"channels": list(channels)}}


# "public/get_tradingview_chart_data".
_FORM = by_column(("ticks", "open", "high", "low", "close", "volume"), path=("result",))
_FORMS = CandleForms(spot=_FORM, linear=_FORM, inverse=_FORM)

DIALECT = Dialect(decode=decode, candles=_FORMS, stream_params=stream_params, unsubscription=unsubscription)
