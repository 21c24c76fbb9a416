"""Compares what the demo saw on the tape with the exchange's own trades and candles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp

from tickwire.cli.demo.scene import CHECKED, EXCHANGE, PATIENCE_S, SYMBOL, Scene
from tickwire.cli.output import render
from tickwire.model.feeds import Candle, Trades


@dataclass(frozen=True)
class TapeCheck:
    """Trades on the tape, by their ids, compared with the exchange's own."""

    first: int
    last: int
    trades: int
    repaired: int
    twice: int
    missing: int
    different: int
    """Trades on the tape that the exchange does not have, or has with another price or amount."""

    @property
    def right(self) -> bool:
        """Whether every trade is on the tape exactly once, as in the exchange's own list."""
        return self.trades > 0 and not (self.twice or self.missing or self.different)

    @property
    def summary(self) -> str:
        """The result in words."""
        of = (
            f"{render.plural(self.trades, 'trade')} of {EXCHANGE} {SYMBOL} on the tape, ids {self.first} to {self.last}"
        )
        if self.right:
            return f"{of}: none missing, none twice, all as in the exchange's own list"
        return f"{of}: {self.missing:,} missing, {self.twice:,} twice, {self.different:,} not as the exchange has them"


def check_tape(taped: Iterable[Trades], truth: Iterable[dict[str, Any]]) -> TapeCheck:
    """Compare the trades of consecutive messages with the exchange's raw trades (`id`, `agg`, `price`, `amount`).

    Binance's feed has aggregate trades: their ids count up by one, and each has the sum of its raw trades' amounts.
    """
    known: dict[int, tuple[float, float]] = {}
    for each in truth:
        known[each["agg"]] = (each["price"], known.get(each["agg"], (0.0, 0.0))[1] + each["amount"])
    found: list[int] = []
    repaired = different = 0
    for message in taped:
        repaired += len(message.trades) if message.source == "rest" else 0
        for trade in message.trades:
            found.append(int(trade.id or -1))
            own = known.get(found[-1])
            different += own is None or not (trade.price == own[0] and math.isclose(trade.amount, own[1]))
    if not found:
        return TapeCheck(0, 0, 0, 0, 0, 0, 0)
    ids = set(found)
    first, last = min(ids), max(ids)
    unordered = sum(later <= earlier for earlier, later in pairwise(found))
    return TapeCheck(
        first=first,
        last=last,
        trades=len(found),
        repaired=repaired,
        twice=max(len(found) - len(ids), unordered),
        missing=last - first + 1 - len(ids),
        different=different,
    )


def unequal(candles: Sequence[Candle], truth: Iterable[Sequence[float]]) -> list[Candle]:
    """Return the candles that differ from the exchange's own `[time, open, high, low, close, volume]`."""
    known = {int(row[0]): row for row in truth}
    return [
        each
        for each in candles
        if (row := known.get(each.timestamp)) is None
        or (each.open, each.high, each.low, each.close) != tuple(row[1:5])
        or not math.isclose(each.volume, row[5], rel_tol=1e-9)
    ]


async def verdict(scene: Scene, http: aiohttp.ClientSession, away: float | None) -> bool:
    """Print the comparison of tape and exchange; return whether everything is right.

    `away` is how long trades were interrupted (s), None where no trade arrived at all.
    """
    if away is None:
        print(f"live: no trade of {EXCHANGE} {SYMBOL} arrived within {PATIENCE_S:g} s")
        return False
    since = scene.trades[0].trades[0].timestamp
    truth = await _get(http, "truth/trades", symbol=SYMBOL, since=since)
    check = check_tape(scene.trades, truth)
    log = await _get(http, "log")
    ended = sum(each["event"] == "disconnect" for each in log)
    print(f"live: {check.summary}")
    print(
        f"cut: {render.plural(ended, 'WebSocket')} ended, trades arrived again after {away:.1f} s; "
        f"{render.plural(check.repaired, 'trade')} of the interruption were fetched by REST and put in order"
    )
    # The first candles may be those that the last run left behind, so the truth must begin with the oldest.
    oldest = min((each.timestamp for each in scene.closed), default=since)
    rows = await _get(http, "truth/candles", symbol=SYMBOL, timeframe=CHECKED, since=oldest)
    wrong = unequal(scene.closed, rows)
    print(
        f"candles: {render.plural(len(scene.closed), 'candle')} of {CHECKED} closed meanwhile, "
        + ("all equal to the exchange's own" if not wrong else f"{len(wrong):,} not equal to the exchange's own")
    )
    return check.right and check.repaired > 0 and ended > 0 and bool(scene.closed) and not wrong


async def _get(http: aiohttp.ClientSession, what: str, **query: Any) -> Any:
    async with http.get(what, params=query) as response:
        response.raise_for_status()
        return await response.json()
