"""The client without a loop of one's own: the same, and nothing is left behind by scripts and notebooks."""

from __future__ import annotations

import asyncio
import signal
from itertools import islice, pairwise

import pytest

from client.pipeline_side import HOUR, now, program, until_released
from support.pipeline import Pipeline
from tickwire.client import IncompleteCandles, Released, SyncClient, Trade, UnknownSymbol, connect_sync
from tickwire.model.feeds import Feed

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


async def test_without_a_loop_everything_is_the_same(line: Pipeline) -> None:
    until = await now(line) // HOUR * HOUR

    def work() -> tuple[int, list[Trade], int]:
        with connect_sync(line.bus.url) as client:
            frame = client.candles("binance", "BTC/USDT", "1h", until - 24 * HOUR, until, progress=False)
            with client.trades("binance", "XRP/USDT") as trades:
                seen = [trade for trade, _ in zip(trades, range(100), strict=False)]
            with pytest.raises(UnknownSymbol):
                next(client.trades("binance", "BTC/NONE"))
            replayed = list(client.replay("binance", "XRP/USDT", until - 24 * HOUR))
            return len(frame), seen, len(replayed)

    rows, seen, replayed = await asyncio.to_thread(work)
    assert rows == 24
    ids = [int(trade.id or "") for trade in seen]
    assert all(later == earlier + 1 for earlier, later in pairwise(ids))
    assert replayed >= 100
    await until_released(line, Feed("trade", "binance", "XRP/USDT"))


ISLICE = """
import sys, threading
from itertools import islice
from tickwire.client import connect_sync
with connect_sync(sys.argv[1]) as client:
    for trade in islice(client.trades("binance", sys.argv[2]), 5):
        print(trade.id, flush=True)
    threading.Event().wait()
"""

FOREVER = """
import sys, threading
from tickwire.client import connect_sync
with connect_sync(sys.argv[1]) as client:
    try:
        for trade in client.trades("binance", sys.argv[2]):
            print(trade.id, flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    threading.Event().wait()
"""

CELLS = """
import sys
from tickwire.client import connect_sync
client = connect_sync(sys.argv[1])
trades = client.trades("binance", sys.argv[2])
print(next(trades).id, flush=True)
"""


FORKED = """
import multiprocessing, os, sys
from tickwire.client import connect_sync
client = connect_sync(sys.argv[1])
trades = client.trades("binance", sys.argv[2])
next(trades)

def said(what, ask):
    try:
        ask()
        print(what, "nothing", flush=True)
    except Exception as error:
        print(what, type(error).__name__, "connect in each process" in str(error), flush=True)

def work():
    said("candles", lambda: client.candles("binance", "BTC/USDT", "1h", "1d", progress=False))
    said("next", lambda: [next(trades) for _ in range(1000)])
    said("trades", lambda: client.trades("binance", "BTC/USDT"))
    said("released", trades.close)
    said("closed", client.close)
    with connect_sync(sys.argv[1]) as own:
        said("own", lambda: next(own.trades("binance", sys.argv[2])))

child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
print("child", child.exitcode, flush=True)
if os.fork() == 0:
    said("candles", lambda: client.candles("binance", "BTC/USDT", "1h", "1d", progress=False))
    sys.exit(7)
print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
print("parent", len([next(trades) for _ in range(1000)]), flush=True)
"""


async def test_a_forked_process_that_uses_its_parents_client_is_told_so_and_ends(line: Pipeline) -> None:
    """And the parent's goes on, and the forked one may have one of its own."""
    async with program(line, FORKED, "T006/USDT") as process:
        assert process.stdout is not None
        async with asyncio.timeout(100):
            said = (await process.stdout.read()).decode().splitlines()
            assert await process.wait() == 0
    assert said == [
        "candles Forked True",
        "next Forked True",
        "trades Forked True",
        "released nothing",
        "closed nothing",
        "own nothing",
        "child 0",
        "candles Forked True",
        "child 7",
        "parent 1000",
    ]
    await until_released(line, Feed("trade", "binance", "T006/USDT"))


async def test_a_loop_over_a_part_of_a_feed_releases_it_at_its_end(line: Pipeline) -> None:
    async with program(line, ISLICE, "T001/USDT") as process:
        assert process.stdout is not None
        for _ in range(5):
            assert await process.stdout.readline()
        await until_released(line, Feed("trade", "binance", "T001/USDT"))
        assert process.returncode is None


async def test_ctrl_c_in_a_loop_releases_its_feed(line: Pipeline) -> None:
    async with program(line, FOREVER, "T002/USDT") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(100):
            while await process.stdout.readline() != b"interrupted\n":
                pass
        await until_released(line, Feed("trade", "binance", "T002/USDT"))
        assert process.returncode is None


async def test_a_program_that_never_closes_its_client_ends_and_releases_everything(line: Pipeline) -> None:
    async with program(line, CELLS, "T003/USDT") as process:
        async with asyncio.timeout(100):
            assert await process.wait() == 0
        await until_released(line, Feed("trade", "binance", "T003/USDT"))


async def test_a_client_can_be_kept_between_cells_and_closed(line: Pipeline) -> None:
    def work() -> list[int]:
        client = connect_sync(line.bus.url)
        sizes = [len(client.candles("binance", "BTC/USDT", "1h", "2026-01-01", "2026-01-02", progress=False))]
        with client.trades("binance", "T004/USDT") as trades:
            first = [int(trade.id or 0) for trade, _ in zip(trades, range(20), strict=False)]
            more = [int(trade.id or 0) for trade in islice(trades, 20)]
        # `zip` took one more than it gave.
        assert [*first, *more] == [*range(first[0], first[0] + 20), *range(first[0] + 21, first[0] + 41)]
        with pytest.raises(Released):
            list(trades)
        client.close()
        client.close()
        for ask in (lambda: client.trades("binance", "BTC/USDT"), lambda: client.candles("binance", "A/B", "1h", "2d")):
            with pytest.raises(Released, match="connect again"):
                ask()
        return sizes

    assert await asyncio.to_thread(work) == [24]
    await until_released(line, Feed("trade", "binance", "T004/USDT"))


async def test_a_warning_of_missing_candles_names_the_line_that_asked_for_them(line: Pipeline) -> None:
    def ask(client: SyncClient) -> None:
        client.candles("binance", "T005/USDT", "1h", since="30d", fetch=False)
        client.candles_of("binance", "T005/USDT", "1h", since="30d", fetch=False)

    def work() -> list[str]:
        with connect_sync(line.bus.url) as client:
            with pytest.warns(IncompleteCandles) as warned:
                ask(client)
            return [each.filename for each in warned]

    assert await asyncio.to_thread(work) == [__file__] * 2
