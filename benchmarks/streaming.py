"""The streamer compared with plain loops, in one run: `python benchmarks/streaming.py`; see `--help`.

A stand-in of Binance (`streamed/venue.py`) writes the same frames to each: the real streamer process, whose items count
as delivered when they arrive from the tape, that is from the broker's disk; and a loop around ccxt.pro's awaits that
publishes to the same broker, without acknowledgement. With `--cryptofeed` also cryptofeed's newest release with its
Redis backend. Each has a venue and a broker of its own and runs alone, in turns.

CPU is that of the one process, divided by the items sent, including lost ones. Latency is from the write to the socket
to the callback of a plain consumer. Venue, streamer, broker and consumer share the cores of one machine, so latencies
are upper bounds; CPU is not affected.

With `--against COMMIT` the streamer of an earlier commit of this repository runs beside this one, with `--before
PYTHON` that of another checkout: only public subjects and requests are used.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streamed import feeds, harness, micro
from streamed.checkout import checked_out
from streamed.harness import Consumer, median
from streamed.measures import Result, Subject, measured, of_deltas, of_plain_book, of_plain_trade, of_trades
from streamed.memory import SYMBOL, memory
from streamed.redised import NotInstalled, cryptofeed, installed
from streamed.running import Runner

PARTS = ("micro", "trades", "books", "memory", "feeds", "idle")

CONSOLE = Console(width=None if sys.stdout.isatty() else 150)


class Bench:
    """The parts of the benchmark."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.runner = Runner(folder, options)

    async def trades(self) -> None:
        """Measure bursts and steady rates of trades."""
        options = self.options
        async with AsyncExitStack() as stack:
            plain = await self.runner.loop(stack, "trade", ["BTC"], Consumer(of_plain_trade))
            ours = await self.runner.all(stack, "trade", "md.trade.binance.BTC-USDT", of_trades, SYMBOL)
            cases = [(options.burst, None, options.rounds)]
            cases += [(int(rate * options.seconds), rate, options.steady_rounds) for rate in options.rates]
            await self.compare("trades", "aggTrade", [plain, *ours, *await self.cryptofeeds(stack)], cases)

    async def books(self) -> None:
        """Measure bursts and steady rates of changes of a book, 20 levels each."""
        options = self.options
        async with AsyncExitStack() as stack:
            plain = await self.runner.loop(stack, "book", ["BTC"], Consumer(of_plain_book))
            ours = await self.runner.all(stack, "book", "md.book_delta.binance.BTC-USDT", of_deltas, SYMBOL)
            cases = [(options.burst // 4, None, options.rounds), (int(1000 * options.seconds), 1000.0, 1)]
            await self.compare("changes of a book", "depth", [plain, *ours], cases)

    async def compare(
        self, what: str, kind: str, subjects: Sequence[Subject], cases: Sequence[tuple[int, float | None, int]]
    ) -> None:
        """Measure each case with each subject in turn, in rounds; print a table."""
        for subject in subjects:
            # Not counted: imports, snapshots and other work that is done once.
            await measured(subject, kind, 1000, 500.0)
        table = Table(
            what, "by", "delivered", "CPU us each", "of the loop's", "broker us each", "wall us each", "p50 ms",
            "p99 ms", "core", "messages",
        )  # fmt: skip
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
        CONSOLE.print(await memory(self.runner, self.options))

    async def feeds(self) -> None:
        """Measure many feeds beside the plain loop; then add feeds until one process no longer keeps up."""
        if self.options.compare_feeds:
            CONSOLE.print(await feeds.compare(self.runner, self.options))
        if self.options.feeds:
            table, verdicts = await feeds.held(self.runner, self.options)
            CONSOLE.print(table)
            print("\n".join(verdicts))

    async def idle(self) -> None:
        """Measure what feeds without messages cost."""
        CONSOLE.print(await feeds.idle(self.runner, self.options))


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
        f"{median([result.broker_us for result in results]):.1f}",
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
        if options.against is not None:
            options.before = checked_out(options.against, Path(folder) / "against")
        for part in options.only:
            if part != "micro":
                await getattr(Bench(Path(folder), options), part)()
                gc.collect()


def numbers(text: str) -> list[int]:
    """Parse `50,200`."""
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=f"of {','.join(PARTS)}")
    add = parser.add_argument
    add("--against", metavar="COMMIT", help="an earlier version, measured in the same run")
    add("--before", type=Path, metavar="PYTHON", help="the same by the interpreter of another checkout")
    add("--rounds", type=int, default=3, help="of bursts, and of many feeds beside the loop")
    add("--steady-rounds", type=int, default=1, help="of steady rates")
    add("--seconds", type=float, default=4.0, help="of steady rates")
    add("--burst", type=int, default=20_000, help="trades at once")
    add("--rates", type=numbers, default=[1000, 10_000], help="trades a second")
    add("--compare-feeds", type=int, default=400, help="feeds that are compared with the loop; 0 for none")
    add("--feeds", type=int, default=100, help="feeds at first, then more until they are too many; 0 for none")
    add("--growth", type=float, default=2.0, help="times as many in each step")
    add("--most-feeds", type=int, default=6400)
    add("--p99", type=float, default=250.0, help="ms above which there are too many feeds")
    add("--feed-rate", type=float, default=5.0, help="messages a second of each feed")
    add("--kind", choices=["trade", "candle"], default="trade", help="of many feeds: a candle feed has its trades' too")
    add("--idle-feeds", type=int, default=2000)
    add("--idle-s", type=float, default=60.0, help="seconds for which idle feeds are measured")
    add("--idle-settle-s", type=float, default=15.0, help="seconds before that")
    add("--hour", type=int, default=720_000, help="trades of the memory test")
    parser.add_argument(
        "--cryptofeed",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="measure cryptofeed too, installed into FOLDER, or else into a temporary one",
    )
    asyncio.run(main(parser.parse_args()))
