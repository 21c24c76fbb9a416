"""What OKX's feeds are to say, by the simulator's own book-keeping, and services that are sent to it."""

from __future__ import annotations

from typing import Any

from support import pipeline
from support.processes import SimulatorProcess
from tickwire.model.feeds import Trade

# OKX's contracts are listed too; binance's are exchanges of their own in ccxt.
_ALL_MARKETS = pipeline.CONFIG.replace('options = {{ fetchMarkets = {{ types = ["spot"] }} }}\n', "")
CONFIG = _ALL_MARKETS.replace("binance", "okx") + "[streamer]\nsettle_ms = 200\nrepair_s = 30\n"


async def each(exchange: SimulatorProcess, symbol: str, since: int, until: int) -> list[Trade]:
    """The trades in `[since, until)` (ms), each by itself, as REST tells them."""
    return [_trade(row, row["id"]) for row in await exchange.truth("trades", symbol=symbol, since=since, until=until)]


async def matches(exchange: SimulatorProcess, symbol: str, since: int, last: int) -> list[tuple[Trade, int]]:
    """What the channel says from `since` (ms) to the trade of id `last`, and the first id that is in each."""
    first = (await exchange.truth("trades", symbol=symbol, since=since, until=since + 10_000))[0]["agg"]
    found: list[Any] = []
    while not found or found[-1]["last_id"] < last:
        page = await exchange.truth("aggregates", symbol=symbol, fromId=first, limit=1_000)
        assert page, f"the exchange has no trade {last}"
        found += page
        first = page[-1]["id"] + 1
    return [(_trade(row, row["last_id"]), row["first_id"]) for row in found]


async def assert_every_trade_once(exchange: SimulatorProcess, symbol: str, trades: list[Trade]) -> None:
    """Each trade of the exchange from the first to the last is in them exactly once, in order.

    Live ones may be several in one, as the channel says them; those of REST are each by themselves.
    """
    assert trades, "there is no trade"
    since, until = trades[0].timestamp, trades[-1].timestamp + 1
    single = {trade.id: trade for trade in await each(exchange, symbol, since, until)}
    several = {
        trade.id: (trade, first) for trade, first in await matches(exchange, symbol, since, int(trades[-1].id or 0))
    }
    following: int | None = None
    for trade in trades:
        number = int(trade.id or 0)
        if trade == single.get(trade.id):
            first = number
        else:
            assert trade.id in several, f"the exchange never said {trade}"
            whole, first = several[trade.id]
            assert trade == whole
        assert following in (None, first), f"{trade} follows {following}"
        following = number + 1


def _trade(row: Any, id_: int) -> Trade:
    return Trade(id=str(id_), timestamp=row["timestamp"], side=row["side"], price=row["price"], amount=row["amount"])
