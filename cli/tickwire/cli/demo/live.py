"""The live part of `tickwire demo`: follows feeds, cuts the exchange's WebSocket, and checks the tape afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from contextlib import AsyncExitStack

import aiohttp

from tickwire.bus.connection import Bus
from tickwire.cli.demo.scene import CHECKED, EXCHANGE, SYMBOL, Scene
from tickwire.cli.demo.verdict import verdict
from tickwire.cli.feeds import feed_screens
from tickwire.cli.feeds.watch import FRAME_S, HISTORY, history, read_status
from tickwire.cli.output import consoles
from tickwire.client import fetch_jobs, interest
from tickwire.model.feeds import Feed, Trades
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.tape.reader import TapeReader, read_tape
from tickwire.task_group import TaskGroup

BEFORE_S = 3.0
CUT_S = 3.0
AFTER_S = 2.5
LINE_S = 1.0


async def fetch_history(bus: Bus) -> None:
    """Fetch the minutes before the first live candle, for the chart."""
    job = fetch_jobs.new_id()
    key = Key(EXCHANGE, SYMBOL, "1m")
    async with fetch_jobs.followed(bus, [job]) as following:
        order = await fetch_jobs.order(bus, key, job, now_ms() - HISTORY * 60_000, None, refresh=False)
        if order.error is None:
            await following.until_ended([job], lambda job: None, asyncio.Event())


async def live(bus: Bus, gateway: str) -> tuple[bool, list[Trades]]:
    """Follow the feeds, cut the exchange's WebSocket meanwhile, check the tape; return whether all is right, trades.

    `gateway` is the URL of the simulated exchange. Raises the streamer's refusals.
    """
    scene = Scene()
    trade, book = Feed("trade", EXCHANGE, SYMBOL), Feed("book", EXCHANGE, SYMBOL)
    minute, second = (Feed("candle", EXCHANGE, SYMBOL, each) for each in ("1m", CHECKED))
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(control_session(gateway))
        name = interest.subscriber("demo")
        for feed in (trade, book, minute, second):
            await stack.enter_async_context(interest.interested(bus, interest.start_request(feed, name)))
        scene.minute = feed_screens.CandleScreen(await history(bus, minute), minute.timeframe)
        await stack.enter_async_context(read_status(bus, trade, scene.take_status))
        reader = await stack.enter_async_context(read_tape(bus, trade.public, scene.take_trades, back=0))
        await stack.enter_async_context(read_tape(bus, book.public, scene.take_book))
        await stack.enter_async_context(read_tape(bus, minute.public, scene.take_minute))
        await stack.enter_async_context(read_tape(bus, second.public, scene.take_second, back=0))
        async with lifecycle.unwrapped(), TaskGroup() as group:
            painter = group.create_task(_paint(scene) if consoles.out().is_terminal else _print_lines(scene))
            try:
                away = await _play(scene, reader, http)
            finally:
                painter.cancel()
        # The feeds go on: what is judged, and counted in each line, is what had come by now.
        seen = dataclasses.replace(scene, trades=[*scene.trades], closed=[*scene.closed])
        return await verdict(seen, http, away), seen.trades


async def _play(scene: Scene, reader: TapeReader, http: aiohttp.ClientSession) -> float | None:
    """Wait, cut the WebSocket, wait again; return how long trades were interrupted (s), None where none arrived."""
    if not await scene.until(lambda: bool(scene.trades)):
        return None
    scene.phase = "live"
    await asyncio.sleep(BEFORE_S)
    scene.phase = f"the exchange's WebSocket is cut for {CUT_S:g} s"
    scene.print_line(f"cutting the exchange's WebSocket for {CUT_S:g} s")
    began = time.monotonic()
    async with http.delete("log") as response:
        response.raise_for_status()
    async with http.post("faults", json={"kind": "ws_cut", "seconds": CUT_S}) as response:
        response.raise_for_status()
    before = len(scene.trades)
    back = await scene.until(lambda: any(each.source == "rest" for each in scene.trades[before:]))
    away = time.monotonic() - began
    back = back and await scene.until(lambda: scene.trades[-1].source == "live")
    scene.phase = "live again; missed trades were fetched" if back else "trades did not resume"
    await asyncio.sleep(AFTER_S)
    await reader.catch_up()
    return away


def control_session(gateway: str) -> aiohttp.ClientSession:
    """Return a session for the control API of the simulated exchange."""
    return aiohttp.ClientSession(f"{gateway}/_sim/")


async def _paint(scene: Scene) -> None:
    """Paint frames on a terminal, until cancelled; the last one stays on it."""
    console = consoles.out()
    with consoles.painting(console, lambda: scene.render(*console.size)) as picture:
        while True:
            picture.update(scene.render(*console.size), refresh=True)
            await asyncio.sleep(FRAME_S)


async def _print_lines(scene: Scene) -> None:
    """Print a line each second, and one for each event, until cancelled."""
    scene.print_line = lambda text: print(text, flush=True)
    while True:
        await asyncio.sleep(LINE_S)
        print(scene.line, flush=True)
