"""Hyperliquid: perpetual contracts and spot markets.

The dialect decodes the public channels from the text of their frames, `{"channel":..,"data":..}`. Source of names and
fields: Hyperliquid's API documentation, "Websocket, Subscriptions", and the recorded frames of
tests/venues/hyperliquid. Numbers are texts; prices and amounts always have a decimal point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_name
from tickwire.venues.decoding import by_market, candle_of, decoder
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TickerFacts, TradeFacts

PROFILE = Profile(
    exchanges=("hyperliquid",),
    # "Subscriptions", `WsTrade`: `tid` is a "50-bit hash of (buyer_oid, seller_oid)". Amounts (`sz`, `v`) are in units
    # of the coin; contract size 1 in ccxt 4.5.90.
    # ccxt 4.5.90 `fetch_trades` requests the fills of a wallet (`userFills`), not the trades of the market: past public
    # trades are not available by REST. The request `recentTrades` is not documented, and has no more trades than the
    # first message of a subscription.
    trades=TradeFacts(ids="opaque", method="none", amount={"spot": "base", "linear": "base"}),
    candles=CandleFacts(
        # "Candle snapshot": a request has a first and a last time; "only the most recent 5000 candles are available".
        since="honoured",
        newest_rows=5000,
        # "Hyperliquid's API serves Thursday-based (midnight UTC) weekly candles": rainbow-me/rainbow, pull request
        # 6920 (2025-10-30), with the times that were received.
        opens_at={"1w": 0},
        volume={"spot": "base", "linear": "base"},
        # "Subscriptions", `Candle`: "volume (base unit)".
        live_volume={"spot": "base", "linear": "base"},
    ),
    # "Subscriptions", `WsBook`: a "snapshot feed, pushed on each block that is at least 0.5 since last push", without a
    # number. "L2 book snapshot": "at most 20 levels per side".
    book=BookFacts(deltas=True, snapshot="every message", sequence=None, depth=20),
    # "Subscriptions", `WsActiveAssetCtx`: `midPx` and `markPx`, no last price. `impactPxs` are not the best prices, but
    # those of an order of the "impact notional" ("Funding"). ccxt 4.5.90 `parse_ticker` fills in the fields by these.
    tickers=TickerFacts(absent=("last", "bid", "ask")),
    # "Subscriptions, Data formats": "The server will respond to successful subscriptions with a message containing the
    # channel property set to subscriptionResponse", with the original subscription. "Rate limits": 2000 messages a
    # minute and 1000 subscriptions, of all sockets of an address together, so that more sockets take no more.
    sockets=SocketFacts(acknowledges=True, messages_per_s=2000 / 60),
)

_SIDES: dict[str, Literal["buy", "sell"]] = {"A": "sell", "B": "buy"}
"""Documentation, "Notation": side of the taker, "B = Bid = Buy, A = Ask = Short"."""


class _Trade(Struct, gc=False):
    coin: str
    side: Literal["A", "B"]
    px: Price
    sz: Amount
    time: int
    tid: int


class _Level(Struct, gc=False):
    px: Price
    sz: Amount


class _Book(Struct):
    """`levels`: bids, then asks, each best first."""

    coin: str
    time: int
    levels: tuple[list[_Level], list[_Level]]


class _Prices(Struct, gc=False):
    """Of a market without a book `midPx` is null; earlier recordings lack `dayBaseVlm`."""

    prevDayPx: Amount | None = None
    dayNtlVlm: Amount | None = None
    dayBaseVlm: Amount | None = None
    markPx: Amount | None = None
    midPx: Amount | None = None


class _Context(Struct):
    coin: str
    ctx: _Prices


class Kline(Struct, frozen=True, gc=False):
    """A `VenueCandle`. No field says that it is closed: the next candle does."""

    timestamp: int = field(name="t")
    s: str
    i: str
    open: Price = field(name="o")
    close: Price = field(name="c")
    high: Price = field(name="h")
    low: Price = field(name="l")
    v: Amount
    n: int

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        return candle_of(feed, self, self.v, trades=self.n)


class _Trades(Struct, gc=False):
    data: list[_Trade]


class _Books(Struct):
    data: _Book


class _Klines(Struct, gc=False):
    """ "Subscriptions" has `Candle[]`; the frame that ccxt 4.5.90 reads has one candle."""

    data: Kline | list[Kline]


class _Contexts(Struct):
    data: _Context


class _Name(Struct, gc=False):
    channel: str = ""


_trades, _books, _klines = decoder(_Trades), decoder(_Books), decoder(_Klines)
_contexts, _name = decoder(_Contexts), decoder(_Name)


def _trade(t: _Trade) -> Trade:
    return Trade(id=str(t.tid), timestamp=t.time, side=_SIDES[t.side], price=t.px, amount=t.sz)


def _of_trades(text: str) -> Sequence[Decoded]:
    data: list[_Trade] = _trades(text).data
    if len(data) == 1:
        t = data[0]
        made = Trade(id=str(t.tid), timestamp=t.time, side=_SIDES[t.side], price=t.px, amount=t.sz)
        return (Decoded("trade", t.coin, (made,)),)
    if data and data[0].time > data[-1].time:
        # The past trades that a subscription begins with.
        data.reverse()
    return by_market("trade", [(t.coin, _trade(t)) for t in data])


def _levels(side: list[_Level]) -> list[Level]:
    return [(level.px, level.sz) for level in side]


def _of_books(text: str) -> Sequence[Decoded]:
    book: _Book = _books(text).data
    bids, asks = book.levels
    snapshot = BookSnapshot(timestamp=book.time, bids=_levels(bids), asks=_levels(asks))
    return (Decoded("book", book.coin, (snapshot,)),)


def _of_candles(text: str) -> Sequence[Decoded]:
    data: Kline | list[Kline] = _klines(text).data
    klines = data if isinstance(data, list) else [data]
    return [Decoded("candle", kline.s, (kline,), kline.i) for kline in klines]


def _of_contexts(text: str) -> Sequence[Decoded]:
    found: _Context = _contexts(text).data
    prices = found.ctx
    fields = {
        "open": prices.prevDayPx,
        "quote_volume": prices.dayNtlVlm,
        "volume": prices.dayBaseVlm,
        "mark": prices.markPx,
        "mid": prices.midPx,
    }
    return (Decoded("ticker", found.coin, ({name: value for name, value in fields.items() if value is not None},)),)


_CHANNELS: dict[str, Callable[[str], Sequence[Decoded]]] = {
    "trades": _of_trades,
    "l2Book": _of_books,
    "candle": _of_candles,
    "activeAssetCtx": _of_contexts,
    "activeSpotAssetCtx": _of_contexts,
}
_BEGINNING = '{"channel":"'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_BEGINNING):
        found = _CHANNELS.get(text[12 : text.find('"', 12)])
    elif text.startswith("{"):
        # Hyperliquid does not promise the order of fields.
        found = _CHANNELS.get(_name(text).channel)
    else:
        return None
    return None if found is None else found(text)


def market_name(market: Mapping[str, Any]) -> str:
    """The coin: `BTC` of a perpetual contract, `@142` or `PURR/USDC` of a spot market."""
    return str(market["baseName"] if market.get("swap") else market["id"])


# "Candle snapshot".
_FORM = by_name(("t", "o", "h", "l", "c", "v"))
_FORMS = CandleForms(spot=_FORM, linear=_FORM, inverse=_FORM)

DIALECT = Dialect(decode=decode, candles=_FORMS, market_name=market_name)
