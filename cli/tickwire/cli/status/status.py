"""`tickwire status` and `tickwire log`: what runs, and how much it says."""

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
from tickwire.cli.feeds.interests import WATCH_S
from tickwire.cli.feeds.rates import Paces
from tickwire.cli.output import render
from tickwire.cli.processes.up import CONTROL_LOG
from tickwire.cli.status import survey as status_survey
from tickwire.cli.status import view as status_view
from tickwire.cli.status.survey import GATHER_S, Status
from tickwire.cli.status.view import Size
from tickwire.errors import BadRequest, BrokerUnavailable, NoSuchService
from tickwire.model import messages
from tickwire.model.messages import LogLevel
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit, until_stopped

SILENT_S = 3.0
"""After so long without an answer it is said that there is none, and again after as long."""


async def status(stop: asyncio.Event, config: Path | None, watching: bool, json: bool) -> int:
    """Print what runs on the broker, once or each second."""
    async with connected(settings_of(config)) as bus:
        if watching:
            await until_stopped(stop, _watch(bus, json))
            return Exit.OK
        found = await status_survey.gathered(bus)
    if json:
        render.as_json(found)
    else:
        render.out().print(status_view.drawn(found, now_ms()))
        for line in found.damaged:
            render.say(line)
    return Exit.OK


async def _watch(bus: Bus, json: bool) -> None:
    """The whole state each second, until cancelled. While nobody answers that is said, and asked on."""
    console = render.out()
    on_terminal = console.is_terminal and not json
    with Live(console=console, auto_refresh=False, screen=True) if on_terminal else nullcontext() as live:
        view = _View(console, live, json)
        while True:
            async with _remarking("the broker does not answer", view.remark):
                state = await _answered(bus)
            async with _remarking("a service does not answer", view.remark):
                try:
                    view.show(await status_survey.of_services(bus, state))
                except BrokerUnavailable as error:
                    view.remark(str(error))
            await asyncio.sleep(WATCH_S)


async def _answered(bus: Bus) -> status_survey.BrokerState:
    """What the broker says, however long it takes."""
    while True:
        try:
            return await status_survey.of_broker(bus)
        except BrokerUnavailable:
            await asyncio.sleep(WATCH_S)


@asynccontextmanager
async def _remarking(what: str, remark: Callable[[str], None]) -> AsyncIterator[None]:
    """Say every few seconds within the block that it is not over."""
    began = time.monotonic()

    async def tell() -> None:
        while True:
            await asyncio.sleep(SILENT_S)
            remark(f"{what} ({time.monotonic() - began:.0f} s)")

    async with asyncio.TaskGroup() as group:
        telling = group.create_task(tell())
        try:
            yield
        finally:
            telling.cancel()


class _View:
    """Where the state is shown: a screen, lines of JSON, or one table after another."""

    def __init__(self, console: Console, live: Live | None, json: bool) -> None:
        self._console = console
        self._live = live
        self._json = json
        self._paces = Paces()
        self._last: Callable[[Size], RenderableType] = lambda _: Group()

    def show(self, found: Status) -> None:
        """What was found."""
        paces = self._paces.counted(found.feeds or [], found.at)
        self._last = lambda size: status_view.drawn(found, now_ms(), paces, size)
        if self._json:
            render.as_json_line(msgspec.json.encode(found))
        elif self._live is not None:
            self._live.update(self._last(self._size()), refresh=True)
        else:
            self._console.print(status_view.drawn(found, now_ms(), paces))

    def remark(self, text: str) -> None:
        """Something in the way of finding out, on a screen above what was found last."""
        if self._live is None:
            render.say(text)
        else:
            below = self._last(self._size(less=1))
            self._live.update(Group(Text(text, style="bold red"), below), refresh=True)

    def _size(self, less: int = 0) -> Size:
        return Size(self._console.width, self._console.height - less)


async def log(stop: asyncio.Event, config: Path | None, level: str, logger: str) -> int:
    """Set the level of a logger in every running service."""
    try:
        wanted = msgspec.convert({"level": level, "logger": logger}, LogLevel)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{logger[:80]!r} is no logger: {error}", "name one, such as tickwire.fetcher") from error
    began = time.monotonic()
    async with connected(settings_of(config)) as bus:
        confirmed = await bus.request_all(CONTROL_LOG, messages.encode(wanted), wait_s=GATHER_S)
    if not confirmed:
        raise NoSuchService(
            f"no service confirmed the level within {time.monotonic() - began:.1f} s", "start all with `tickwire up`"
        )
    print(f"{logger} is at {level} in {render.plural(len(confirmed), 'service process', 'service processes')}")
    return Exit.OK
