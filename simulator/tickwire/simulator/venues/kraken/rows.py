"""Kraken's markets and rows: descriptions, trades, levels, candles, tickers. No I/O.

Source of the fields: Kraken's documentation, "Market Data" and "Spot WebSocket v2", ccxt's `fetch_markets` and
`fetch_currencies`, and the recorded messages that tests/venues/kraken compares with. REST writes prices with five
decimals at least and amounts with eight, as texts; sockets write numbers, prices with the decimals of the market.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from tickwire.simulator.market import day
from tickwire.simulator.market.book import Book, Side
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.candles import Row, Window
from tickwire.simulator.market.contracts import quoted
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades
from tickwire.simulator.market.rows import amount_step, fixed, number, price_step

INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w", 21600: "15d"}
"""Timeframes by Kraken's intervals, minutes."""
KEPT = 721
"""Most candles of an answer: 720 closed ones and the open one, as recorded ("Get OHLC Data")."""
LOT_DECIMALS = 8
_STYLES = {"1w": PageStyle(opens_at=3 * day.DAY_MS, newest=KEPT)}
"""Where weeks open is not documented: here they are counted from the epoch, a Thursday, as all other intervals are."""
_OTHERS = PageStyle(newest=KEPT)
_LEGACY = {"BTC": "XBT", "DOGE": "XDG"}
"""Kraken's names of two currencies by REST; sockets call them by the usual ones."""
_PREFIXED = {**dict.fromkeys(("XBT", "XDG", "ETH", "LTC", "XRP", "ETC", "XLM", "XMR", "ZEC"), "X"),
             **dict.fromkeys(("USD", "EUR", "GBP", "CAD", "JPY", "AUD"), "Z")}  # fmt: skip
"""The beginning of the ids of currencies that Kraken has had for long."""


class TradeRow(NamedTuple):
    """One trade. `moment` is its time in 100 ns, which no two trades share."""

    id: int
    moment: int
    price: str
    amount: str
    side: str
    kind: str
    """`market` or `limit`: the type of the taker's order."""


def instruments(exchange: Exchange) -> list[Instrument]:
    """Return the markets: those of the exchange, and in USD, too, those that are quoted in USDT."""
    found = list(exchange.instruments.values())
    ids = {each.id for each in found}
    in_dollars = (quoted(each, "USD") for each in found if each.quote == "USDT" and each.history is not None)
    return [*found, *(each for each in in_dollars if each.id not in ids)]


def market(exchange: Exchange, symbol: str) -> Instrument | None:
    """Return the market with ccxt's symbol, which is its name on sockets: `BTC/USD`."""
    return next((each for each in instruments(exchange) if name_of(each) == symbol), None)


def name_of(found: Instrument) -> str:
    """Return a market's name on sockets."""
    return f"{found.base}/{found.quote}"


def _code(currency: str) -> str:
    return _LEGACY.get(currency, currency)


def asset(currency: str) -> str:
    """Return the id of a currency: `XXBT`."""
    code = _code(currency)
    return _PREFIXED.get(code, "") + code


def altname(found: Instrument) -> str:
    """Return a market's other name: `XBTUSD`."""
    return _code(found.base) + _code(found.quote)


def id_of(found: Instrument) -> str:
    """Return a market's id: `XXBTZUSD`, but `XBTUSDT`, `SOLUSD` and `XDGUSD`."""
    base, quote = asset(found.base), asset(found.quote)
    both = base != _code(found.base) and quote != _code(found.quote)
    return base + quote if both and base != "XXDG" else altname(found)


