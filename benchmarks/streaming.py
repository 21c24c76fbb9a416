"""The streamer compared with plain loops, in one run: `python benchmarks/streaming.py`; see `--help`.

A stand-in of Binance (`streamed/venue.py`) writes the same frames to each: the real streamer process, whose items count
as delivered when they arrive from the tape, that is from the broker's disk; and a loop around ccxt.pro's awaits that
publishes to the same broker, without acknowledgement. With `--cryptofeed` also cryptofeed's newest release with its
Redis backend. Each has a venue of its own and runs alone, in turns.

CPU is that of the one process, divided by the items sent, including lost ones. Latency is from the write to the socket
to the callback of a plain consumer. Venue, streamer, broker and consumer share the cores of one machine, so latencies
are upper bounds; CPU is not affected.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streamed import harness, micro
from streamed.harness import Consumer, median
from streamed.measures import (
    MEMORY,
    MemoryCase,
    Result,
    Subject,
    measured,
    of_deltas,
    of_many,
    of_plain_book,
    of_plain_trade,
    of_trades,
)
from streamed.redised import NotInstalled, cryptofeed, installed
from streamed.venue import symbols
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.process import children
from tickwire.settings import NatsSettings

PARTS = ("micro", "trades", "books", "memory", "feeds")
SYMBOL = "BTC/USDT"
FULL = 0.95
"""Share of a core above which a process is saturated."""


CONSOLE = Console(width=None if sys.stdout.isatty() else 150)


class Bench:
    """The broker of a part of the benchmark, and its folder."""

    def __init__(self, bus: Bus, url: str, folder: Path, options: argparse.Namespace) -> None:
        self.bus = bus
        self.url = url
        self.folder = folder
        self.options = options

    async def ours(self, stack: AsyncExitStack, subject: str, consumer: Consumer, symbols: int = 1) -> Subject:
        """Run the streamer on a venue of its own, without feeds."""
        venue = await stack.enter_async_context(harness.open_venue(symbols))
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        pid = await stack.enter_async_context(harness.streamer(folder, venue.url, self.url))
        await self.bus.subscribe(subject, consumer.take)
        return Subject("tickwire", pid, venue, consumer, folder / "log")

    async def plain(self, stack: AsyncExitStack, kind: str, consumer: Consumer) -> Subject:
        """Run the plain loop on a venue of its own."""
        venue = await stack.enter_async_context(harness.open_venue())
        argv: list[str | Path] = [sys.executable, harness.HERE / "ccxt_loop.py", kind, venue.url, self.url]
        process = await stack.enter_async_context(children.child(argv))
        await self.bus.subscribe(f"plain.{kind}", consumer.take)
        await venue.subscribed(1)
        return Subject("ccxt.pro loop", process.pid, venue, consumer)

    async def trades(self) -> None:
        """Measure bursts and steady rates of trades."""
        options = self.options
        async with AsyncExitStack() as stack:
            plain = await self.plain(stack, "trade", Consumer(of_plain_trade))
            ours = await self.ours(stack, "md.trade.binance.BTC-USDT", Consumer(of_trades))
            await harness.start(self.bus, "trade", SYMBOL)
            await ours.venue.subscribed(1)
            subjects = [plain, ours, *await self.cryptofeeds(stack)]
            cases = [(options.burst, None, options.rounds)]
            cases += [(int(rate * options.seconds), rate, options.steady_rounds) for rate in options.rates]
            await self.compare("trades", "aggTrade", subjects, cases)

    async def books(self) -> None:
        """Measure bursts and steady rates of changes of a book, 20 levels each."""
        options = self.options
        async with AsyncExitStack() as stack:
            plain = await self.plain(stack, "book", Consumer(of_plain_book))
            ours = await self.ours(stack, "md.book_delta.binance.BTC-USDT", Consumer(of_deltas))
            await harness.start(self.bus, "book", SYMBOL, deltas=True)
            await ours.venue.subscribed(1)
            cases = [(options.burst // 4, None, options.rounds), (int(1000 * options.seconds), 1000.0, 1)]
            await self.compare("changes of a book", "depth", [plain, ours], cases)

    async def compare(
        self, what: str, kind: str, subjects: Sequence[Subject], cases: Sequence[tuple[int, float | None, int]]
    ) -> None:
        """Measure each case with each subject in turn, in rounds; print a table."""
        for subject in subjects:
            # Not counted: imports, snapshots and other work that is done once.
            await measured(subject, kind, 1000, 500.0)
        table = Table(
            what,
            "by",
            "delivered",
            "CPU us each",
            "of the loop's",
            "wall us each",
            "p50 ms",
            "p99 ms",
            "core",
            "messages",
        )
        for count, rate, rounds in cases:
            results: dict[str, list[Result]] = {subject.name: [] for subject in subjects}
            for _ in range(rounds):
                for subject in subjects:
                    results[subject.name].append(await measured(subject, kind, count, rate))
            baseline = median([result.cpu_us for result in results[subjects[0].name]])
            name = f"{count:,} at once" if rate is None else f"{rate:,.0f}/s"
            for subject in subjects:
                row(table, name, subject.name, results[subject.name], baseline)
            table.add_section()
        CONSOLE.print(table)

    async def cryptofeeds(self, stack: AsyncExitStack) -> list[Subject]:
        """Run cryptofeed twice: with its defaults, and with a queue that holds a burst."""
        if self.options.cryptofeed is None:
            return []
        try:
            python, version = await installed(Path(self.options.cryptofeed or self.folder / "cryptofeed"))
        except NotInstalled as error:
            print(f"cryptofeed cannot be installed here ({error}): not measured")
            return []
        print(f"cryptofeed {version}, {python}")
        subjects = []
        for name, depth in (("cryptofeed+redis", []), ("cryptofeed, long queue", ["1000000"])):
            venue = await stack.enter_async_context(harness.open_venue())
            pid, follower = await stack.enter_async_context(cryptofeed(python, venue, *depth))
            subjects.append(Subject(name, pid, venue, follower))
        return subjects

    async def memory(self) -> None:
        """Measure resident memory before and after many items, for each kind of feed."""
        table = Table("memory", "items", "CPU us each", "MiB, quarter by quarter")
        for number, case in enumerate(MEMORY):
            # Each on a broker of its own, with an empty tape.
            async with bench(self.folder, f"memory-{number}", self.options) as fresh:
                table.add_row(*await fresh.memory_of(case))
        CONSOLE.print(table)

    async def memory_of(self, case: MemoryCase) -> list[str]:
        """Return a row of `memory`; items are sent in portions, each after the consumer received the one before."""
        total = max(self.options.hour // case.share, 1)
        portion = min(10_000, total)
        consumer = Consumer(of_deltas if case.kind == "book" else of_trades)
        subject = "book_delta" if case.kind == "book" else "trade"
        async with AsyncExitStack() as stack:
            ours = await self.ours(stack, f"md.{subject}.{case.exchange}.BTC-USDT", consumer)
            await harness.start(
                self.bus,
                case.kind,
                SYMBOL,
                exchange=case.exchange,
                timeframe=case.timeframe,
                deltas=case.kind == "book",
            )
            await ours.venue.subscribed(1)
            await measured(ours, case.sent, portion, None)
            marks = [harness.rss_mib(ours.pid)]
            cpu, done = harness.cpu_ns(ours.pid), 0
            while done < total:
                await consumer.clear()
                last = (await ours.venue.send(case.sent, portion)).last[0]
                await consumer.until(case.sent, last)
                done += portion
                if done % max(portion, total // 4) < portion:
                    marks.append(harness.rss_mib(ours.pid))
            cpu = harness.cpu_ns(ours.pid) - cpu
        return [case.what, f"{done:,}", f"{cpu / done / 1e3:.1f}", " -> ".join(f"{mark:.0f}" for mark in marks)]

    async def feeds(self) -> None:
        """Double the feeds of trades of one process until it no longer keeps up."""
        options = self.options
        table = Table(
            "feeds",
            "messages/s",
            "delivered",
            "of one core",
            "CPU us each",
            "p50 ms",
            "p99 ms",
            "worst stall ms",
            "MiB",
        )
        held: int | None = None
        broke = f"more than {options.most_feeds:,} were not tried"
        async with AsyncExitStack() as stack:
            consumer = Consumer(of_trades)
            ours = await self.ours(stack, "md.trade.binance.*", consumer, options.most_feeds)
            count, started = options.feeds, 0
            while count <= options.most_feeds:
                names = symbols(count)
                for start in range(started, count, 20):
                    part = names[start : start + 20]
                    await asyncio.gather(*(harness.start(self.bus, "trade", f"{name}/USDT") for name in part))
                started = count
                found = await self.many(ours, consumer, names, table)
                if found is not None:
                    broke = f"{count:,}: {found}"
                    break
                held, count = count, count * 2
        CONSOLE.print(table)
        print(f"feeds: one process holds {held or 'fewer than'} at {options.feed_rate:g}/s each; {broke}")

    async def many(self, ours: Subject, consumer: Consumer, names: Sequence[str], table: Table) -> str | None:
        """Measure many feeds at once; return why they are too many, or None."""
        rate, seconds, most_ms = self.options.feed_rate, self.options.seconds, self.options.p99
        try:
            await ours.venue.subscribed(len(names))
        except TimeoutError:
            return "they were not all subscribed in time"
        # Until the feeds have fetched earlier trades by REST.
        await asyncio.sleep(1.5)
        await consumer.clear()
        since, began, cpu = datetime.now(UTC).isoformat(), time.monotonic(), harness.cpu_ns(ours.pid)
        sent = await ours.venue.send("aggTrade", int(rate * seconds), rate, len(names))
        took, cpu = time.monotonic() - began, harness.cpu_ns(ours.pid) - cpu
        await consumer.settled()
        took_ms = of_many(sent, names, consumer.raw())
        held = harness.stalls(ours.log, since)
        p99_ms, share = harness.percentile(list(took_ms.values()), 0.99), cpu / took / 1e9
        table.add_row(
            f"{len(names):,}",
            f"{sent.count / took:,.0f}",
            f"{len(took_ms):,} of {sent.count:,}",
            f"{share:.0%}",
            f"{cpu / 1e3 / sent.count:.0f}",
            f"{harness.percentile(list(took_ms.values()), 0.5):.1f}",
            f"{p99_ms:.1f}",
            f"{max(held, default=float('nan')):.0f}",
            f"{harness.rss_mib(ours.pid):.0f}",
        )
        if len(took_ms) < sent.count:
            return f"{sent.count - len(took_ms):,} had not arrived a second after the last"
        if not p99_ms <= most_ms:
            return f"p99 is {p99_ms:.0f} ms, more than {most_ms:g}"
        return f"{share:.0%} of a core" if share > FULL else None


@asynccontextmanager
async def bench(folder: Path, name: str, options: argparse.Namespace) -> AsyncIterator[Bench]:
    """Yield a Bench with a broker of its own."""
    async with embedded.embedded(folder / name) as url, connect(NatsSettings(url=url), name="benchmark") as bus:
        await streams.declare(bus.jetstream, 8, 2.0)
        yield Bench(bus, url, folder, options)


def row(table: Table, case: str, name: str, results: Sequence[Result], baseline: float) -> None:
    """Add a row: medians of the rounds of one subject, and its worst delivery."""
    worst = min(results, key=lambda result: result.delivered)
    cpu = median([result.cpu_us for result in results])
    missed = f"{worst.delivered:,} of {worst.sent:,}" + (f", {worst.late:,} late" if worst.late else "")
    in_order = all(result.in_order for result in results)
    table.add_row(
        case,
        name,
        "all, in order" if in_order else missed,
        f"{cpu:.1f}",
        f"{cpu / baseline:.2f}",
        f"{median([result.wall_us for result in results]):.1f}",
        f"{median([result.p50_ms for result in results]):.2f}",
        f"{median([result.p99_ms for result in results]):.2f}",
        f"{median([result.cpu_share for result in results]):.0%}",
        f"{worst.messages:,}",
    )


async def parts() -> None:
    """Measure pure functions, without processes."""
    table = Table("pure parts", "us an item", "baseline", "us an item", "times faster")
    for what, ours, name, theirs in await micro.all_rows():
        table.add_row(what, f"{ours:.2f}", name, *((f"{theirs:.2f}", f"{theirs / ours:.1f}") if theirs else ("", "")))
    CONSOLE.print(table)


async def main(options: argparse.Namespace) -> None:
    """Run the chosen parts."""
    print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    if "micro" in options.only:
        await parts()
    # Garbage collection of the consumer would be counted as latency.
    gc.freeze()
    gc.disable()
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", ignore_cleanup_errors=True) as folder:
        for part in options.only:
            if part != "micro":
                async with bench(Path(folder), part, options) as chosen:
                    await getattr(chosen, part)()
                gc.collect()


def numbers(text: str) -> list[int]:
    """Parse `50,200`."""
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=f"of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="of bursts")
    parser.add_argument("--steady-rounds", type=int, default=1, help="of steady rates")
    parser.add_argument("--seconds", type=float, default=4.0, help="of steady rates")
    parser.add_argument("--burst", type=int, default=20_000, help="trades at once")
    parser.add_argument("--rates", type=numbers, default=[1000, 10_000], help="trades a second")
    parser.add_argument("--feeds", type=int, default=100, help="feeds at first, doubled until they are too many")
    parser.add_argument("--most-feeds", type=int, default=12_800)
    parser.add_argument("--p99", type=float, default=250.0, help="ms above which there are too many feeds")
    parser.add_argument("--feed-rate", type=float, default=5.0, help="messages a second of each feed")
    parser.add_argument("--hour", type=int, default=720_000, help="trades of the memory test")
    parser.add_argument(
        "--cryptofeed",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="measure cryptofeed too, installed into FOLDER, or else into a temporary one",
    )
    asyncio.run(main(parser.parse_args()))
