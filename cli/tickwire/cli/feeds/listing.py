"""`tickwire ps`: the feeds that have subscribers, once or each second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec
from rich.console import Group
from rich.text import Text

from tickwire.bus.connection import Bus
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.feeds.rates import RateMeter
from tickwire.cli.output import consoles, render, tables
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client.feed_list import list_feeds
from tickwire.errors import BrokerUnavailable, NoSuchService, RequestTimeout, TickwireError
from tickwire.model.feeds import FeedReport
from tickwire.model.nearest import did_you_mean, listed, nearest
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, until_stopped

WATCH_S = 1.0
"""Pause between two requests of `--watch`."""


class Silence:
    """A time without answers, reported when it begins and when it ends."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        self._remark = remark
        self._lasts = False

    def goes_on(self, error: TickwireError) -> None:
        """Nothing answers, for this reason."""
        if not self._lasts:
            self._remark(f"{error.message}; trying again")
        self._lasts = True

    def ends(self) -> None:
        """There is an answer."""
        if self._lasts:
            self._remark("a streamer answers again")
        self._lasts = False


async def ps(stop: asyncio.Event, config: Path | None, exchange: str | None, watching: bool, json: bool) -> int:
    """Print the feeds, once or each second; exit code 1 where none is of the exchange that is named."""
    unmatched = None
    async with connected(settings_of(config), stop) as bus:
        if watching:
            await until_stopped(stop, _watch(bus, exchange, json))
            return Exit.OK
        found, silent = await bus.service_wait.call(lambda: list_feeds(bus, exchange))
        if exchange is not None and not found:
            unmatched = _unmatched(exchange, (await list_feeds(bus))[0])
    if json:
        render.as_json({"feeds": found, "silent": silent})
    elif found:
        consoles.out().print(tables.feed_table(found, now_ms()))
    elif unmatched is None:
        render.remark("no feed runs; start one, such as `tickwire start trade binance BTC/USDT`")
    if unmatched is not None:
        render.remark(unmatched)
    for each in silent:
        render.remark(f"streamer {each} did not answer in time")
    return Exit.OK if unmatched is None else Exit.FAILED


def _unmatched(exchange: str, running: Sequence[FeedReport]) -> str:
    known = sorted({each.exchange for each in running})
    near = nearest(exchange, known)
    remedy = did_you_mean(near) if near else f"there are feeds of {listed(known)}" if known else "no feed runs at all"
    return f"no feed of {exchange or repr(exchange)} runs; {remedy}"


async def _watch(bus: Bus, exchange: str | None, json: bool) -> None:
    """Print the feeds and their message rates each second, until cancelled; outlives restarts of the services."""
    console = consoles.out()
    meter = RateMeter()
    table: FittingTable | None = None
    on_terminal = console.is_terminal and not json
    with consoles.painting(console, lambda: table) if on_terminal else nullcontext() as live:

        def remark(text: str) -> None:
            if live is None:
                render.remark(text)
            else:
                live.update(Group(Text(text, style="bold red"), table or ""), refresh=True)

        silence = Silence(remark)
        while True:
            try:
                found, silent = await list_feeds(bus, exchange)
            except (NoSuchService, RequestTimeout, BrokerUnavailable) as error:
                silence.goes_on(error)
                await asyncio.sleep(WATCH_S)
                continue
            silence.ends()
            table = tables.feed_table(found, now_ms(), meter.update(found, now_ms()))
            if json:
                render.as_json_line(msgspec.json.encode({"feeds": found, "silent": silent}))
            elif live is not None:
                live.update(table, refresh=True)
            else:
                console.print(table)
            await asyncio.sleep(WATCH_S)
