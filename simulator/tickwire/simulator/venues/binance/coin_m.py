"""Binance's COIN-M futures: each USDT market as an inverse perpetual, in the futures' own forms. No I/O.

Source of names and fields: Binance's COIN-margined futures documentation, "Market Data Endpoints" and "Websocket
Market Streams", as of 2025. Quantities are in contracts of 100 USD (BTC) or 10 USD.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tickwire.simulator.answers import Query, Refused
from tickwire.simulator.market.contracts import base_volume, contract, volume_of, window_volume
from tickwire.simulator.market.cursors import Source
from tickwire.simulator.market.day import DAY_MS
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms
from tickwire.simulator.venues.binance import rest, streams, usd_m

_BTC, _OTHERS = (Terms(Decimal(size), inverse=True, suffix="_PERP") for size in (100, 10))
_SERVED = ("ping", "time", "klines", "aggTrades", "trades", "historicalTrades", "depth")
_STREAMS = ("aggTrade", "trade", "ticker", "miniTicker", "bookTicker")


def listed(exchange: Exchange) -> Exchange:
    """Return the same exchange with the perpetuals in place of the markets."""
    made = (contract(exchange, each, _BTC if each.base == "BTC" else _OTHERS) for each in exchange.instruments.values())
    return exchange.listing({each.id: each for each in made if each is not None})


def answer(exchange: Exchange, path: str, query: Query) -> tuple[Any, int] | None:
    """Return (JSON value, request weight) for a path such as `dapi/v1/klines`; None where there is no such endpoint.

    Raises Refused.
    """
    version, _, rest_of_path = path.rpartition("/v")
    endpoint = rest_of_path.partition("/")[2]
    if version != "dapi":
        return None
    perpetuals = listed(exchange)
    if endpoint == "exchangeInfo":
        return _exchange_info(perpetuals), 1
    if endpoint not in _SERVED:
        return None
    if endpoint == "depth":
        return _depth(perpetuals, query)
    value, weight = rest.ENDPOINTS[endpoint](perpetuals, query)
    if not isinstance(value, list):
        return value, weight
    instrument = perpetuals.instruments.get(query.get("symbol", ""))
    if instrument is None:
        raise Refused(-1121, "Invalid symbol.")
    return [_row(exchange, instrument, endpoint, row) for row in value], weight


def _depth(perpetuals: Exchange, query: Query) -> tuple[Any, int]:
    symbol = query.get("symbol", "")
    book, weight = usd_m.depth(perpetuals, query)
    sides = {side: [(price, short(size)) for price, size in book[side]] for side in ("bids", "asks")}
    return book | {"symbol": symbol, "pair": symbol.partition("_")[0]} | sides, weight


def _row(exchange: Exchange, instrument: Instrument, endpoint: str, row: Any) -> Any:
    match endpoint:
        case "klines":
            base = f"{volume_of(instrument, row, exchange.clock.now()):.8f}"
            return [*row[:5], short(row[5]), row[6], base, row[8], short(row[9]), "0", "0"]
        case "aggTrades":
            return {name: short(value) if name == "q" else value for name, value in row.items() if name != "M"}
        case _:
            paid = base_volume(instrument, [int(Decimal(row["qty"]))], [Decimal(row["price"])])
            return {
                "id": row["id"],
                "price": row["price"],
                "qty": short(row["qty"]),
                "baseQty": f"{paid:.8f}",
                "time": row["time"],
                "isBuyerMaker": row["isBuyerMaker"],
            }


def _exchange_info(perpetuals: Exchange) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "serverTime": perpetuals.clock.now(),
        "rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}],
        "exchangeFilters": [],
        "symbols": [_described(each) for each in perpetuals.instruments.values()],
    }


def _described(instrument: Instrument) -> dict[str, Any]:
    assert instrument.terms is not None
    units = instrument.units
    tick = f"{Decimal(units.price_step).scaleb(-units.price_decimals).normalize():f}"
    return {
        "symbol": instrument.id,
        "pair": instrument.base + instrument.quote,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": instrument.history.first_time if instrument.history else 0,
        "contractStatus": "TRADING",
        "contractSize": int(instrument.terms.size),
        "quoteAsset": instrument.quote,
        "baseAsset": instrument.base,
        "marginAsset": instrument.base,
        "pricePrecision": units.price_decimals,
        "quantityPrecision": 0,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "equalQtyPrecision": 4,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "triggerProtect": "0.0500",
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "1000000", "stepSize": "1"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def source(exchange: Exchange, name: str) -> Source | None:
    """Return the source of a stream such as `btcusd_perp@aggTrade`, from now on; None where there is no such stream."""
    perpetuals = listed(exchange)
    symbol, _, kind = name.partition("@")
    instrument = perpetuals.instruments.get(symbol.upper())
    if instrument is None:
        return None
    if kind.startswith("depth"):
        given = usd_m.depth_source(perpetuals, name)
    elif kind in _STREAMS or kind.startswith("kline_"):
        given = streams.source(perpetuals, name)
    else:
        given = None
    if given is None:
        return None

    def events(now: int) -> Iterator[Any]:
        for event in given(now):
            yield _kline(instrument, event, now) if event.get("e") == "kline" else _event(instrument, event)

    return events


def _kline(instrument: Instrument, event: dict[str, Any], now: int) -> dict[str, Any]:
    candle = event["k"]
    row = [candle["t"], 0, 0, 0, 0, 0, candle["T"]]
    base = f"{volume_of(instrument, row, now):.8f}"
    return event | {"k": candle | {"v": short(candle["v"]), "q": base, "V": short(candle["V"]), "Q": "0"}}


def _event(instrument: Instrument, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a spot market as that of the contract: whole contracts, and its pair."""
    form = usd_m.event_of(event)
    if form["e"] == "depthUpdate":
        form |= {side: [(price, short(size)) for price, size in form[side]] for side in ("b", "a")}
    elif form["e"] == "bookTicker":
        form |= {name: short(form[name]) for name in ("B", "A")}
    elif form["e"] in ("24hrTicker", "24hrMiniTicker"):
        base = window_volume(instrument, form["E"] - DAY_MS + 1, form["E"] + 1)
        form |= {name: short(form[name]) for name in ("v", "Q") if name in form} | {"q": f"{base:.8f}"}
    else:
        return form | {"q": short(form["q"])}
    return form | {"ps": instrument.base + instrument.quote}
