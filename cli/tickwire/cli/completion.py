"""What a shell offers for the arguments of commands. No request is made, and nothing heavy is imported."""

from __future__ import annotations

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d", "1w")


def kinds(incomplete: str) -> list[str]:
    """Return the kinds of feeds that begin so."""
    return _listed(incomplete, ("trade", "book", "ticker", "candle"))


def exchanges(incomplete: str) -> list[str]:
    """Return the proven exchanges that begin so; any other one of ccxt can be typed."""
    from tickwire.venues.registry import declared

    return _listed(incomplete, sorted(declared()))


def timeframes(incomplete: str) -> list[str]:
    """Return usual timeframes that begin so."""
    return _listed(incomplete, TIMEFRAMES)


def _listed(incomplete: str, names: tuple[str, ...] | list[str]) -> list[str]:
    """Return the names that complete the last one of a comma-separated list, after those before it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]
