"""Resident memory of the streamer before and after many items."""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from typing import NamedTuple

from rich.table import Table

from streamed import harness
from streamed.harness import Consumer
from streamed.measures import measured, of_deltas, of_trades
from streamed.running import OURS, Runner
from tickwire.model.feeds import Kind

SYMBOL = "BTC/USDT"


class Case(NamedTuple):
    """A case of the memory test: its feed, the kind of frames, and the divisor of `--hour`."""

    what: str
    kind: Kind
    exchange: str
    timeframe: str | None
    sent: str
    share: int


CASES = (
    Case("trades, typed", "trade", "binance", None, "aggTrade", 1),
    Case("changes of a book, typed", "book", "binance", None, "depth", 10),
    Case("candles of 1m, with their trades", "candle", "binance", "1m", "aggTrade", 4),
    Case("trades without counting ids (okx)", "trade", "okx", None, "trades", 4),
)


async def memory(runner: Runner, options: argparse.Namespace) -> Table:
    """Measure each kind of feed, on an empty tape."""
    table = Table("memory", "items", "CPU us each", "MiB, quarter by quarter")
    for case in CASES:
        async with AsyncExitStack() as stack:
            table.add_row(*await _row(stack, runner, case, max(options.hour // case.share, 1)))
    return table


async def _row(stack: AsyncExitStack, runner: Runner, case: Case, total: int) -> list[str]:
    """Items are sent in portions, each after the consumer received the one before."""
    portion = min(10_000, total)
    is_book = case.kind == "book"
    consumer = Consumer(of_deltas if is_book else of_trades)
    subject = f"md.{'book_delta' if is_book else 'trade'}.{case.exchange}.BTC-USDT"
    ours = await runner.tickwire(stack, OURS, subject, consumer)
    assert ours.bus is not None
    await harness.start(ours.bus, case.kind, SYMBOL, exchange=case.exchange, timeframe=case.timeframe, deltas=is_book)
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
