"""Describes a market for `streamer.market`. No I/O."""

from __future__ import annotations

from ccxt.base.decimal_to_precision import DECIMAL_PLACES, TICK_SIZE

from tickwire.exchange.ccxt_types import Market
from tickwire.model.feeds import MarketReport
from tickwire.model.times import LATEST_MS
from tickwire.venues.units import Units


def market_report(exchange: str, market: Market, units: Units, precision_mode: int) -> MarketReport:
    """Convert ccxt's description of a market. `precision_mode` is ccxt's meaning of its `precision`."""
    digits, least = market.get("precision") or {}, (market.get("limits") or {}).get("amount") or {}
    measure = units.trades if units.kind != "spot" else None
    return MarketReport(
        exchange=exchange,
        symbol=market["symbol"],
        kind=units.kind,
        base=market["base"],
        quote=market["quote"],
        settle=market.get("settle"),
        contract_size=units.contract_size,
        amount_unit=units.amount,
        multiplier=None if measure is None else float(measure.size),
        inverse=measure is not None and measure.inverse,
        volume_unit=units.fetches,
        price_step=_step(digits.get("price"), precision_mode),
        amount_step=_step(digits.get("amount"), precision_mode),
        min_amount=_number(least.get("min")),
        expiry=_time(market.get("expiry")),
        active=market.get("active"),
        market_id=market.get("id"),
        listed=_time(market.get("created")),
    )


def _step(digits: object, mode: int) -> float | None:
    """The smallest step; None if there is none (significant digits) or it is unknown."""
    number = _number(digits)
    if number is None or mode == TICK_SIZE:
        return number
    return float(f"1e{-int(number)}") if mode == DECIMAL_PLACES else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _time(value: object) -> int | None:
    """A time (ms); None where ccxt passes on a placeholder of the exchange, such as -1."""
    return value if isinstance(value, int) and 0 < value <= LATEST_MS else None
