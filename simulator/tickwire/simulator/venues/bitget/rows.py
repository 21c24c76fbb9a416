"""Bitget's instruments and rows: trades, levels, candles, tickers, descriptions. No I/O.

Source of the fields: Bitget's documentation of its API v2, as of 2025, the parsers of ccxt 4.5 (`bitget`), and the
recorded messages that tests/venues/bitget/test_bitget_messages.py compares with. Prices and sizes of trades and books
have all decimals of their steps; those of candles have no zeros at their end.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tickwire.simulator.market import day
from tickwire.simulator.market.candles import Row, TradeHistory
from tickwire.simulator.market.decimal_texts import short
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import fixed, listed_at, trade_rows

LINEAR = "USDT-FUTURES"
PRODUCTS = (LINEAR, "COIN-FUTURES", "USDC-FUTURES", "SUSDT-FUTURES", "SCOIN-FUTURES", "SUSDC-FUTURES")
"""Bitget's product types of futures; only the first has markets here."""
_SHORT = {"1m": "1min", "3m": "3min", "5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h"}
_LONG = ("6h", "12h", "1d", "3d", "1w", "1M")
_SPOT_LONG = ("6h", "12h", "1day", "3day", "1week", "1M")
_UTC = {f"{each[:-1]}{each[-1].upper()}utc": each for each in _LONG}
LOCAL = {f"{each[:-1]}{each[-1].upper()}": each for each in _LONG}
"""Bars of futures and of sockets that open by Hong Kong's time, by the timeframe of each."""
SPOT_LOCAL = dict(zip(_SPOT_LONG, _LONG, strict=True))
"""Those of spot markets by REST."""
SPOT_BARS = {name: interval for interval, name in _SHORT.items()} | _UTC
"""Bars of spot markets by REST that open by UTC; there are none of two hours."""
BARS = {f"{each[:-1]}{each[-1].upper() if each[-1] == 'h' else each[-1]}": each for each in (*_SHORT, "2h")} | _UTC
"""The same of futures: `1H` where spot markets have `1h`."""
SOCKET_BARS = {name: interval for name, interval in BARS.items() if interval != "2h"}
LOCAL_MS = -8 * 3_600_000
"""Hong Kong's midnight before UTC's (ms)."""
_EPOCH_MS = 1_435_725_920_677
"""Measured: each recorded `tradeId`, of 2024 and 2026, is 2**22 for each ms since then, and a remainder."""
_IN_MS = 1 << 22
_FUNDING_MS = 8 * 3_600_000


def instruments(exchange: Exchange, product: str) -> list[Instrument]:
    """Return the instruments of a product type. Amounts of futures are in base currency, as those of spot markets."""
    if product not in ("SPOT", LINEAR):
        return []
    markets = exchange.instruments.values()
    return [each for each in markets if product == "SPOT" or (each.quote == "USDT" and each.history is not None)]


def instrument(exchange: Exchange, product: str, symbol: str) -> Instrument | None:
    """Return the instrument with Bitget's symbol: `BTCUSDT`."""
    return next((each for each in instruments(exchange, product) if each.id == symbol), None)


def id_of(id_: int, timestamp: int) -> str:
    """Return the `tradeId` of a trade of the market."""
    return str((timestamp - _EPOCH_MS) * _IN_MS + id_ % _IN_MS)


def place_of(history: TradeHistory, trade_id: int) -> int:
    """Return the id, in the market, of the first trade whose `tradeId` is not below this one."""
    timestamp = trade_id // _IN_MS + _EPOCH_MS
    first = history.id_at(timestamp)
    return min(first + (trade_id - first) % _IN_MS, history.id_at(timestamp + 1))


def trades(found: Instrument, trades: Trades) -> list[tuple[str, str, str, bool, int]]:
    """Return (id, price, size, whether the taker sold, time) of trades."""
    rows = trade_rows(found, trades, fixed)
    return [(id_of(row.id, row.timestamp), row.price, row.amount, row.sell, row.timestamp) for row in rows]


def candle(row: Row) -> list[str]:
    """Return [open time, open, high, low, close, volume in base currency, in quote currency, in USDT]."""
    return [*(short(row[place]) for place in range(6)), short(row[7]), short(row[7])]


def _change(before: str, after: str) -> str:
    return f"{(Decimal(after) - Decimal(before)) / Decimal(before):.5f}" if Decimal(before) else "0"


