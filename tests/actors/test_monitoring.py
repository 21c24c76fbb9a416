"""A service's monitoring port in this process: what a scrape costs the event loop, and how lags are counted."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from itertools import cycle

from support.ports import free_port
from support.scraping import parsed
from tickwire import streams
from tickwire.bus import Bus
from tickwire.config import MetricsSettings
from tickwire.feeds import Feed, Kind
from tickwire.metrics import SECONDS, Metrics
from tickwire.monitoring import monitored
from tickwire.streamer.desk import Board
from tickwire.streamer.metrics import of_feeds
from tickwire.streamer.tape import Tape

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
        board = Board(feed, "test", Tape(bus, streams.STATUS, feed.status, None))
        for lag in LAGS:
            board.receipt_lag.observe(lag)
            board.publish_lag.observe(lag)
        boards.append(board)
    metrics, port = Metrics(), free_port()
    async with monitored(MetricsSettings(port=port), metrics, bus):
        with metrics.writing(lambda: of_feeds(boards)):
            began = time.thread_time()
            # In a thread, as any other process: reading it is no part of what is measured.
            text = await asyncio.to_thread(read, f"http://127.0.0.1:{port}/metrics")
            spent = time.thread_time() - began
    began = time.thread_time()
    "".join(of_feeds(boards)())
    # CPU time, which a busy machine does not change. The loop reads the numbers: less than to write them out.
    assert spent < time.thread_time() - began
    found = parsed(text)
    for board in (boards[0], boards[-1]):
        labels = {"kind": board.feed.kind, "exchange": "binance", "symbol": board.feed.symbol}
        for name in ("tickwire_feed_receipt_lag_seconds", "tickwire_feed_publish_lag_seconds"):
            for bound in SECONDS:
                below = sum(lag <= bound for lag in LAGS)
                assert found.value(f"{name}_bucket", le=str(bound), **labels) == below, (name, bound)
            assert found.value(f"{name}_bucket", le="+Inf", **labels) == len(LAGS)
            assert found.value(f"{name}_count", **labels) == len(LAGS)
