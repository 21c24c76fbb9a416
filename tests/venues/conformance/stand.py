"""Every service on a simulated venue, with the feeds of one case, and the market's own truth in the venue's units."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support import live
from support.pipeline import Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tickwire.bus import embedded as embedded_broker
from tickwire.model.feeds import Feed, Gap, Trade
from tickwire.model.times import now_ms
from tickwire.venues.registry import profile_of
from venues.conformance.cases import Case

MINUTE, DAY = 60_000, 86_400_000
RATE = 40
"""Trades per second of each market."""
LISTED_DAYS = 100
"""So long ago the markets were listed."""
HOLE_MS = 60 * 3_600_000
"""A time with one trade: on one side of it nothing is traded for 30 hours at least."""
CONFIG = """
[cache]
partitions = 8
[exchange.{exchange}]
gateway = "{{gateway}}"
[exchange.{exchange}.ccxt]
enableRateLimit = false
options = {options}
[fetcher]
settle_ms = 0
backoff_s = 0.05
max_backoff_s = 0.5
timeout_s = 20
[streamer]
settle_ms = 200
repair_s = 30
"""
SYMBOL = """
[[symbols]]
symbol = "{symbol}"
price = {price}
tick = "{tick}"
lot = "{lot}"
amount = {amount}
history_rate = 3
live_rate = {rate}
quiet = [{since}, {until}]
"""
MARKETS = ({"price": 60_000, "tick": "0.1", "lot": "0.001", "amount": 0.05},
           {"price": 3_000, "tick": "0.01", "lot": "0.01", "amount": 0.8})  # fmt: skip


@dataclass
class Stand:
    """One case: its services, simulator and feeds."""

    case: Case
    line: Pipeline
    simulator: SimulatorProcess
    listed: int
    """When the markets were listed (ms)."""
    quiet: tuple[int, int]
    """The time with a single trade (ms)."""
    began: int = 0
    """By the exchange's clock, when all feeds were live (ms)."""

    def feed(self, kind: Any, symbol: str | None = None, timeframe: str | None = None) -> Feed:
        """A feed of the case's market, or of another."""
        return Feed(kind, self.case.exchange, symbol or self.case.symbol, timeframe)

    async def truth(self, what: str, symbol: str | None = None, **query: Any) -> Any:
        """The market itself, in the units of the venue."""
        of = {"exchange": self.case.exchange, "symbol": symbol or self.case.symbol}
        return await self.simulator.truth(what, **of, **query)

    async def now(self) -> int:
        """The exchange's clock (ms)."""
        return int((await self.simulator.clock())["now"])

    async def traded(self, since: int, until: int, symbol: str | None = None) -> list[Trade]:
        """The trades in `[since, until)` (ms)."""
        rows = await self.truth("trades", symbol, since=since, until=until)
        return [
            Trade(id=str(row["id"]), timestamp=row["timestamp"], side=row["side"], price=row["price"],
                  amount=row["amount"])
            for row in rows
        ]  # fmt: skip

    async def assert_each_trade_once(self, symbol: str, trades: Sequence[Trade], gaps: Sequence[Gap] = ()) -> None:
        """The trades are the market's, each once, from the second time to the last but one.

        A venue may join what one order did at one price, live, and not by REST: amounts are summed by time, side and
        price. Trades within the bounds of a gap may be missing. Where the times that a venue gives by REST are coarser,
        trades are compared at those; each time that is finer is one of the market's.
        """
        assert trades, f"there is no trade of {symbol}"
        facts = profile_of(self.case.exchange).trades
        ids = [each.id for each in trades if each.id is not None]
        # Where trades of one order have one id, a trade that arrived twice shows in the amounts.
        assert facts.ids == "of orders" or len(ids) == len(set(ids)), "a trade arrived twice"
        coarse = facts.resolution_ms or 1
        since, until = (each.timestamp // coarse for each in (trades[0], trades[-1]))
        traded = await self.traded(since * coarse, (until + 1) * coarse, symbol)
        finer = {each.timestamp for each in trades if each.timestamp % coarse}
        assert finer <= {each.timestamp for each in traded}
        found = sums((each for each in trades if since < each.timestamp // coarse < until), coarse)
        true = sums(
            (each for each in traded if since < each.timestamp // coarse < until and not within(each, gaps)), coarse
        )
        found = {key: amount for key, amount in found.items() if not any(inside(key[0], gap) for gap in gaps)}
        assert found == dict(true)


def sums(trades: Iterable[Trade], coarse: int = 1) -> dict[tuple[int, str | None, float], Decimal]:
    """The amount traded at each time, side and price; times are cut to multiples of `coarse` ms."""
    total: Counter[tuple[int, str | None, float]] = Counter()
    for each in trades:
        time = each.timestamp // coarse * coarse
        total[time, each.side, each.price] += Decimal(repr(each.amount))  # type: ignore[assignment]
    return dict(total)  # type: ignore[arg-type]


def inside(timestamp: int, gap: Gap) -> bool:
    """Whether a time is within the bounds of a gap (ms)."""
    return (gap.since or 0) <= timestamp <= (gap.until or 10**18)


def within(trade: Trade, gaps: Sequence[Gap]) -> bool:
    """Whether a trade is within the bounds of one of the gaps."""
    return any(inside(trade.timestamp, gap) for gap in gaps)


@asynccontextmanager
async def stand(case: Case, folder: Path) -> AsyncIterator[Stand]:
    """Start everything; the exchange's clock begins 8 s before a minute."""
    now = now_ms() // MINUTE * MINUTE + MINUTE - 8_000
    listed = (now // DAY - LISTED_DAYS) * DAY
    quiet = (listed + 20 * DAY, listed + 20 * DAY + HOLE_MS)
    text = f"now = {now}\nspeed = 1\nlisted = {listed}\n"
    for symbol, of in zip(case.underlying, MARKETS, strict=True):
        text += SYMBOL.format(symbol=symbol, rate=RATE, since=quiet[0], until=quiet[1], **of)
    (folder / "simulator.toml").write_text(text)
    config = CONFIG.format(exchange=case.exchange, options=case.options.replace("{", "{{").replace("}", "}}"))
    async with (
        embedded_broker.embedded(folder / "nats") as url,
        running_simulator("--config", str(folder / "simulator.toml")) as simulator,
        pipeline(url, simulator, folder, ("cache", "fetcher", "streamer"), config, lease_ttl_s=5.0) as line,
    ):
        made = Stand(case, line, simulator, listed, quiet)
        for feed in (
            made.feed("candle", timeframe="1m"),
            made.feed("trade"),
            made.feed("trade", case.other),
            made.feed("book"),
            made.feed("ticker"),
        ):
            await live.start(line.bus, feed)
        async with live.seeing(line.bus, made.feed("trade")) as seen:
            await seen.until(lambda: len(seen.trades) > 0)
        made.began = await made.now()
        yield made
