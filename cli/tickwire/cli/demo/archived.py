"""The last part of `tickwire demo`: what the archive has of the live trades, and the certificate of their day."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tickwire.archive_files.days import read_rows
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import open_root
from tickwire.bus.connection import Bus
from tickwire.cli.demo.scene import EXCHANGE, PATIENCE_S, SYMBOL
from tickwire.cli.output import render
from tickwire.client.archived import days
from tickwire.errors import NotArchived
from tickwire.model.feeds import Feed, Trades
from tickwire.model.messages import Certificate

LOOK_S = 0.2


async def archived(bus: Bus, folder: Path, taped: Sequence[Trades]) -> bool:
    """Wait until the archive has the trades of some messages; print the day's certificate; whether each is in it once.

    `folder` is the archive's root.
    """
    wanted = [trade.id for message in taped for trade in message.trades]
    if not wanted:
        return False
    since = min(trade.timestamp for message in taped for trade in message.trades)
    found: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while wanted[-1] not in found:
                await asyncio.sleep(LOOK_S)
                found = await asyncio.to_thread(_ids, folder, since)
            days = await _days(bus, since)
    except TimeoutError:
        print(f"archive: not all trades of {EXCHANGE} {SYMBOL} were there within {PATIENCE_S:g} s")
        return False
    for day in days:
        print(f"archive: {describe(day)}")
    fault = difference(wanted, found)
    how = fault or "each of them once, in order"
    print(f"archive: the {render.plural(len(wanted), 'trade')} of above are in Parquet files in {folder}: {how}")
    return not fault


def difference(wanted: Sequence[str | None], found: Sequence[str | None]) -> str:
    """How the ids of archived trades differ from those that are wanted; empty if each is there once, in order."""
    kept, times = set(wanted), Counter(found)
    if missing := [each for each in wanted if each not in times]:
        return f"{len(missing)} missing, the first {missing[0]}"
    if repeated := [each for each in wanted if times[each] > 1]:
        return f"{len(repeated)} more than once, the first {repeated[0]}"
    in_files = [each for each in found if each in kept]
    misplaced = [id_ for id_, right in zip(in_files, wanted, strict=True) if id_ != right]
    return f"not in order from {misplaced[0]} on" if misplaced else ""


def describe(day: Certificate) -> str:
    """The certificate of a day, in words."""
    ranges = ", ".join(f"{render.clock(each.since)} to {render.clock(each.until)}" for each in day.watched)
    gaps = render.plural(len(day.gaps), "gap") if day.gaps else "no gap"
    state = "open, to be certified when it has ended" if day.condition == "open" else f"certified as {day.condition}"
    watched = f"watched {ranges} UTC" if ranges else "not watched"
    rows = render.plural(day.rows, "trade")
    return f"{day.exchange} {day.symbol} {day.date}: {rows}, {watched}, {gaps}; the day is {state}"


async def _days(bus: Bus, since: int) -> list[Certificate]:
    try:
        return await days(bus, Feed("trade", EXCHANGE, SYMBOL), since, None)
    except NotArchived:
        return []


def _ids(folder: Path, since: int) -> list[str]:
    """The ids of the archived trades from a time (ms) on."""
    batches = read_rows(open_root(str(folder)), ArchivedFeed("trade", EXCHANGE, SYMBOL), since)
    return [each for batch in batches for each in batch.column("id").to_pylist()]
