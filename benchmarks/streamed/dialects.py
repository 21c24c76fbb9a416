"""Costs of the venues' dialects: microseconds a trade, of the frame with one trade in `tests/venues/<exchange>/`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tickwire.venues import registry

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from venues.samples import by_ccxt, dialects, sample

CALLS = 500
CCXT_CALLS = 25
ROUNDS = 80
BASELINE = "binance"
BOUND = 1.5
"""Of a dialect's cost, times Binance's."""


def round_us(calls: int, call: Callable[[], object]) -> float:
    """Return microseconds of CPU a call in one short round: the least of many rounds is free of other work."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


def rows() -> Iterator[tuple[str, float, str, float | None]]:
    """Yield a row of each dialect: the least of rounds, in each of which all dialects and parsers have a turn."""
    ours: dict[str, Callable[[], object]] = {}
    theirs: dict[str, Callable[[], object]] = {}
    for exchange in dialects():
        chosen, decode = sample(exchange), registry.dialect_of(exchange).decode
        assert decode is not None
        ours[exchange] = lambda decode=decode, frame=chosen.frame: decode(frame)  # type: ignore[misc]
        theirs[exchange] = by_ccxt(chosen)
    taken = dict.fromkeys(ours, (float("inf"), float("inf")))
    for _ in range(ROUNDS):
        for exchange, (us, ccxt_us) in taken.items():
            again = round_us(CALLS, ours[exchange]), round_us(CCXT_CALLS, theirs[exchange])
            taken[exchange] = min(us, again[0]), min(ccxt_us, again[1])
    base = taken[BASELINE][0]
    for exchange, (us, ccxt_us) in taken.items():
        ratio = us / base
        note = f", MORE THAN {BOUND:g}" if ratio > BOUND else ""
        yield f"{exchange}: frame of a trade, {ratio:.2f} x {BASELINE}'s{note}", us, "ccxt's parse", ccxt_us