def _day(found: Instrument, now: int) -> tuple[dict[str, str], str]:
    """Return the last 24 hours and the best prices, and the price at the beginning of the day by UTC."""
    last, best = day.window(found, now), day.best(found, now)
    today = found.candles.window(now // day.DAY_MS * day.DAY_MS, now + 1, now)
    values = {"lastPr": last.close, "open": last.open, "high24h": last.high, "low24h": last.low, "bidPr": best.bid,
              "askPr": best.ask, "bidSz": best.bid_size, "askSz": best.ask_size, "baseVolume": last.volume,
              "quoteVolume": last.quote}  # fmt: skip
    opened = today.open if today else last.close
    fields = {name: short(value) for name, value in values.items()}
    fields |= {"openUtc": short(opened), "change24h": _change(last.open, last.close),
               "changeUtc24h": _change(opened, last.close), "ts": str(now)}  # fmt: skip
    return fields, fields.pop("open")


def ticker(product: str, found: Instrument, now: int) -> dict[str, Any]:
    """Return a ticker as REST has it."""
    fields, opened = _day(found, now)
    if product == "SPOT":
        return {"open": opened, "symbol": found.id, "usdtVolume": fields["quoteVolume"], **fields}
    return {"symbol": found.id, "open24h": opened, "usdtVolume": fields["quoteVolume"], **fields, **_funding(fields),
            "deliveryStartTime": None, "deliveryTime": None, "deliveryStatus": ""}  # fmt: skip


def _funding(fields: dict[str, str]) -> dict[str, str]:
    price = fields["lastPr"]
    return {"indexPrice": price, "markPrice": price, "fundingRate": "0.0001", "holdingAmount": "1000.5"}


def socket_ticker(product: str, found: Instrument, now: int) -> dict[str, str]:
    """Return a ticker as the channel `ticker` has it."""
    fields, opened = _day(found, now)
    names = ("lastPr", "bidPr", "askPr", "bidSz", "askSz")
    head = {"instId": found.id, **{name: fields[name] for name in names}, "open24h": opened,
            **{name: fields[name] for name in ("high24h", "low24h", "change24h")}}  # fmt: skip
    sums = {name: fields[name] for name in ("baseVolume", "quoteVolume", "openUtc")}
    if product == "SPOT":
        return {**head, **sums, "changeUtc24h": fields["changeUtc24h"], "ts": fields["ts"]}
    funding = _funding(fields)
    return {**head, "fundingRate": funding["fundingRate"],
            "nextFundingTime": str(now // _FUNDING_MS * _FUNDING_MS + _FUNDING_MS),
            **{name: funding[name] for name in ("markPrice", "indexPrice", "holdingAmount")}, **sums,
            "symbolType": "1", "symbol": found.id, "deliveryPrice": "0", "ts": fields["ts"]}  # fmt: skip


def described(product: str, found: Instrument) -> dict[str, Any]:
    """Return what `symbols` (spot) or `contracts` says about an instrument."""
    units = found.units
    lot = short(fixed_step(units.amount_step, units.amount_decimals))
    common = {"symbol": found.id, "baseCoin": found.base, "quoteCoin": found.quote}
    ratios = {"buyLimitPriceRatio": "0.05", "sellLimitPriceRatio": "0.05"}
    if product == "SPOT":
        return {**common, "minTradeAmount": "0", "maxTradeAmount": "900000000000000000000", "takerFeeRate": "0.002",
                "makerFeeRate": "0.002", "pricePrecision": str(units.price_decimals),
                "quantityPrecision": str(units.amount_decimals), "quotePrecision": "8", "status": "online",
                "minTradeUSDT": "1", **ratios, "areaSymbol": "no", "orderQuantity": "200",
                "openTime": str(listed_at(found)), "offTime": ""}  # fmt: skip
    return {**common, **ratios, "feeRateUpRatio": "0.005", "makerFeeRate": "0.0002", "takerFeeRate": "0.0006",
            "openCostUpRatio": "0.01", "supportMarginCoins": [found.quote], "minTradeNum": lot,
            "priceEndStep": str(units.price_step), "volumePlace": str(units.amount_decimals),
            "pricePlace": str(units.price_decimals), "sizeMultiplier": lot, "symbolType": "perpetual",
            "minTradeUSDT": "5", "maxSymbolOrderNum": "200", "maxProductOrderNum": "1000", "maxPositionNum": "150",
            "symbolStatus": "normal", "offTime": "-1", "limitOpenTime": "-1", "deliveryTime": "",
            "deliveryStartTime": "", "deliveryPeriod": "", "launchTime": "", "fundInterval": "8", "minLever": "1",
            "maxLever": "125", "posLimit": "0.1", "maintainTime": ""}  # fmt: skip


def fixed_step(step: int, decimals: int) -> str:
    """Return a step of prices or amounts as a decimal text."""
    return f"{Decimal(step).scaleb(-decimals):f}"


def margin(found: Instrument) -> dict[str, Any]:
    """Return what `margin/currencies` says about an instrument: it is not borrowable."""
    return {"symbol": found.id, "baseCoin": found.base, "quoteCoin": found.quote, "maxCrossedLeverage": "0",
            "maxIsolatedLeverage": "0", "minTradeAmount": "0.0001", "isBorrowable": False, "status": "1"}  # fmt: skip


def coin(name: str, id_: int) -> dict[str, Any]:
    """Return what `coins` says about a currency."""
    chain = {"chain": name, "needTag": "false", "withdrawable": "true", "rechargeable": "true", "withdrawFee": "0.005",
             "extraWithdrawFee": "0", "depositConfirm": "1", "withdrawConfirm": "1", "minDepositAmount": "0.001",
             "minWithdrawAmount": "0.001", "browserUrl": "", "contractAddress": "", "withdrawStep": "0",
             "withdrawMinScale": "8", "congestion": "normal"}  # fmt: skip
    return {"coinId": str(id_), "coin": name, "transfer": "true", "chains": [chain], "areaCoin": "no"}
