"""`tickwire trades fetch`."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tickwire.cli import arguments
from tickwire.cli.candles.fetch import fetch_keys, report
from tickwire.cli.connection import connected, settings_of
from tickwire.model import subjects
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms


class FetchOptions(NamedTuple):
    """What `trades fetch` is to fetch, as typed."""

    exchanges: str
    symbols: str
    since: str
    until: str | None


async def fetch(stop: asyncio.Event, config: Path | None, options: FetchOptions, json: bool) -> int:
    """Request a job for every combination, show its progress, print the results."""
    names = product(arguments.items(options.exchanges, "EXCHANGES"), arguments.items(options.symbols, "SYMBOLS"))
    keys = [Key(exchange, symbol, "") for exchange, symbol in names]
    for each in keys:
        subjects.archived("trade", each.exchange, each.symbol)
    start, end = arguments.span(options.since, options.until, now_ms())
    assert start is not None
    async with connected(settings_of(config), stop) as bus:
        done = await fetch_keys(bus, dict.fromkeys(keys, start), end, stop)
    return report(done.ids, done.ended, refused=done.refused, json=json, no_fetcher=done.no_fetcher)
