"""Many feeds in one process: beside the plain loop, how many it holds, and what idle ones cost.

With `--kind candle` each is a feed of 1m candles, and that of its trades with it; the messages are still the trades.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table

from streamed import harness
from streamed.harness import Consumer, median
from streamed.measures import Subject, broker_ns, named_plain_trade, named_trades, of_many, of_plain_trade, of_trades
from streamed.running import LOOP, Runner
from streamed.venue import symbols
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Kind

FULL = 0.95
"""Share of a core above which a process is saturated."""
AT_ONCE = 20
"""Feeds that are started side by side."""
SETTLE_S = 1.5
"""The feeds fetch earlier trades by REST meanwhile."""
WARM_S = 1.0
"""Of steady rate before the measurement: imports and other work that is done once."""


@dataclass(frozen=True)
class Measured:
    """One measurement of many feeds. CPU is for each message sent, `share` of one core."""

    messages_s: float
    sent: int
    delivered: int
    share: float
    cpu_us: float
    broker_us: float
    p50_ms: float
    p99_ms: float
    stall_ms: float
    """The longest stall of the event loop; NaN where the process does not report it."""
    mib: float


@dataclass
class Many:
    """A process that follows many symbols."""

    subject: Subject
    consumer: Consumer
    parse: Callable[[bytes], tuple[str, list[int]]]
    kind: Kind = "trade"
    started: int = 0

    async def start(self, count: int) -> list[str]:
        """Start feeds until there are so many; return their names. Raises TimeoutError."""
        names, bus = symbols(count), self.subject.bus
        if self.subject.name != LOOP and bus is not None:
            for first in range(self.started, count, AT_ONCE):
                part = names[first : min(first + AT_ONCE, count)]
                await asyncio.gather(*(self._start(bus, f"{name}/USDT") for name in part))
        self.started = count
        await self.subject.venue.subscribed(count)
        await asyncio.sleep(SETTLE_S)
        return names

    async def _start(self, bus: Bus, symbol: str) -> None:
        await harness.start(bus, self.kind, symbol, timeframe="1m" if self.kind == "candle" else None)

    async def measured(self, names: Sequence[str], rate: float, seconds: float) -> Measured:
        """Measure the feeds at `rate` messages a second each."""
        ours, consumer = self.subject, self.consumer
        await ours.venue.send("aggTrade", max(1, int(rate * WARM_S)), rate, len(names))
        await consumer.settled()
        await consumer.clear()
        since, began = datetime.now(UTC).isoformat(), time.monotonic()
        cpu, broker = harness.cpu_ns(ours.pid), broker_ns(ours)
        sent = await ours.venue.send("aggTrade", int(rate * seconds), rate, len(names))
        took = time.monotonic() - began
        cpu, broker = harness.cpu_ns(ours.pid) - cpu, broker_ns(ours) - broker
        await consumer.settled()
        taken = list(of_many(sent, names, consumer.raw(), self.parse).values())
        return Measured(
            messages_s=sent.count / took,
            sent=sent.count,
            delivered=len(taken),
            share=cpu / took / 1e9,
            cpu_us=cpu / 1e3 / sent.count,
            broker_us=broker / 1e3 / sent.count,
            p50_ms=harness.percentile(taken, 0.5),
            p99_ms=harness.percentile(taken, 0.99),
            stall_ms=max(harness.stalls(ours.log, since), default=float("nan")),
            mib=harness.rss_mib(ours.pid),
        )


@asynccontextmanager
async def open_many(runner: Runner, name: str, most: int) -> AsyncIterator[Many]:
    """Run a process that can follow `most` symbols: the loop does from the start."""
    async with AsyncExitStack() as stack:
        if name == LOOP:
            consumer = Consumer(of_plain_trade)
            yield Many(await runner.loop(stack, "trade", symbols(most), consumer), consumer, named_plain_trade)
        else:
            consumer = Consumer(of_trades)
            subject = await runner.tickwire(stack, name, "md.trade.binance.*", consumer, most)
            yield Many(subject, consumer, named_trades, runner.options.kind)


async def compare(runner: Runner, options: argparse.Namespace) -> Table:
    """Measure `--compare-feeds` feeds of each process, in rounds, each time in a new process: medians."""
    count, rate = options.compare_feeds, options.feed_rate
    results: dict[str, list[Measured]] = {name: [] for name in (LOOP, *runner.versions)}
    for _ in range(options.rounds):
        for name, found in results.items():
            async with open_many(runner, name, count) as many:
                found.append(await many.measured(await many.start(count), rate, options.seconds))
    table = Table(
        "by", "delivered", "CPU us each", "of the loop's", "broker us each", "of one core", "p50 ms", "p99 ms",
        "stall ms", title=f"{count:,} {options.kind} feeds at {rate:g} messages/s each; medians of {options.rounds}",
    )  # fmt: skip
    baseline = median([each.cpu_us for each in results[LOOP]])
    for name, found in results.items():
        cpu, late = median([each.cpu_us for each in found]), sum(each.sent - each.delivered for each in found)
        table.add_row(
            name,
            f"{late:,} of {sum(each.sent for each in found):,} late" if late else "all",
            f"{cpu:.0f}",
            f"{cpu / baseline:.2f}",
            f"{median([each.broker_us for each in found]):.0f}",
            f"{median([each.share for each in found]):.0%}",
            f"{median([each.p50_ms for each in found]):.1f}",
            f"{median([each.p99_ms for each in found]):.1f}",
            f"{median([each.stall_ms for each in found]):.0f}",
        )
    return table


async def held(runner: Runner, options: argparse.Namespace) -> tuple[Table, list[str]]:
    """Add feeds to one process of each version until it no longer keeps up; a table, and how many each held."""
    table = Table(
        "feeds", "by", "messages/s", "delivered", "of one core", "CPU us each", "broker us each", "p50 ms", "p99 ms",
        "stall ms", "MiB",
    )  # fmt: skip
    verdicts = []
    for name in runner.versions:
        most: int | None = None
        broke = f"more than {options.most_feeds:,} were not tried"
        async with open_many(runner, name, options.most_feeds) as many:
            count = options.feeds
            while count <= options.most_feeds:
                found = await _limit(many, count, options, table)
                if found is not None:
                    broke = f"{count:,}: {found}"
                    break
                most, count = count, int(count * options.growth)
        table.add_section()
        at = f"at {options.feed_rate:g} messages/s each"
        verdicts.append(f"{name}: one process holds {most or f'fewer than {options.feeds}'} feeds {at}; {broke}")
    return table, verdicts


async def _limit(many: Many, count: int, options: argparse.Namespace, table: Table) -> str | None:
    """Measure so many feeds; return why they are too many, or None."""
    try:
        names = await many.start(count)
    except TimeoutError:
        return "they were not all subscribed in time"
    found = await many.measured(names, options.feed_rate, options.seconds)
    table.add_row(
        f"{count:,}",
        many.subject.name,
        f"{found.messages_s:,.0f}",
        "all" if found.delivered == found.sent else f"{found.delivered:,} of {found.sent:,}",
        f"{found.share:.0%}",
        f"{found.cpu_us:.0f}",
        f"{found.broker_us:.0f}",
        f"{found.p50_ms:.1f}",
        f"{found.p99_ms:.1f}",
        f"{found.stall_ms:.0f}",
        f"{found.mib:.0f}",
    )
    if found.delivered < found.sent:
        return f"{found.sent - found.delivered:,} had not arrived a second after the last"
    if not found.p99_ms <= options.p99:
        return f"p99 is {found.p99_ms:.0f} ms, more than {options.p99:g}"
    return f"{found.share:.0%} of a core" if found.share > FULL else None


async def idle(runner: Runner, options: argparse.Namespace) -> Table:
    """Measure what feeds without messages cost, in shares of a core, over `--idle-s` seconds."""
    count, seconds = options.idle_feeds, options.idle_s
    table = Table(
        "by", "streamer", "broker", "together", "MiB",
        title=f"{count:,} idle {options.kind} feeds, {seconds:g} s, of one core",
    )  # fmt: skip
    for name in runner.versions:
        async with open_many(runner, name, count) as many:
            await many.start(count)
            # What starting leaves behind: reports of states, and the first declarations.
            await asyncio.sleep(options.idle_settle_s)
            ours = many.subject
            cpu, broker, began = harness.cpu_ns(ours.pid), broker_ns(ours), time.monotonic()
            await asyncio.sleep(seconds)
            took_ns = (time.monotonic() - began) * 1e9
            ours_share, broker_share = (harness.cpu_ns(ours.pid) - cpu) / took_ns, (broker_ns(ours) - broker) / took_ns
            shares = (ours_share, broker_share, ours_share + broker_share)
            table.add_row(name, *(f"{each:.1%}" for each in shares), f"{harness.rss_mib(ours.pid):.0f}")
    return table
