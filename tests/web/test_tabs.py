"""What many tabs, and slow ones, cost: counted, not timed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from msgspec import Struct

from support.ports import free_port
from support.scraping import parsed
from tickwire.bus.connection import Bus, connect
from tickwire.client import Client
from tickwire.client.connecting import connected
from tickwire.observe.metrics import Metrics
from tickwire.settings import NatsSettings, Settings, WebSettings
from tickwire.task_group import TaskGroup
from tickwire.web.board import Board, Read, Source
from tickwire.web.metrics import WebMetrics
from tickwire.web.service import serve_web
from tickwire.web.site import Site, listening

pytestmark = pytest.mark.actors

TABS = 20
WATCHED = [
    "overview",
    "market?exchange=binance&symbol=BTC%2FUSDT",
    "chart?exchange=binance&symbol=BTC%2FUSDT&timeframe=1m",
]
FRAME = 100_000
BUFFERS = 32_000_000
"""More than the kernel keeps of one connection, both ends together (tcp_rmem and tcp_wmem have 6 and 4 MB)."""


async def named(socket: aiohttp.ClientWebSocketResponse) -> set[str]:
    """The things that a tab has been told of, once it was told of all."""
    found: set[str] = set()
    async with asyncio.timeout(100):
        while found < set(WATCHED):
            found.add((await socket.receive_json())["name"])
    return found


async def test_twenty_tabs_subscribe_and_read_as_one_does(bus: Bus) -> None:
    settings, metrics, stop = Settings(web=WebSettings(port=free_port())), Metrics(), asyncio.Event()
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(connect(NatsSettings(url=bus.url), name="page"))
        group = await stack.enter_async_context(TaskGroup())
        group.create_task(serve_web(own, settings, "one", stop, metrics))
        while not metrics.serving:
            await asyncio.sleep(0.01)
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{settings.web.port}"))

        async def tab() -> aiohttp.ClientWebSocketResponse:
            socket = await stack.enter_async_context(http.ws_connect("/live"))
            await socket.send_json({"watch": WATCHED})
            return socket

        first = await tab()
        assert await named(first) == set(WATCHED)
        subscriptions = len(own.client._subs)
        sockets = [await tab() for _ in range(TABS - 1)]
        for each in sockets:
            assert await named(each) == set(WATCHED)
        scraped = parsed(metrics.snapshot()().decode())
        assert scraped.value("tickwire_web_tabs") == TABS
        assert scraped.value("tickwire_web_things") == len(WATCHED)
        # Inboxes of requests on their way come and go, three things have at most a handful.
        assert abs(len(own.client._subs) - subscriptions) < 10
        stop.set()


class Value(Struct):
    """What is read: another number each time, and much text."""

    number: int
    text: str


class Growing:
    """Counts its readings."""

    reads = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Read]:
        yield self.read

    async def read(self) -> Value:
        self.reads += 1
        return Value(self.reads, "x" * FRAME)


@asynccontextmanager
async def page(bus: Bus, source: Growing, metrics: Metrics) -> AsyncIterator[aiohttp.ClientSession]:
    """The page's server, with one thing to watch."""
    web = WebSettings(port=free_port())
    async with connected(bus, "page") as client, TaskGroup() as group:
        assert isinstance(client, Client)
        board = Board(group, lambda _: Source(source.opened, 0.001), client.lost)
        async with (
            listening(web, Site(client, board, WebMetrics(metrics))),
            aiohttp.ClientSession(f"http://127.0.0.1:{web.port}") as http,
        ):
            yield http
        board.close()


async def test_a_tab_that_reads_nothing_is_sent_no_more_than_its_connection_holds(bus: Bus) -> None:
    source, metrics = Growing(), Metrics()
    async with page(bus, source, metrics) as http, asyncio.timeout(100):
        async with http.ws_connect("/live", max_msg_size=0) as stuck, http.ws_connect("/live", max_msg_size=0) as tab:
            for each in (stuck, tab):
                await each.send_json({"watch": ["thing"]})
            received, newest = 0, 0
            # Until far more has been read than was ever sent to the one that does not listen.
            while source.reads * FRAME < 4 * BUFFERS:
                newest = (await tab.receive_json())["data"]["number"]
                received += 1
            # It does not hold up the other.
            assert newest >= source.reads - 100
            scraped = parsed(metrics.snapshot()().decode())
            sent_to_stuck = scraped.value("tickwire_web_frames_total") - received
            assert 0 < sent_to_stuck * FRAME < BUFFERS
            # Now it reads: what was on its way, then the newest.
            number = 0
            while number < newest:
                number = (await stuck.receive_json())["data"]["number"]
            skipped = parsed(metrics.snapshot()().decode()).value("tickwire_web_frames_skipped_total")
            assert skipped > newest - sent_to_stuck - received - 100
