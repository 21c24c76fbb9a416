"""A service's monitoring port in this process: what a scrape costs the event loop, and how lags are counted."""

from __future__ import annotations

import asyncio
import re
import threading
import urllib.request
from collections.abc import Callable, Iterable
from itertools import cycle

import pytest
import uvloop

from support.ports import free_port
from support.scraping import parsed
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Kind
from tickwire.observe.http import monitored
from tickwire.observe.metrics import SECONDS, Metrics, Text
from tickwire.settings import MetricsSettings
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.metrics import of_feeds
from tickwire.tape.writer import TapeWriter

pytestmark = pytest.mark.actors

KINDS: tuple[Kind, ...] = ("trade", "book", "ticker")
LAGS = (-0.2, 0.0004, 0.0005, 0.0007, 0.04, 0.9, 59.0, 61.0)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
    return text


async def test_a_scrape_of_a_thousand_feeds_is_written_out_beside_the_event_loop(bus: Bus) -> None:
    boards = []
    for number, kind in zip(range(1000), cycle(KINDS), strict=False):
        feed = Feed(kind, "binance", f"C{number}/USDT")
        status = FeedStatus(feed, "test", TapeWriter(bus, streams.STATUS, feed.status, None))
        for lag in LAGS:
            status.receipt_lag.observe(lag)
            status.publish_lag.observe(lag)
        boards.append(status)
    read_in: list[int] = []
    written_in: list[int] = []

    def numbers() -> Text:
        read_in.append(threading.get_ident())
        text = of_feeds(boards)

        def written() -> Iterable[str]:
            written_in.append(threading.get_ident())
            return text()

        return written

    metrics, port = Metrics(), free_port()
    async with monitored(MetricsSettings(port=port), metrics):
        with metrics.writing(numbers):
            text = await asyncio.to_thread(read, f"http://127.0.0.1:{port}/metrics")
    assert read_in == [threading.get_ident()]
    assert len(written_in) == 1
    assert written_in != read_in
    found = parsed(text)
    for status in (boards[0], boards[-1]):
        labels = {"kind": status.feed.kind, "exchange": "binance", "symbol": status.feed.symbol}
        for name in ("tickwire_feed_receipt_lag_seconds", "tickwire_feed_publish_lag_seconds"):
            for bound in SECONDS:
                below = sum(lag <= bound for lag in LAGS)
                assert found.value(f"{name}_bucket", le=str(bound), **labels) == below, (name, bound)
            assert found.value(f"{name}_bucket", le="+Inf", **labels) == len(LAGS)
            assert found.value(f"{name}_count", **labels) == len(LAGS)


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def asked(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """The first line of what a connection, which is kept, is answered."""
    reader, writer = connection
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)", head)
    await reader.readexactly(int(length))
    return head.split(b"\r\n", 1)[0]


async def closed(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """What comes until the other side closes."""
    reader, writer = connection
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


@LOOPS
def test_a_connection_too_many_is_refused_at_once_and_the_others_are_answered(new_loop: NewLoop) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(too_many())


async def too_many() -> None:
    port = free_port()
    async with (
        asyncio.timeout(60),
        monitored(MetricsSettings(port=port), Metrics(), most=3),
    ):
        kept = [await opened(port) for _ in range(3)]
        assert [await asked(each) for each in kept] == [b"HTTP/1.1 200 OK"] * 3
        for _ in range(20):
            assert (await closed(await opened(port))).startswith(b"HTTP/1.1 503 ")
        assert await asked(kept[0]) == b"HTTP/1.1 200 OK"
        # The place of one that leaves is free again.
        kept.pop()[1].close()
        while True:
            connection = await opened(port)
            try:
                assert await asked(connection) == b"HTTP/1.1 200 OK"
                break
            except (AssertionError, ConnectionError, asyncio.IncompleteReadError):
                connection[1].close()
        for _, writer in [*kept, connection]:
            writer.close()


@LOOPS
def test_connections_that_are_of_no_use_are_closed_and_those_in_use_are_kept(new_loop: NewLoop) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(of_no_use())


async def of_no_use() -> None:
    port = free_port()
    async with (
        asyncio.timeout(60),
        monitored(MetricsSettings(port=port), Metrics(), most=3, idle_s=2.0),
    ):
        silent, slow, used = [await opened(port) for _ in range(3)]
        ends = [asyncio.create_task(closed(each)) for each in (silent, slow)]

        async def drip() -> None:
            # A request that never becomes one.
            while not ends[1].done():
                slow[1].write(b"G")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        while not all(end.done() for end in ends):
            assert await asked(used) == b"HTTP/1.1 200 OK"
            await asyncio.sleep(0.01)
        await dripping
        assert await asked(used) == b"HTTP/1.1 200 OK"
        # Then nobody asks any more.
        assert await closed(used) == b""
        after = await opened(port)
        assert await asked(after) == b"HTTP/1.1 200 OK"
        after[1].close()
