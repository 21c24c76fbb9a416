"""The life of a client and its feeds: released at once however a program ends, and whatever cannot be is an error."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from client.pipeline_side import FOLLOWER, program, until_released
from support.hearing import reports
from support.pipeline import Pipeline
from tickwire.client import BrokerUnavailable, Client, NoSuchService, Released, connect
from tickwire.client.live import TTL_S
from tickwire.model.feeds import Feed

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


async def test_cancelling_the_consumer_releases_the_feed(line: Pipeline, client: Client) -> None:
    began = asyncio.Event()

    async def consume() -> None:
        async for _ in client.trades("binance", "T011/USDT"):
            began.set()

    task = asyncio.create_task(consume())
    await began.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await until_released(line, Feed("trade", "binance", "T011/USDT"))


async def test_the_end_of_the_connection_releases_all_feeds(line: Pipeline) -> None:
    async with connect(line.bus.url) as client:
        trades = aiter(client.trades("binance", "SOL/USDT"))
        tickers = aiter(client.tickers("binance", "SOL/USDT"))
        await anext(trades)
        await anext(tickers)
        assert Feed("ticker", "binance", "SOL/USDT") in {report.feed for report in await reports(line.bus)}
    await until_released(line, Feed("ticker", "binance", "SOL/USDT"))
    await until_released(line, Feed("trade", "binance", "SOL/USDT"))


async def test_a_feed_of_a_client_that_is_killed_is_released_within_its_ttl(line: Pipeline) -> None:
    feed = Feed("trade", "binance", "T007/USDT")
    async with program(line, FOLLOWER, "T007/USDT") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.kill()
        await process.wait()
        # Its TTL, and what a busy machine takes to expire it.
        await until_released(line, feed, timeout_s=TTL_S + 20)


async def test_a_client_that_was_stopped_beyond_its_ttl_reads_back_what_it_missed(line: Pipeline) -> None:
    async with program(line, FOLLOWER, "T010/USDT") as process:
        assert process.stdout is not None
        first = int(await process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        await until_released(line, Feed("trade", "binance", "T010/USDT"), timeout_s=TTL_S + 20)
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(100):
            seen = [first]
            while len(seen) < 1500:
                seen.append(int(await process.stdout.readline()))
    assert seen == list(range(first, first + 1500))


async def test_a_request_that_nobody_answers_says_which_service_is_not_running(broker: str) -> None:
    async with connect(broker) as client:
        client.bus.service_wait.seconds = 0.5
        with pytest.raises(NoSuchService, match="fetcher"):
            await client.candles("binance", "BTC/USDT", "1h", since="2d")
        with pytest.raises(NoSuchService, match="cache"):
            await client.candles("binance", "BTC/USDT", "1h")
        with pytest.raises(NoSuchService, match="streamer"):
            await anext(aiter(client.trades("binance", "BTC/USDT")))


async def test_no_broker_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BrokerUnavailable, match="tickwire up") as raised:
        async with connect():
            pass
    # Where it looked, whatever the program's current folder is.
    assert f" {tmp_path / 'tickwire-data'};" in str(raised.value)
    with pytest.raises(BrokerUnavailable):
        async with connect("nats://127.0.0.1:1"):
            pass


async def test_importing_the_client_imports_neither_ccxt_nor_pandas() -> None:
    program = "import sys, tickwire.client; print([m for m in ('ccxt', 'pandas', 'numpy') if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"[]\n"


async def test_a_timeout_around_a_step_costs_nothing_and_the_loop_can_go_on(line: Pipeline, client: Client) -> None:
    steps = aiter(client.trades("binance", "T015/USDT"))
    ids: list[int] = []
    timeouts = 0
    while len(ids) < 100:
        try:
            # The first cannot be there so soon, most others are.
            trade = await asyncio.wait_for(anext(steps), 0.02 if timeouts < 5 else 10)
        except TimeoutError:
            timeouts += 1
        else:
            ids.append(int(trade.id or 0))
    assert timeouts
    assert ids == list(range(ids[0], ids[0] + 100))
    del steps
    await until_released(line, Feed("trade", "binance", "T015/USDT"))


async def test_a_feed_that_was_released_is_a_typed_error_and_no_empty_loop(client: Client) -> None:
    trades = client.trades("binance", "BTC/USDT")
    async for _ in trades:
        break
    # The end of the loop is told to the event loop.
    await asyncio.sleep(0)
    with pytest.raises(Released, match="was released"):
        async for _ in trades:
            pass


async def test_the_end_of_the_connection_is_an_error_where_another_task_iterates(line: Pipeline) -> None:
    began = asyncio.Event()

    async def consume(client: Client) -> None:
        async for _ in client.trades("binance", "ETH/USDT"):
            began.set()

    async def watch(client: Client) -> None:
        async for _ in client.candles("binance", "ETH/USDT", "1s"):
            pass

    async with connect(line.bus.url) as client:
        tasks = [asyncio.create_task(consume(client)), asyncio.create_task(watch(client))]
        await began.wait()
    for task in tasks:
        with pytest.raises(Released, match="block has ended"):
            await task


async def test_a_client_whose_block_has_ended_is_a_typed_error(line: Pipeline) -> None:
    async with connect(line.bus.url) as client:
        before = client.trades("binance", "BTC/USDT")
    asked: list[Callable[[], object]] = [
        lambda: client.candles("binance", "BTC/USDT", "1h", "2d"),
        lambda: client.trades("binance", "BTC/USDT"),
        lambda: client.books("binance", "BTC/USDT"),
        lambda: client.tickers("binance", "BTC/USDT"),
        lambda: client.replay("binance", "BTC/USDT", "1h"),
        lambda: aiter(before),
    ]
    for ask in asked:
        with pytest.raises(Released, match="connect again"):
            ask()
    with pytest.raises(Released):
        await client.candles_of("binance", "BTC/USDT", "1h")


async def test_giving_up_while_a_feed_starts_releases_it(line: Pipeline, client: Client) -> None:
    feed = Feed("trade", "binance", "T016/USDT")
    for patience in (0.001, 0.005, 0.01, 0.02, 0.05):
        with suppress(TimeoutError):
            async with asyncio.timeout(patience), client.trades("binance", "T016/USDT"):
                pass
    await until_released(line, feed)
