"""Messages of a tape of trades, and the candles that they are folded into."""

from __future__ import annotations

from tickwire.model.feeds import Gap, Trade, Trades
from tickwire.streamer.candles.builder import CandleBuilder, Ended, Late, fold
from tickwire.streamer.candles.partial_candles import grain_of

DAY = 1_700_006_400_000
"""The start of a day (UTC): 2023-11-15."""
LENGTHS = {"1s": 1_000, "1m": 60_000, "3m": 180_000, "1h": 3_600_000}
Values = tuple[float, float, float, float, float, int]
Said = list[tuple[str, Ended | Late]]


def trade(timestamp: int, price: float = 1.0, amount: float = 1.0) -> Trade:
    """A trade at a time after DAY, ms."""
    return Trade(id=None, timestamp=DAY + timestamp, side=None, price=price, amount=amount)


def message(*trades: Trade, gap: Gap | None = None, until: int | None = None) -> Trades:
    """A message of the tape; `until` is after DAY, ms."""
    return Trades(
        exchange="x",
        symbol="A/B",
        trades=list(trades),
        received=0,
        gap=gap,
        until=None if until is None else DAY + until,
    )


def missing(since: int | None, until: int | None) -> Gap:
    """A gap with bounds after DAY, ms."""
    return Gap(since=None if since is None else DAY + since, until=None if until is None else DAY + until)


def begun(*names: str) -> dict[str, CandleBuilder]:
    """Buildings that observe from DAY on, once something told them so."""
    return {name: CandleBuilder.begin(name, 0, DAY) for name in names}


def run(buildings: dict[str, CandleBuilder], *messages: Trades, sequence: int = 1) -> Said:
    """What messages with these sequences and the following make the buildings say."""
    said: Said = []
    for each in messages:
        said += fold(buildings, grain_of(buildings), sequence, each)
        sequence += 1
    return said


def values(ended: Ended) -> Values | None:
    """Open, high, low, close, volume, trades."""
    bar = ended.bar
    if bar is None:
        return None
    return (bar.open, bar.high, bar.low, bar.close, float(bar.volume), bar.trades)


def minutes(said: Said) -> list[tuple[int, int, Values | None, bool]]:
    """What ended, in minutes after DAY."""
    return [
        ((each.since - DAY) // 60_000, (each.until - DAY) // 60_000, values(each), each.complete)
        for _, each in said
        if isinstance(each, Ended)
    ]


START = message(until=0)
"""Says that the tape is complete up to DAY, so that DAY's first interval is observed."""
