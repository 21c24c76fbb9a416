"""Binance's USD-M futures: each USDT market as a perpetual contract, in the futures' own forms. No I/O.

A perpetual has the trades of its spot market, with the same ids. Source of names, cadences, limits and fields:
Binance's USDS-margined futures documentation, "Market Data Endpoints" and "Websocket Market Streams", as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from tickwire.simulator.answers import Query, Refused
from tickwire.simulator.market.book import FRAME_MS, book_at, frame_of, last_update_id, time_of_update
from tickwire.simulator.market.cursors import Source
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.venues.binance import rest, streams
from tickwire.simulator.venues.binance.parameters import integer

SETTLE = "USDT"

_DEPTH = re.compile(r"([a-z0-9_]+)@depth(5|10|20|)(?:@(100|250|500)ms)?\Z")
_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_UNKNOWN_HERE = {
    "24hrTicker": ("x", "b", "B", "a", "A"),
    "aggTrade": ("M",),
    "trade": ("M",),
}


def instruments(exchange: Exchange) -> list[Instrument]:
    """Return the markets that have a perpetual contract."""
    return [each for each in exchange.instruments.values() if each.quote == SETTLE]


def answer(exchange: Exchange, path: str, query: Query) -> tuple[Any, int] | None:
    """Return (JSON value, request weight) for a path such as `fapi/v1/klines`; None where there is no such endpoint.

    Raises Refused.
    """
    version, _, rest_of_path = path.rpartition("/v")
    endpoint = rest_of_path.partition("/")[2]
    if version != "fapi" or endpoint not in rest.ENDPOINTS:
        return None
    if query.get("symbol") and not _has(exchange, query["symbol"]):
        raise Refused(-1121, "Invalid symbol.")
    if endpoint == "exchangeInfo":
        return _exchange_info(exchange), 1
    if endpoint == "klines":
        return rest.klines(exchange, query, 1500)
    if endpoint == "depth":
        return depth(exchange, query)
    value, weight = rest.ENDPOINTS[endpoint](exchange, query)
    now = exchange.clock.now()
    if isinstance(value, list):
        # All tickers: those of the contracts alone.
        rows = [row for row in value if "symbol" not in row or _has(exchange, row["symbol"])]
        return [_row(endpoint, row, now) for row in rows], weight
    return _row(endpoint, value, now), weight


def _has(exchange: Exchange, symbol: str) -> bool:
    found = exchange.instruments.get(symbol)
    return found is not None and found.quote == SETTLE


def _row(endpoint: str, row: dict[str, Any], now: int) -> dict[str, Any]:
    match endpoint:
        case "aggTrades":
            return _without(row, "M")
        case "trades" | "historicalTrades":
            return _without(row, "isBestMatch")
        case "ticker/24hr":
            return _without(row, "prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty")
        case "ticker/price":
            return row | {"time": now}
        case "ticker/bookTicker":
            return row | {"lastUpdateId": last_update_id(frame_of(now)), "time": now}
        case _:
            return row


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def depth(exchange: Exchange, query: Query) -> tuple[Any, int]:
    """Return the book of a contract as REST has it, and the request weight. Raises Refused."""
    limit = integer(query, "limit") or 500
    if limit not in _DEPTH_LIMITS:
        raise Refused(-4021, f"'{limit}' is not valid depth limit.")
    book, weight = rest.ENDPOINTS["depth"](exchange, {**query, "limit": str(limit)})
    time = time_of_update(book["lastUpdateId"])
    return {"lastUpdateId": book["lastUpdateId"], "E": time, "T": time, "bids": book["bids"],
            "asks": book["asks"]}, weight  # fmt: skip


def _exchange_info(exchange: Exchange) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "serverTime": exchange.clock.now(),
        "futuresType": "U_MARGINED",
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        "exchangeFilters": [],
        "assets": [{"asset": SETTLE, "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_contract(each) for each in instruments(exchange)],
    }


def _contract(instrument: Instrument) -> dict[str, Any]:
    units = instrument.units
    tick = f"{Decimal(units.price_step).scaleb(-units.price_decimals).normalize():f}"
    lot = f"{Decimal(units.amount_step).scaleb(-units.amount_decimals).normalize():f}"
    since = instrument.history.first_time if instrument.history else 0
    return {
        "symbol": instrument.id,
        "pair": instrument.id,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": since,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": SETTLE,
        "pricePrecision": units.price_decimals,
        "quantityPrecision": units.amount_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "90000000", "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "90000000", "stepSize": lot},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def source(exchange: Exchange, name: str) -> Source | None:
    """Return the source of a stream such as `btcusdt@aggTrade`, from now on; None where there is no such stream."""
    if not name.startswith("!") and not _has(exchange, name.partition("@")[0].upper()):
        return None
    if _DEPTH.match(name):
        return depth_source(exchange, name)
    given = streams.source(exchange, name)
    return None if given is None else _mapped(given, lambda event: _event(exchange, event))


def depth_source(exchange: Exchange, name: str) -> Source | None:
    """Return the source of a book's stream such as `btcusdt@depth@100ms`; None where there is no such stream."""
    found = _DEPTH.match(name)
    instrument = exchange.instruments.get(found[1].upper()) if found else None
    if found is None or instrument is None:
        return None
    # The book changes every 100 ms, so a cadence of 250 ms becomes 200 ms.
    width = int(found[3] or 250) // FRAME_MS * FRAME_MS
    inner: Source = streams.Depth(instrument, exchange.clock.now(), width)
    return _mapped(inner, lambda event: _difference(instrument, event, int(found[2] or 0)))


def _mapped(source: Source, form: Callable[[Any], Any]) -> Source:
    def events(now: int) -> Iterator[Any]:
        return map(form, source(now))

    return events


def _difference(instrument: Instrument, event: dict[str, Any], levels: int) -> dict[str, Any]:
    """Return a difference with `pu`, the update id it follows. All contracts share ids, so `U` is not `pu` + 1."""
    before, last = event["U"] - 1, event["u"]
    if levels:
        book = book_at(instrument, frame_of(event["E"]))
        sides = {"b": streams.levels(instrument, book.bids, levels), "a": streams.levels(instrument, book.asks, levels)}
    else:
        sides = {"b": event["b"], "a": event["a"]}
    return {"e": "depthUpdate", "E": event["E"], "T": event["E"], "s": event["s"], "U": before + 3, "u": last,
            "pu": before} | sides  # fmt: skip


def _event(exchange: Exchange, event: Any) -> Any:
    if isinstance(event, list):
        return [_event(exchange, each) for each in event if _has(exchange, each["s"])]
    return event_of(event)


def event_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a spot market in the futures' form."""
    kind = event.get("e", "bookTicker")
    if kind == "bookTicker":
        time = time_of_update(event["u"])
        return {"e": "bookTicker"} | event | {"T": time, "E": time}
    event = _without(event, *_UNKNOWN_HERE.get(kind, ()))
    return event | {"X": "MARKET"} if kind == "trade" else event
