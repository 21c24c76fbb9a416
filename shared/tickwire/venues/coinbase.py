"""Coinbase: Advanced Trade and Exchange.

The dialect decodes the public channels of Advanced Trade from the text of their frames,
`{"channel":..,"timestamp":..,"sequence_num":..,"events":[..]}`. Source of names and fields: Coinbase's documentation,
"Advanced Trade WebSocket Channels", and its AsyncAPI description. "Measured" facts: "Coinbase API and Market Rules
Reference", measurements of the live API by a third party, published on GitHub, September 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from tickwire.model.feeds import Level, Trade
from tickwire.model.numbers import Amount, Price
from tickwire.venues.candle_forms import CandleForms, by_name
from tickwire.venues.decoding import by_market, decoder, ms_of, ticker_fields
from tickwire.venues.dialect import BookSnapshot, Decoded, Dialect, Diff
from tickwire.venues.profile import BookFacts, CandleFacts, Condition, Older, Profile, SocketFacts, TradeFacts

# Exchange, "Get product candles": "No data is published for intervals where there are no ticks"; both APIs have the
# candles of one store (measured). ccxt 4.5.90 sends both ends of the range, the time of one page apart, and the
# response has all candles between them.
_CANDLES = CandleFacts(since="honoured", windowed=True, quiet="none")

PROFILE = Profile(
    exchanges=("coinbase",),
    # "Get Public Market Trades": the newest trades between `start` and `end` (s). ccxt 4.5.90 `fetch_trades` rejects
    # `since` without `until` and requests at most 1,000 trades, of which the response has at most 100 (measured).
    # The same parser reads `trade_id` live and by REST. `side` is that of the maker, live and by REST (measured:
    # as in Exchange's channel "matches", whose documentation says so), and ccxt passes it on.
    # The ids count up by one (measured), but no request begins with an id: the order is found by content.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="by_time",
        needs_until=True,
        cut="newest",
        page=100,
        resolution_ms=1,
        side="maker",
        live_side="maker",
    ),
    candles=_CANDLES,
    # "Level2 Channel": a snapshot of the entire book, then changes with new sizes. Frames have `sequence_num`, which
    # counts those of the socket over all channels, from 0 ("Advanced Trade WebSocket Overview", "Sequence Numbers"; two
    # third parties found so in their recordings of 2026); books have none.
    book=BookFacts(deltas=True, snapshot="socket", sequence=None),
    # "Advanced Trade WebSocket Overview": each request is answered by `subscriptions`, all of the socket by channel.
    # "Advanced Trade WebSocket Rate Limits": 8 unauthenticated messages per second per IP address.
    # ccxt 4.5.90 `handle_subscription_status` takes an unsubscription for confirmed when the socket has no subscription
    # left at all; until then it refuses others.
    # "Advanced Trade WebSocket Channels": "Most channels close within 60-90 seconds if no updates are sent. Subscribe
    # to heartbeats to keep all subscriptions open."
    sockets=SocketFacts(
        acknowledges=True,
        messages_per_s=8,
        opening=({"type": "subscribe", "channel": "heartbeats"},),
        unsubscribes=False,
    ),
)

EXCHANGE = Profile(
    exchanges=("coinbaseexchange",),
    # "Get product trades", "Pagination": the newest trades, 100 by default and at most 1,000; `after` selects those
    # older than an id. ccxt 4.5.90 `fetch_trades` sends no time. Ids are `trade_id` live and by REST.
    # "Match": "The side field indicates the maker order side". ccxt 4.5.90 `parse_trade` gives the other side, but for
    # trades with the ids of both orders, which those of the channel "matches" are.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="newest",
        older=Older(before="after"),
        page=1000,
        resolution_ms=1,
        live_side="maker",
    ),
    candles=_CANDLES,
    # The channel `level2` requires authentication (ccxt 4.5.90 signs the subscription).
    conditions=(Condition(kinds=("book",), key=True),),
)

PROFILES = (PROFILE, EXCHANGE)

_TAKER: Mapping[str, Literal["buy", "sell"]] = {"BUY": "sell", "SELL": "buy"}
"""The taker's side by the maker's."""


class _Trade(Struct, gc=False):
    trade_id: str
    product_id: str
    price: Price
    size: Amount
    time: datetime
    side: str = ""


class _Trades(Struct, gc=False):
    trades: list[_Trade] = []


class _Update(Struct, gc=False):
    """A level; its `event_time` is not read: ccxt, too, takes the time of the frame."""

    side: Literal["bid", "offer"]
    price_level: Price
    new_quantity: Amount


class _Book(Struct, gc=False):
    product_id: str
    type: str = ""
    updates: list[_Update] = []


class _Ticker(Struct, gc=False):
    """Texts are empty or absent where there is no such value; an empty best price is that of an empty side."""

    product_id: str = ""
    price: str = ""
    volume_24_h: str = ""
    low_24_h: str = ""
    high_24_h: str = ""
    best_bid: str | None = None
    best_bid_quantity: str | None = None
    best_ask: str | None = None
    best_ask_quantity: str | None = None


class _Tickers(Struct, gc=False):
    tickers: list[_Ticker] = []


class _TradesFrame(Struct, gc=False):
    channel: str
    events: list[_Trades] | None = None


class _BookFrame(Struct, gc=False):
    channel: str
    timestamp: datetime
    events: list[_Book] | None = None


class _TickerFrame(Struct, gc=False):
    channel: str
    timestamp: datetime
    events: list[_Tickers] | None = None


class _Name(Struct, gc=False):
    channel: str = ""


_trades, _books, _tickers = decoder(_TradesFrame), decoder(_BookFrame), decoder(_TickerFrame)
_name = decoder(_Name)


def _trade(t: _Trade) -> Trade:
    return Trade(id=t.trade_id, timestamp=ms_of(t.time), side=_TAKER.get(t.side), price=t.price, amount=t.size)


def _order(t: _Trade) -> tuple[datetime, int, str]:
    return t.time, len(t.trade_id), t.trade_id


def _of_trades(text: str) -> Sequence[Decoded] | None:
    events = _trades(text).events
    if events is None:
        return None
    if len(events) == 1 and len(events[0].trades) == 1:
        t = events[0].trades[0]
        return (Decoded("trade", t.product_id, (_trade(t),)),)
    found: list[tuple[str, Trade]] = []
    for event in events:
        rows = event.trades
        # The newest come first (ccxt 4.5.90, `handle_trade`), but the documentation does not promise it.
        if len(rows) > 1 and _order(rows[0]) > _order(rows[-1]):
            rows.reverse()
        found += [(t.product_id, _trade(t)) for t in rows]
    return by_market("trade", found)


def _of_books(text: str) -> Sequence[Decoded] | None:
    frame = _books(text)
    if frame.events is None:
        return None
    time = ms_of(frame.timestamp)
    found: list[tuple[str, BookSnapshot | Diff]] = []
    for book in frame.events:
        bids: list[Level] = []
        asks: list[Level] = []
        for each in book.updates:
            (bids if each.side == "bid" else asks).append((each.price_level, each.new_quantity))
        kind = BookSnapshot if book.type == "snapshot" else Diff
        found.append((book.product_id, kind(timestamp=time, bids=bids, asks=asks)))
    return by_market("book", found)


def _of_tickers(text: str) -> Sequence[Decoded] | None:
    frame = _tickers(text)
    if frame.events is None:
        return None
    time = ms_of(frame.timestamp)
    # Tickers without a product have been seen (ccxt 4.5.90, `handle_tickers`): they say nothing.
    rows = [each for event in frame.events for each in event.tickers if each.product_id]
    return by_market("ticker", [(each.product_id, _ticker(each, time)) for each in rows])


def _ticker(found: _Ticker, time: int) -> dict[str, Any]:
    # "Ticker Channel": volumes of the last 24 hours are in base currency.
    texts = {
        "last": found.price,
        "bid": found.best_bid,
        "bid_amount": found.best_bid_quantity,
        "ask": found.best_ask,
        "ask_amount": found.best_ask_quantity,
        "high": found.high_24_h,
        "low": found.low_24_h,
        "volume": found.volume_24_h,
    }
    return {"timestamp": time} | ticker_fields(texts)


_CHANNELS: dict[str, Callable[[str], Sequence[Decoded] | None]] = {
    "market_trades": _of_trades,
    "l2_data": _of_books,
    "ticker": _of_tickers,
}
_BEGINNING = '{"channel":"'
_TRADES = f'{_BEGINNING}market_trades"'


def decode(text: str) -> Sequence[Decoded] | None:
    """See `Dialect.decode`."""
    if text.startswith(_TRADES):
        return _of_trades(text)
    if text.startswith(_BEGINNING):
        found = _CHANNELS.get(text[12 : text.find('"', 12)])
    elif not text.startswith("{"):
        return None
    else:
        # Coinbase does not promise the order of fields.
        found = _CHANNELS.get(_name(text).channel)
    return None if found is None else found(text)


_NUMBER = re.compile(r'"sequence_num"\s*:\s*(\d+)')


def frame_number(text: str) -> int | None:
    """See `Dialect.frame_number`."""
    found = _NUMBER.search(text)
    return None if found is None else int(found[1])


def market_name(market: Mapping[str, Any]) -> str:
    """The product that frames name: that of `-USD` for one of `-USDC`, where the products have one book.

    "Advanced Trade WebSocket Channels": "Other channels will return the same data as the corresponding -USD based
    products". Products of one book name it as `alias` ("List Public Products"); others have an empty text.
    """
    alias = (market.get("info") or {}).get("alias")
    return str(alias or market["id"])


# "Get Public Product Candles".
_FORM = by_name(("start", "open", "high", "low", "close", "volume"), path=("candles",), unit_ms=1000)
_FORMS = CandleForms(spot=_FORM, linear=_FORM, inverse=_FORM)

DIALECT = Dialect(
    decode=decode,
    candles=_FORMS,
    market_name=market_name,
    frame_number=frame_number,
)