def described(found: Instrument) -> dict[str, Any]:
    """Return what `AssetPairs` says about a market."""
    leverage = [2, 3, 4, 5] if found.history is not None else []
    return {
        "altname": altname(found), "wsname": f"{_code(found.base)}/{_code(found.quote)}", "aclass_base": "currency",
        "base": asset(found.base), "aclass_quote": "currency", "quote": asset(found.quote), "lot": "unit",
        "cost_decimals": 5, "pair_decimals": found.units.price_decimals, "lot_decimals": LOT_DECIMALS,
        "lot_multiplier": 1, "leverage_buy": leverage, "leverage_sell": leverage, "fees": [[0, 0.4], [10000, 0.35]],
        "fees_maker": [[0, 0.25], [10000, 0.2]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
        "ordermin": amount_step(found), "costmin": "0.5", "tick_size": price_step(found), "status": "online",
        "long_position_limit": 80, "short_position_limit": 80,
    }  # fmt: skip


def described_asset(currency: str) -> dict[str, Any]:
    """Return what `Assets` says about a currency."""
    decimals, display = (4, 2) if asset(currency).startswith("Z") else (10, 5)
    return {"aclass": "currency", "altname": _code(currency), "decimals": decimals, "display_decimals": display,
            "status": "enabled"}  # fmt: skip


def trades(found: Instrument, rows: Trades) -> Iterator[TradeRow]:
    """Return trades, oldest first. Those of one millisecond are 100 ns apart."""
    assert found.history is not None
    columns = zip(
        rows.id.tolist(),
        rows.timestamp.tolist(),
        fixed(rows.price, found.units.price_decimals),
        amounts(found, rows.amount),
        rows.sell.tolist(),
        strict=True,
    )
    before, place = -1, 0
    for id_, time, price, amount, sell in columns:
        place = place + 1 if time == before else id_ - found.history.id_at(time)
        before = time
        yield TradeRow(id_, time * 10_000 + place, price, amount, "sell" if sell else "buy",
                       "limit" if id_ % 2 else "market")  # fmt: skip


def amounts(found: Instrument, values: Any) -> list[str]:
    """Return amounts as texts with all decimals."""
    padding = "0" * (LOT_DECIMALS - found.units.amount_decimals)
    point = "" if found.units.amount_decimals else "."
    return [text + point + padding for text in fixed(values, found.units.amount_decimals)]


def levels(found: Instrument, side: Side) -> list[tuple[str, str]]:
    """Return the price and amount of each level, as texts with all decimals; an amount of 0 removes a level."""
    return list(zip(fixed(side[0], found.units.price_decimals), amounts(found, side[1]), strict=True))


def padded(text: str) -> str:
    """Return a price as REST writes it outside of candles: with five decimals at least."""
    number = Decimal(text)
    return f"{number:.{max(5, -int(number.as_tuple().exponent))}f}"


def price(found: Instrument, text: str | Decimal) -> str:
    """Return a price with the decimals of the market."""
    return f"{Decimal(text):.{found.units.price_decimals}f}"


def vwap(found: Instrument, quote: str, volume: str) -> str:
    """Return the average price of a volume; 0 where nothing was traded."""
    return price(found, Decimal(quote) / Decimal(volume) if Decimal(volume) else "0")


def candles(found: Instrument, interval: int, now: int, count: int = KEPT) -> list[Row]:
    """Return the newest candles, of quiet intervals, too; the last one is open."""
    timeframe = INTERVALS[interval]
    return candle_page(found, timeframe, (None, None), count, now, _STYLES.get(timeframe, _OTHERS))


def candle(found: Instrument, row: Row) -> list[Any]:
    """Return [open time (s), open, high, low, close, average price, volume, trades]."""
    prices = [price(found, str(row[place])) for place in range(1, 5)]
    return [int(row[0]) // 1000, *prices, vwap(found, str(row[7]), str(row[5])), f"{Decimal(row[5]):.8f}", int(row[8])]


def today(found: Instrument, now: int) -> Window:
    """Return the time since midnight as one candle; that of 24 hours where nothing was traded since."""
    midnight = now // day.DAY_MS * day.DAY_MS
    return found.candles.window(midnight, now + 1, now) or day.window(found, now)


def ticker(found: Instrument, now: int) -> dict[str, Any]:
    """Return what `Ticker` says about a market."""
    last, since, best = day.window(found, now), today(found, now), day.best(found, now)

    def level(at: str, size: str) -> list[str]:
        return [padded(price(found, at)), str(int(Decimal(size))), f"{Decimal(size):.3f}"]

    def both(name: str) -> list[str]:
        return [padded(price(found, getattr(each, name))) for each in (since, last)]

    return {
        "a": level(best.ask, best.ask_size), "b": level(best.bid, best.bid_size),
        "c": [padded(price(found, last.close)), f"{Decimal(day.last_amount(found, last)):.8f}"],
        "v": [f"{Decimal(each.volume):.8f}" for each in (since, last)],
        "p": [padded(vwap(found, each.quote, each.volume)) for each in (since, last)],
        "t": [since.count, last.count], "l": both("low"), "h": both("high"), "o": padded(price(found, since.open)),
    }  # fmt: skip


def iso(moment: int) -> str:
    """Return a time (100 ns) as sockets write it, to the microsecond: `2023-10-06T17:35:55.440295Z`."""
    seconds, rest = divmod(moment, 10_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 10:06d}Z"


def seconds(moment: int) -> str:
    """Return a time (100 ns) as REST writes it: `1762795433.9717445`."""
    whole, rest = divmod(moment, 10_000_000)
    return f"{whole}.{rest:07d}".rstrip("0").rstrip(".")


def in_scope(before: Book, after: Book, depth: int) -> tuple[set[int], set[int]]:
    """Return the prices of each side that a change does not name, because they have only left the depth."""
    left: list[set[int]] = []
    for old, new, sign in ((before.bids[0], after.bids[0], -1), (before.asks[0], after.asks[0], 1)):
        worst = int(new[-1]) * sign if len(new) >= depth else None
        gone = set(old.tolist()) - set(new.tolist())
        left.append(set() if worst is None else {each for each in gone if each * sign > worst})
    return left[0], left[1]


def live_ticker(found: Instrument, last: Window, best: day.Best) -> dict[str, str]:
    """Return the numbers of a socket's ticker, as texts."""
    change = Decimal(last.close) - Decimal(last.open)
    percent = change / Decimal(last.open) * 100 if Decimal(last.open) else Decimal(0)
    return {
        "bid": price(found, best.bid), "bid_qty": f"{Decimal(best.bid_size):.8f}", "ask": price(found, best.ask),
        "ask_qty": f"{Decimal(best.ask_size):.8f}", "last": price(found, last.close),
        "volume": f"{Decimal(last.volume):.8f}", "vwap": vwap(found, last.quote, last.volume),
        "low": price(found, last.low), "high": price(found, last.high), "change": price(found, change),
        "change_pct": f"{percent:.2f}",
    }  # fmt: skip


def live_candle(found: Instrument, interval: int, row: Row) -> dict[str, Any]:
    """Return a candle of a socket."""
    _, *prices, average, volume, count = candle(found, row)
    opened, high, low, close = map(number, prices)
    begin, end = (iso(int(time) * 10_000) for time in (row[0], int(row[6]) + 1))
    return {"symbol": name_of(found), "open": opened, "high": high, "low": low, "close": close, "trades": count,
            "volume": number(volume), "vwap": number(average), "interval_begin": f"{begin[:-1]}000Z",
            "interval": interval, "timestamp": end}  # fmt: skip
