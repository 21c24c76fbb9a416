"""A market again with a coarser price step, for venues that limit the digits of prices. No I/O.

Prices are rounded down, which keeps their order: the candles of the rounded trades are the rounded candles. Only the
volumes in quote currency of candles are those of the trades before they were rounded.
"""

from __future__ import annotations

from dataclasses import replace

from tickwire.simulator.market.candles import DerivedCandles, TradeHistory
from tickwire.simulator.market.exchange import Instrument
from tickwire.simulator.market.generated import Trades, Units


class _Rounded:
    """The trades of a history with prices in other units; see TradeHistory."""

    def __init__(self, history: TradeHistory, units: Units) -> None:
        self.units, self.first_time, self.first_id = units, history.first_time, history.first_id
        self._history = history
        self._excess = 10 ** (history.units.price_decimals - units.price_decimals)

    def id_at(self, timestamp: int) -> int:
        return self._history.id_at(timestamp)

    def by_id(self, first: int, end: int) -> Trades:
        return self._round(self._history.by_id(first, end))

    def between(self, since: int, until: int) -> Trades:
        return self._round(self._history.between(since, until))

    def id_of_aggregate(self, agg: int) -> int:
        return self._history.id_of_aggregate(agg)

    def _round(self, trades: Trades) -> Trades:
        return replace(trades, price=trades.price // self._excess)


def coarser(instrument: Instrument, decimals: int) -> Instrument:
    """Return a market whose prices have at most `decimals` decimals: the same one if they have no more.

    Raises ValueError for a market that is played from candles.
    """
    units, history, candles = instrument.units, instrument.history, instrument.candles
    if units.price_decimals <= decimals:
        return instrument
    if history is None or not isinstance(candles, DerivedCandles):
        raise ValueError(f"{instrument.id} is played from candles")
    step, rest = divmod(units.price_step, 10 ** (units.price_decimals - decimals))
    made = replace(units, price_decimals=decimals, price_step=1 if rest else step)
    return replace(instrument, units=made, history=_Rounded(history, made), candles=candles.written(made))
