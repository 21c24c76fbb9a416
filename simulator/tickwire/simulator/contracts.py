"""Contracts: a market once more, where what trades there in its smallest units trades here in whole contracts. No I/O.

A contract of a linear market is `size` of the base currency, one of an inverse market `size` of the quote currency,
USD, which costs `size` / price of the base currency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from tickwire.simulator.candles import DerivedCandles, Row
from tickwire.simulator.exchange import Exchange, Instrument, Terms

DOLLARS = "USD"
_DIGITS = Decimal("1E-8")


def contract(exchange: Exchange, instrument: Instrument, terms: Terms) -> Instrument | None:
    """The contract of a market; None where it has no trades of its own, or is not quoted in USDT."""
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


def base_volume(instrument: Instrument, contracts: Sequence[int], prices: Sequence[Decimal]) -> Decimal:
    """What contracts traded at these prices are in base currency, each trade to 8 digits (COIN-M's `baseQty`)."""
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
    """The volume of a kline in base currency."""
    return window_volume(instrument, int(row[0]), min(int(row[6]), now) + 1)


def window_volume(instrument: Instrument, since: int, until: int) -> Decimal:
    """What was traded in `[since, until)` (ms) in base currency."""
    assert instrument.tape is not None
    trades = instrument.tape.between(since, until)
    decimals = instrument.units.price_decimals
    prices = [Decimal(price).scaleb(-decimals) for price in trades.price.tolist()]
    return base_volume(instrument, trades.amount.tolist(), prices)
