"""Contracts: a market again, with amounts in its smallest units read as whole contracts. No I/O.

A contract of a linear market is `size` of the base currency, one of an inverse market `size` of the quote currency,
USD, which costs `size` / price of the base currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from tickwire.simulator.market.candles import DerivedCandles, Row
from tickwire.simulator.market.exchange import Exchange, Instrument, Terms

DOLLARS = "USD"
_DIGITS = Decimal("1E-8")


def contract(exchange: Exchange, instrument: Instrument, terms: Terms) -> Instrument | None:
    """Return the contract of a market; None where the market has no trades or is not quoted in USDT.

    Its amounts are in contracts.
    """
    if instrument.quote != "USDT" or not isinstance(instrument.candles, DerivedCandles):
        return None
    if (instrument.base, terms) not in exchange.contracts:
        units = replace(instrument.units, amount_decimals=0)
        exchange.contracts[instrument.base, terms] = replace(
            instrument,
            quote=DOLLARS if terms.inverse else instrument.quote,
            units=units,
            candles=instrument.candles.written(units),
            terms=terms,
        )
    return exchange.contracts[instrument.base, terms]


def in_dollars(instrument: Instrument) -> Instrument:
    """Return the same inverse contract with amounts in USD, where its size is a power of ten."""
    assert instrument.terms is not None
    units = replace(instrument.units, amount_decimals=-instrument.terms.size.adjusted())
    assert isinstance(instrument.candles, DerivedCandles)
    return replace(instrument, units=units, candles=instrument.candles.written(units))


def quoted(instrument: Instrument, quote: str) -> Instrument:
    """Return the same market in another quote currency, with amounts in base currency: `USDC` for `USDT`."""
    return replace(instrument, quote=quote)


def base_volume(instrument: Instrument, contracts: Sequence[int], prices: Sequence[Decimal]) -> Decimal:
    """Return the base currency of contracts at their prices, each trade rounded to 8 digits (COIN-M's `baseQty`)."""
    terms = instrument.terms
    assert terms is not None
    if not terms.inverse:
        return sum(contracts) * terms.size
    parts = (
        (terms.size * number / price).quantize(_DIGITS, ROUND_HALF_UP)
        for number, price in zip(contracts, prices, strict=True)
    )
    return sum(parts, Decimal(0))


def volume_of(instrument: Instrument, row: Row, now: int) -> Decimal:
    """Return the volume of a kline in base currency."""
    return window_volume(instrument, int(row[0]), min(int(row[6]), now) + 1)


def window_volume(instrument: Instrument, since: int, until: int) -> Decimal:
    """Return the volume of `[since, until)` (ms) in base currency."""
    assert instrument.history is not None
    trades = instrument.history.between(since, until)
    decimals = instrument.units.price_decimals
    prices = [Decimal(price).scaleb(-decimals) for price in trades.price.tolist()]
    return base_volume(instrument, trades.amount.tolist(), prices)
