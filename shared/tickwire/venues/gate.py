"""Gate: spot and futures; Gate EU.

The dialect decodes the public channels from the text of their frames, `{"time":..,"channel":..,"event":"update",
"result":..}`, of spot markets and of perpetual contracts, whose names are the same. Source of names and fields: Gate's
documentation "Spot WebSocket v4" and "Futures WebSocket v4"; the announcement "Gate Spot Depth Channel Upgrade"
(2025-05-30) for `spot.obu`. REST: "Gate API v4".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from tickwire.model import numbers
from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_name, by_position
from tickwire.venues.decoding import by_market, candle_of, decoder, ticker_fields
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, MarketKind, Profile, SocketFacts, TradeFacts

_TRADES = TradeFacts(
    # "Public Trades Channel": `id` is "All Market Trade ID", so it need not count up within a market. ccxt 4.5.90 reads
    # it live and by REST (`parse_trade`), and it was the same for one trade (2022, gateio/rest-v4, issue 10); a frame
    # of 2026-09 has the same number as the trade's own of its market.
    ids="opaque",
    ids_shared=True,
    # "Futures market transaction records": by `from` and `to`, whole seconds. Without `from`, which ccxt 4.5.90
    # `fetch_trades` does not send of spot markets, "`to` and `limit` will be used to limit response items". Of more,
    # "only `limit` number will be returned": the newest, which ccxt's pagination (backwards by `until`) relies on.
    method="by_time",
    cut="newest",
    # `limit`: "maximum: 1000".
    page=1000,
    # Spot: the REST API gave the other side than the socket for the same id, and with `last_id` the same one (2022,
    # gateio/rest-v4, issue 10, which is open); the documentation says "Buy or sell order". Live: "Taker side". Futures:
    # "taker side" (gateio/gateapi-go, issue 17).
    sides={"spot": None},
    # `create_time_ms`: milliseconds with decimals (spot), "3 decimal places" of seconds (futures).
    resolution_ms=1,
    # "Futures market transaction records": `size` is in contracts of `quanto_multiplier`, or of 1 USD if that is 0
    # (inverse). ccxt 4.5.90 `parse_contract_market` makes `contractSize` of it.
    amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
)
_CANDLES = CandleFacts(
    # ccxt 4.5.90 sends `from` and `to`, the time of one page apart; all points in the range are returned.
    since="honoured",
    windowed=True,
    # "Futures market K-line chart": "`7d` means every 7d since unix 0". ccxt 4.5.90 requests `7d` for weeks.
    opens_at={"1w": 0},
    # Spot, "Market K-line chart": ccxt reads column 6, base volume. Futures: `v` is "size volume", in contracts.
    volume={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    # Live, ccxt reads `v`: quote currency for spot (base volume is `a`), contracts for futures.
    live_volume={"spot": "quote", "linear": "contracts", "inverse": "contracts"},
)
# "Server Response": the reply to each request has its `id` and `event`. No limits of a socket are documented.
_SOCKETS = SocketFacts(acknowledges=True)

_CONTRACT_BOOK = BookFacts(
    # "Order Book Update": ccxt 4.5.90 subscribes 100 levels every 100 ms; "only updates within are notified". `U` and
    # `u` continue the `id` of the REST snapshot, whose `limit` ccxt cuts to 300. A frame with `full` is a whole book.
    deltas=True,
    snapshot="rest",
    sequence="ranges",
    depth=100,
    request_levels=(300,),
)
PROFILE = Profile(
    exchanges=("gate",),
    trades=_TRADES,
    # "Candlestick too long ago. Maximum 10000 points ago are allowed" (HTTP 400, INVALID_PARAM_VALUE). Measured by
    # others in 2026: the oldest accepted `from` is 9,998 intervals ago.
    candles=msgspec.structs.replace(_CANDLES, newest_rows=9_999),
    # ccxt 4.5.90 subscribes `spot.obu` with 50 levels: "upon subscribing, the first push will always be a full depth
    # update"; then `U` is the number before plus one, else "unsubscribe and resubscribe".
    book=BookFacts(deltas=True, snapshot="socket", sequence="ranges", depth=50),
    books={"linear": _CONTRACT_BOOK, "inverse": _CONTRACT_BOOK},
    sockets=_SOCKETS,
)
PROFILES = (
    PROFILE,
    # Spot only, by the same API; its depth is not known. ccxt 4.5.90 subscribes another channel of books.
    Profile(exchanges=("gateeu",), trades=_TRADES, candles=_CANDLES, sockets=_SOCKETS),
)

T = TypeVar("T")
_MS = 1000
_Size = Annotated[float, Meta(ge=-numbers.LARGEST, le=numbers.LARGEST)]
"""A number of contracts, negative where the taker sold."""


class _SpotTrade(Struct, gc=False):
    """`create_time_ms` has decimals, which are cut off, as ccxt does for trades by REST."""

    id: int
    create_time_ms: str
    currency_pair: str
    side: Literal["buy", "sell"]
    amount: Amount
    price: Price


class _ContractTrade(Struct, gc=False):
    id: int
    contract: str
    size: _Size
    price: Price
    create_time: float
    create_time_ms: float | None = None


class _SpotLevel(Struct, array_like=True, gc=False):
    p: Price
    s: Amount


class _ContractLevel(Struct, gc=False):
    p: Price
    s: Amount


class _Book(Struct, Generic[T]):
    """`s` is the name of the market, in `spot.obu` that of the stream: `ob.BTC_USDT.50`."""

    t: int
    s: str
    u: int
    U: int | None = None
    full: bool = False
    b: list[T] = []
    a: list[T] = []


class _Best(Struct, gc=False):
    """Texts are empty and amounts 0 where a side is empty."""

    s: str
    t: int = 0
    b: str | None = None
    B: Amount = 0.0
    a: str | None = None
    A: Amount = 0.0


class _Day(Struct, gc=False):
    """A ticker: of a spot market with `currency_pair`, of a contract with `contract` and without best prices."""

    currency_pair: str = ""
    contract: str = ""
    last: str = ""
    lowest_ask: str | None = None
    highest_bid: str | None = None
    base_volume: str = ""
    quote_volume: str = ""
    volume_24h_base: str = ""
    volume_24h_quote: str = ""
    high_24h: str = ""
    low_24h: str = ""


class Bar(Struct, frozen=True, gc=False):
    """A `VenueCandle`. `name` is `1m_BTC_USDT`. `volume` is in quote currency, of contracts in contracts; `amount` of
    spot markets in base currency."""

    time: int = field(name="t")
    open: Price = field(name="o")
    high: Price = field(name="h")
    low: Price = field(name="l")
    close: Price = field(name="c")
    name: str = field(name="n")
    volume: Amount = field(name="v")
    amount: Amount | None = field(name="a", default=None)
    closed: bool = field(name="w", default=False)
    """"`true` may be missing": the next candle closes this one, too."""

    @property
    def timestamp(self) -> int:
        """The open time, ms."""
        return self.time * _MS

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """See `VenueCandle.candle`."""
        is_base, volume = False, self.volume
        if kind == "spot" and self.amount is not None:
            is_base, volume = True, self.amount
        return candle_of(feed, self, volume, closed=self.closed, volume_unit="base" if is_base else None)


class _Frame(Struct, Generic[T], gc=False):
    result: T
    time_ms: int | None = None


class _Name(Struct, gc=False):
    channel: str = ""
    event: str | None = None


_spot_trades = decoder(_Frame[_SpotTrade | list[_SpotTrade]])
# Sizes of contracts come as text if ccxt's header X-Gate-Size-Decimal was sent.
_contract_trades = decoder(_Frame[list[_ContractTrade]])
_spot_books, _contract_books = decoder(_Frame[_Book[_SpotLevel]]), decoder(_Frame[_Book[_ContractLevel]])
_bests, _days = decoder(_Frame[_Best]), decoder(_Frame[list[_Day] | _Day])
_bars, _name = decoder(_Frame[list[Bar] | Bar]), decoder(_Name)


def _spot_trade(t: _SpotTrade) -> Trade:
    try:
        timestamp = int(t.create_time_ms.partition(".")[0])
    except ValueError as error:
        raise msgspec.ValidationError(f"a trade at {t.create_time_ms}") from error
    return Trade(id=str(t.id), timestamp=timestamp, side=t.side, price=t.price, amount=t.amount)


def _contract_trade(t: _ContractTrade) -> Trade:
    timestamp = int(t.create_time * _MS if t.create_time_ms is None else t.create_time_ms)
    side: Literal["buy", "sell"] = "sell" if t.size < 0 else "buy"
    return Trade(id=str(t.id), timestamp=timestamp, side=side, price=t.price, amount=abs(t.size))


def _of_spot_trades(text: str) -> tuple[Decoded, ...]:
    result = _spot_trades(text).result
    if type(result) is _SpotTrade:
        return (Decoded("trade", result.currency_pair, (_spot_trade(result),)),)
    return by_market("trade", [(each.currency_pair, _spot_trade(each)) for each in result])


def _of_contract_trades(text: str) -> tuple[Decoded, ...]:
    result = _contract_trades(text).result
    if len(result) == 1:
        # Nearly every frame.
        return (Decoded("trade", result[0].contract, (_contract_trade(result[0]),)),)
    return by_market("trade", [(each.contract, _contract_trade(each)) for each in result])


def _of_book(book: _Book[Any]) -> tuple[Decoded]:
    bids: list[Level] = [(level.p, level.s) for level in book.b]
    asks: list[Level] = [(level.p, level.s) for level in book.a]
    item: BookSnapshot | Diff
    if book.full:
        item = BookSnapshot(timestamp=book.t, bids=bids, asks=asks, sequence=book.u)
    else:
        item = Diff(timestamp=book.t, bids=bids, asks=asks, first=book.U, last=book.u)
    market = book.s.split(".")[1] if book.s.startswith("ob.") else book.s
    return (Decoded("book", market, (item,)),)


def _of_best(text: str) -> tuple[Decoded, ...]:
    best = _bests(text).result
    fields = _amounts({"bid": best.b, "ask": best.a})
    if best.t:
        # The recorded frame of a market without any order has time 0.
        fields["timestamp"] = best.t
    fields |= {f"{side}_amount": amount for side, amount in (("bid", best.B), ("ask", best.A)) if side in fields}
    return (Decoded("ticker", best.s, (fields,)),)


def _amounts(texts: dict[str, str | None]) -> dict[str, Any]:
    """The numbers of those that have one; Gate writes `nan` for the volume of a market without trades."""
    return ticker_fields({name: text for name, text in texts.items() if text != "nan"})


def _of_days(text: str) -> tuple[Decoded, ...]:
    frame = _days(text)
    timed = {} if frame.time_ms is None else {"timestamp": frame.time_ms}
    days = frame.result if type(frame.result) is list else [frame.result]
    return by_market("ticker", [(day.currency_pair or day.contract, timed | _day(day)) for day in days])


def _day(day: _Day) -> dict[str, Any]:
    return _amounts({
        "last": day.last,
        "bid": day.highest_bid,
        "ask": day.lowest_ask,
        "high": day.high_24h,
        "low": day.low_24h,
        "volume": day.base_volume or day.volume_24h_base,
        "quote_volume": day.quote_volume or day.volume_24h_quote,
    })  # fmt: skip


WEEKS = ("7d", "1w")
"""ccxt's timeframes for the interval `7d`."""


