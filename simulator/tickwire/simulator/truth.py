"""The exact market over HTTP, under `/_sim/truth/`: what a test compares with.

Without `exchange` a symbol is one of the generated or played markets. With `exchange`, a ccxt id, it is ccxt's symbol
of a market of that venue, and amounts are in the venue's units.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.simulator.control import integer, json_handler
from tickwire.simulator.directory import Directory
from tickwire.simulator.market.aggregates import Aggregates, aggregates
from tickwire.simulator.market.book import Side, book_at, frame_of
from tickwire.simulator.market.contracts import volume_of
from tickwire.simulator.market.decimal_texts import texts
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades


class Truth:
    """The handlers. Each returns a JSON value, or raises a TickwireError that becomes status 400."""

    def __init__(self, exchange: Exchange, directory: Directory) -> None:
        self._exchange = exchange
        self._directory = directory

    async def candles(self, request: web.Request) -> Any:
        """GET /_sim/truth/candles: closed candles as [time, open, high, low, close, volume], numbers.

        The volume of a contract is in base currency.
        """
        instrument = self._instrument(request)
        timeframe = request.query.get("timeframe", "1m")
        if timeframe not in instrument.intervals:
            raise BadRequest(f"{instrument.id} has no {timeframe} candles")
        now = self._exchange.clock.now()
        since = integer(request, "since", 0)
        until = min(integer(request, "until", now + 1), timeframes.open_of(timeframe, now + 1))
        found: list[Any] = []
        start = timeframes.ceil_open(timeframe, since)
        while page := instrument.candles.page(timeframe, start, until - 1, 10_000, now):
            for row in page:
                volume = row[5] if instrument.terms is None else volume_of(instrument, row, now)
                found.append([row[0], *(msgspec.Raw(_shortest(each)) for each in (*row[1:5], volume))])
            start = int(page[-1][0]) + 1
        return found

    async def trades(self, request: web.Request) -> Any:
        """GET /_sim/truth/trades: {id, agg, timestamp, side, price, amount}, numbers; up to now."""
        instrument = self._instrument(request)
        if instrument.history is None:
            raise BadRequest(f"{instrument.id} is played from candles and has no trades")
        now = self._exchange.clock.now()
        until = min(integer(request, "until", now + 1), now + 1)
        found = instrument.history.between(integer(request, "since", 0), until)
        return _trades(instrument, found, "id", "agg")

    async def aggregates(self, request: web.Request) -> Any:
        """GET /_sim/truth/aggregates?symbol=&fromId=&limit=: aggregate trades from an id on, up to now."""
        instrument = self._instrument(request)
        history = instrument.history
        if history is None:
            raise BadRequest(f"{instrument.id} is played from candles and has no trades")
        first = integer(request, "fromId", 1)
        end = history.id_at(self._exchange.clock.now() + 1)
        limit = integer(request, "limit", 10_000)
        since = history.id_of_aggregate(first)
        # Two trades at most make one aggregate trade.
        found = aggregates(history.by_id(since, min(end, since + 2 * limit)))[:limit]
        return _trades(instrument, found, "id", "first_id", "last_id")

    async def book(self, request: web.Request) -> Any:
        """GET /_sim/truth/book?at=&levels=: {bids, asks} of [price, amount], numbers; at a time (ms; default: now)."""
        instrument = self._instrument(request)
        found = book_at(instrument, frame_of(integer(request, "at", self._exchange.clock.now())))
        levels = integer(request, "levels", 20)
        return {"bids": _levels(instrument, found.bids, levels), "asks": _levels(instrument, found.asks, levels)}

    async def market(self, request: web.Request) -> Any:
        """GET /_sim/truth/market: the steps of prices and amounts, and what one unit of an amount is.

        `unit` is in base currency, or in quote currency where `inverse`.
        """
        instrument = self._instrument(request)
        units, terms = instrument.units, instrument.terms
        return {
            "tick": float(f"{units.price_step}e-{units.price_decimals}"),
            "lot": float(Decimal(units.amount_step).scaleb(-units.amount_decimals)),
            "unit": 1.0 if terms is None else float(terms.size.scaleb(units.amount_decimals)),
            "inverse": terms is not None and terms.inverse,
        }

    def _instrument(self, request: web.Request) -> Instrument:
        symbol, name = request.query.get("symbol", ""), request.query.get("exchange")
        if name is None:
            found = self._exchange.instrument(symbol)
        elif (venue := self._directory.of_exchange(name)) is not None:
            found = venue.market(self._exchange, symbol)
        else:
            raise BadRequest(f"no exchange {name!r} is simulated", f"there are {', '.join(self._directory.venues)}")
        if found is None:
            known = ", ".join(f"{each.base}/{each.quote}" for each in self._exchange.instruments.values())
            raise BadRequest(f"no such symbol {symbol!r}", f"there are {known}")
        return found


def _trades(instrument: Instrument, found: Trades | Aggregates, *ids: str) -> list[dict[str, Any]]:
    """Return trades with the columns `ids`, and their timestamp, side, price and amount."""
    units = instrument.units
    columns = zip(
        zip(*(getattr(found, name).tolist() for name in ids), strict=True),
        found.timestamp.tolist(),
        found.sell.tolist(),
        texts(found.price, units.price_decimals),
        texts(found.amount, units.amount_decimals),
        strict=True,
    )
    return [
        {**dict(zip(ids, numbers, strict=True)), "timestamp": time, "side": "sell" if sell else "buy",
         "price": msgspec.Raw(_shortest(price)), "amount": msgspec.Raw(_shortest(amount))}
        for numbers, time, sell, price, amount in columns
    ]  # fmt: skip


def _levels(instrument: Instrument, side: Side, count: int) -> list[Any]:
    units = instrument.units
    prices, sizes = texts(side[0][:count], units.price_decimals), texts(side[1][:count], units.amount_decimals)
    return [
        [msgspec.Raw(_shortest(price)), msgspec.Raw(_shortest(size))] for price, size in zip(prices, sizes, strict=True)
    ]


def _shortest(number: Any) -> bytes:
    # The exact decimal digits: a JSON reader finds the nearest double.
    digits = str(number)
    return (digits.rstrip("0").rstrip(".") if "." in digits and "e" not in digits else digits).encode()


def add_routes(router: web.UrlDispatcher, truth: Truth) -> None:
    """Add the routes of the exact market."""
    for name, handler in (
        ("aggregates", truth.aggregates),
        ("book", truth.book),
        ("candles", truth.candles),
        ("market", truth.market),
        ("trades", truth.trades),
    ):
        router.add_route("GET", f"/_sim/truth/{name}", json_handler(handler))
