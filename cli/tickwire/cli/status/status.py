"""`tickwire status`: prints what runs on the broker, once or each second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tickwire.bus.connection import Bus
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.feeds.listing import WATCH_S
from tickwire.cli.feeds.rates import RateMeter
from tickwire.cli.output import consoles, render
from tickwire.cli.status import view
from tickwire.cli.status.view import Size
from tickwire.client import survey
from tickwire.client.survey import Status
from tickwire.errors import BrokerUnavailable
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, until_stopped
from tickwire.task_group import TaskGroup

SILENT_S = 3.0
"""Without an answer for this time it is reported that there is none; then again after the same time."""


async def status(stop: asyncio.Event, config: Path | None, watching: bool, json: bool) -> int:
    """Print what runs on the broker, once or each second."""
    async with connected(settings_of(config)) as bus:
        if watching:
            await until_stopped(stop, _watch(bus, json))
            return Exit.OK
        found = await survey.collect(bus)
    if json:
        render.as_json(found)
    else:
        consoles.out().print(view.draw(found, now_ms()))
        for line in found.damaged:
            render.remark(line)
    return Exit.OK


async def _watch(bus: Bus, json: bool) -> None:
    """Show the state each second, until cancelled. Reports a broker or service that does not answer, and retries."""
    console = consoles.out()
    on_terminal = console.is_terminal and not json
    with consoles.painting(console, lambda: None) if on_terminal else nullcontext() as live:
        output = _Output(console, live, json)
        while True:
            async with _report_waiting("the broker does not answer", output.remark):
                state = await _broker_state(bus)
            async with _report_waiting("a service does not answer", output.remark):
                try:
                    output.show(await survey.of_services(bus, state))
                except BrokerUnavailable as error:
                    output.remark(str(error))
            await asyncio.sleep(WATCH_S)


async def _broker_state(bus: Bus) -> survey.BrokerState:
    """Return the broker's state, retried until it answers."""
    while True:
        try:
            return await survey.of_broker(bus)
        except BrokerUnavailable:
            await asyncio.sleep(WATCH_S)


@asynccontextmanager
async def _report_waiting(what: str, remark: Callable[[str], None]) -> AsyncIterator[None]:
    """Report every few seconds that the block has not ended."""
    began = time.monotonic()

    async def report() -> None:
        while True:
            await asyncio.sleep(SILENT_S)
            remark(f"{what} ({time.monotonic() - began:.0f} s)")

    async with TaskGroup() as group:
        reporting = group.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()


class _Output:
    """Shows the state on a screen, as lines of JSON, or as one table after another."""

    def __init__(self, console: Console, live: Live | None, json: bool) -> None:
        self._console = console
        self._live = live
        self._json = json
        self._meter = RateMeter()
        self._last: Callable[[Size], RenderableType] = lambda _: Group()

    def show(self, found: Status) -> None:
        """Show a state."""
        rates = self._meter.update(found.feeds or [], found.at)
        self._last = lambda size: view.draw(found, now_ms(), rates, size)
        if self._json:
            render.as_json_line(msgspec.json.encode(found))
        elif self._live is not None:
            self._live.update(self._last(self._size()), refresh=True)
        else:
            self._console.print(view.draw(found, now_ms(), rates))

    def remark(self, text: str) -> None:
        """Show a remark; on a screen above the last state."""
        if self._live is None:
            render.remark(text)
        else:
            below = self._last(self._size(less=1))
            self._live.update(Group(Text(text, style="bold red"), below), refresh=True)

    def _size(self, less: int = 0) -> Size:
        return Size(self._console.width, self._console.height - less)