def _of_bars(text: str) -> tuple[Decoded, ...]:
    result = _bars(text).result
    found = []
    for bar in result if type(result) is list else (result,):
        interval, _, market = bar.name.partition("_")
        for timeframe in WEEKS if interval == "7d" else (interval,):
            found.append(Decoded("candle", market, (bar,), timeframe))
    return tuple(found)


_CHANNELS: dict[str, Callable[[str], tuple[Decoded, ...]]] = {
    "spot.trades": _of_spot_trades,
    "spot.obu": lambda text: _of_book(_spot_books(text).result),
    "spot.book_ticker": _of_best,
    "spot.tickers": _of_days,
    "spot.candlesticks": _of_bars,
    "futures.trades": _of_contract_trades,
    "futures.order_book_update": lambda text: _of_book(_contract_books(text).result),
    "futures.book_ticker": _of_best,
    "futures.tickers": _of_days,
    "futures.candlesticks": _of_bars,
}
_KEY, _UPDATE = '"channel":"', '"event":"update"'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.find('"channel":"spot.trades","event":"update"', 0, 100) > 0:
        return _of_spot_trades(text)
    at = text.find(_KEY)
    if at >= 0 and _UPDATE in text:
        at += len(_KEY)
        found = _CHANNELS.get(text[at : text.find('"', at)])
    elif not text.startswith("{"):
        return None
    else:
        # Acknowledgements and errors; and an update with spaces, which Gate does not promise to leave out.
        named = _name(text)
        found = _CHANNELS.get(named.channel) if named.event == "update" else None
    return None if found is None else found(text)


def is_spot_url(url: str) -> bool:
    """Spot: `api.gateio.ws/ws/v4/`; contracts: `fx-ws.gateio.ws/v4/ws/usdt` (ccxt 4.5.90, `urls` of `pro/gate.py`)."""
    return "/ws/v4" in url


# Spot, "Market K-line chart": time (s), quote volume, close, high, low, open, base volume. Futures, "Futures market
# K-line chart": objects.
_CONTRACTS = by_name(("t", "o", "h", "l", "c", "v"), unit_ms=1000)
_FORMS = CandleForms(spot=by_position((5, 3, 4, 2, 6), unit_ms=1000), linear=_CONTRACTS, inverse=_CONTRACTS)

DIALECT = Dialect(decode=decode, candles=_FORMS, is_spot_url=is_spot_url)
