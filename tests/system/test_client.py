"""The Python client against the whole pipeline: real services, a real broker, a simulated exchange."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from support import live
from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire import broker as embedded_broker
from tickwire import children
from tickwire.client import (
    BadRequest,
    BrokerUnavailable,
    CandlesFailed,
    Client,
    ExchangeFailed,
    Gap,
    IncompleteCandles,
    Job,
    Key,
    NoSuchService,
    Trade,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedTimeframe,
    connect,
    connect_sync,
)
from tickwire.feeds import Feed, FeedList, FeedsRequest
from tickwire.messages import decode

MINUTE = 60_000
HOUR = 3_600_000
SOCKET = "stream.binance.com"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Every service, on an exchange where each symbol trades 100 times a second."""
    folder = tmp_path_factory.mktemp("client")
    async with (
        embedded_broker.embedded(folder / "nats") as url,
        running_simulator("--live-rate", "100", "--symbols", "20") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer")) as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(line: Pipeline) -> AsyncIterator[Client]:
    async with connect(line.bus.url) as connected:
        yield connected
    await line.simulator.clear()


async def now(line: Pipeline) -> int:
    """The exchange's time, ms."""
    clock: int = (await line.simulator.clock())["now"]
    return clock


async def source(line: Pipeline, symbol: str, timeframe: str, since: int, until: int) -> list[list[float]]:
    """The exchange's own candles that open in `[since, until)`."""
    found = await line.simulator.truth("candles", symbol=symbol, timeframe=timeframe, since=since, until=until)
    return [[row[0], *map(float, row[1:6])] for row in found]


async def feeds_of(line: Pipeline) -> set[Feed]:
    found = [
        report
        async for part in line.bus.request_chunks("streamer.list", FeedsRequest(), lambda data: decode(data, FeedList))
        for report in part.feeds
    ]
    return {report.feed for report in found}


async def until_released(line: Pipeline, feed: Feed, timeout_s: float = 20) -> None:
    """Wait until nobody is interested in a feed; asked again, because no message says so to everyone."""
    async with asyncio.timeout(timeout_s):
        while feed in await feeds_of(line):
            await asyncio.sleep(0.05)


async def test_candles_of_a_key_never_fetched_come_with_progress_and_equal_the_source(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    since = until - 60 * HOUR
    heard: list[Job] = []
    frame = await client.candles("binance", "ETH/USDT", "1m", since, until, progress=heard.append)
    assert [job.state for job in heard][-1] == "done"
    assert len(heard) > 1
    assert (frame.index.name, str(frame.index.dtype)) == ("timestamp", "datetime64[ns, UTC]")
    assert {str(kind) for kind in frame.dtypes} == {"float64"}
    rows = [[stamp.value // 1_000_000, *values] for stamp, *values in frame.itertuples()]
    assert rows == await source(line, "ETH/USDT", "1m", since, until)
    assert len(rows) == 3600
    assert frame.attrs == {
        "exchange": "binance",
        "symbol": "ETH/USDT",
        "timeframe": "1m",
        "since": since,
        "until": until,
        "complete": True,
        "missing": [],
    }


async def test_what_is_cached_is_not_asked_of_the_exchange_again(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    first = await client.candles("binance", "BTC/USDT", "1h", until - 24 * HOUR, until)
    await line.simulator.forget_log()
    again = await client.candles("binance", "BTC/USDT", "1h", until - 24 * HOUR, until)
    assert again.equals(first)
    assert await line.simulator.log("klines") == []


async def test_a_frame_larger_than_the_brokers_limit_comes_in_chunks(line: Pipeline, client: Client) -> None:
    until = await now(line) // MINUTE * MINUTE
    frame = await client.candles("binance", "T011/USDT", "1m", until - 30_000 * MINUTE, until)
    assert len(frame) == 30_000
    # 48 bytes a row: more than the broker lets through in one message.
    assert frame.index.nbytes + frame.memory_usage(index=False).sum() > 1 << 20
    assert frame.index.is_monotonic_increasing


async def test_several_keys_are_fetched_at_once(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    frames = await client.candles_of("binance", ["BTC/USDT", "ETH/USDT"], ["15m", "1h"], until - 24 * HOUR, until)
    assert {key: len(frame) for key, frame in frames.items()} == {
        Key("binance", "BTC/USDT", "15m"): 96,
        Key("binance", "BTC/USDT", "1h"): 24,
        Key("binance", "ETH/USDT", "15m"): 96,
        Key("binance", "ETH/USDT", "1h"): 24,
    }


async def test_of_several_keys_those_that_failed_are_named_and_the_others_are_there(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    with pytest.raises(CandlesFailed, match="BTC/NONE 1h") as failed:
        await client.candles_of("binance", ["BTC/USDT", "BTC/NONE"], "1h", until - 24 * HOUR, until)
    assert {key: type(error) for key, error in failed.value.errors.items()} == {
        Key("binance", "BTC/NONE", "1h"): UnknownSymbol
    }
    assert [len(frame) for frame in failed.value.frames.values()] == [24]


@pytest.mark.parametrize(
    ("key", "since", "until", "error"),
    [
        (("binance", "BTC/NONE", "1h"), "2d", None, UnknownSymbol),
        (("binanec", "BTC/USDT", "1h"), "2d", None, UnknownExchange),
        (("binance", "BTC/USDT", "7m"), "2d", None, UnsupportedTimeframe),
        (("binance", "BTC/USDT", "1x"), "2d", None, UnsupportedTimeframe),
        (("binance", "BTC/USDT", "1h"), "2026-01-02", "2026-01-01", BadRequest),
        (("binance", "BTC/USDT", "1h"), "next week", None, BadRequest),
    ],
)
async def test_what_cannot_be_had_is_a_typed_error_of_one_line(
    client: Client, key: tuple[str, str, str], since: str, until: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        await client.candles(*key, since=since, until=until)
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)


async def test_a_venue_that_is_down_is_a_typed_error(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    await line.simulator.fault("klines", "status", code=503)
    with pytest.raises(ExchangeFailed):
        await client.candles("binance", "SOL/USDT", "1h", until - 48 * HOUR, until)


async def test_a_range_that_is_partly_missing_says_so_in_the_frame_and_by_a_warning(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    middle = until - 10 * HOUR
    await client.candles("binance", "XRP/USDT", "1h", until - 20 * HOUR, middle)
    with pytest.warns(IncompleteCandles, match="10 candles"):
        frame = await client.candles("binance", "XRP/USDT", "1h", until - 20 * HOUR, until, fetch=False)
    assert len(frame) == 10
    assert not frame.attrs["complete"]
    assert frame.attrs["missing"] == [(middle, until)]


async def test_trades_are_those_of_the_exchange_and_leaving_the_loop_releases_the_feed(
    line: Pipeline, client: Client
) -> None:
    seen: list[Trade] = []
    async for trade in client.trades("binance", "BTC/USDT"):
        seen.append(trade)
        if len(seen) == 200:
            break
    ids = [int(trade.id or "") for trade in seen]
    assert ids == list(range(ids[0], ids[0] + 200))
    assert seen == await live.truth(line.simulator, "BTCUSDT", ids[0], ids[-1])
    await until_released(line, Feed("trade", "binance", "BTC/USDT"))


async def test_a_cut_of_the_exchanges_socket_costs_the_iterator_nothing(line: Pipeline, client: Client) -> None:
    seen: list[Trade] = []
    async with client.trades("binance", "ETH/USDT") as trades:
        async for trade in trades:
            seen.append(trade)
            if len(seen) == 50:
                await line.simulator.fault(SOCKET, "ws_cut", seconds=1)
            if len(seen) == 400:
                break
        assert trades.gaps == []
    ids = [int(trade.id or "") for trade in seen]
    assert ids == list(range(ids[0], ids[0] + 400))


async def test_history_goes_over_into_live_trades_without_a_seam(line: Pipeline, client: Client) -> None:
    """From a time and from a sequence: exactly what is on the tape, each once."""
    feed = Feed("trade", "binance", "BNB/USDT")
    async with client.trades("binance", "BNB/USDT") as running:
        first = await anext(aiter(running))
        async for _ in running:
            if running.sequence >= 30:
                break
        seen: dict[str, list[Trade | Gap]] = {"time": [], "sequence": []}
        async with client.trades("binance", "BNB/USDT", since=first.timestamp + 50, gaps=True) as since:
            async for each in since:
                seen["time"].append(each)
                if len(seen["time"]) == 300:
                    break
        async with client.trades("binance", "BNB/USDT", after=running.sequence - 20, gaps=True) as after:
            async for each in after:
                seen["sequence"].append(each)
                if len(seen["sequence"]) == 300:
                    break
    tape = (await live.on_tape(line.bus, feed)).trades
    begin = next(at for at, trade in enumerate(tape) if trade.timestamp >= first.timestamp + 50)
    assert seen["time"] == tape[begin : begin + 300]
    begin = tape.index(seen["sequence"][0])  # type: ignore[arg-type]
    assert seen["sequence"] == tape[begin : begin + 300]


async def test_what_lies_before_the_tape_is_a_gap_in_its_place(line: Pipeline, client: Client) -> None:
    since = await now(line) - HOUR
    found: list[Trade | Gap] = []
    async with client.trades("binance", "T009/USDT", since=since, gaps=True) as trades:
        async for each in trades:
            found.append(each)
            if len(found) == 20:
                break
        assert trades.gaps == found[:1]
    gap, first = found[0], found[1]
    assert isinstance(gap, Gap)
    assert isinstance(first, Trade)
    assert (gap.since, gap.until) == (since, first.timestamp)


async def test_a_replay_is_the_tape_again_at_the_chosen_speed(line: Pipeline, client: Client) -> None:
    feed = Feed("trade", "binance", "T008/USDT")
    begin = await now(line)
    async with client.trades("binance", "T008/USDT") as trades:
        seen = 0
        async for _ in trades:
            seen += 1
            if seen == 200:
                break
    await until_released(line, feed)
    tape = (await live.on_tape(line.bus, feed)).trades
    replayed = [each async for each in client.replay("binance", "T008/USDT", begin - HOUR) if isinstance(each, Trade)]
    assert replayed == tape
    middle = tape[len(tape) // 2].timestamp
    part = [each async for each in client.replay("binance", "T008/USDT", begin - HOUR, middle)]
    assert [each for each in part if isinstance(each, Trade)] == [each for each in tape if each.timestamp < middle]
    span_s = (tape[-1].timestamp - tape[0].timestamp) / 1000
    loop = asyncio.get_running_loop()
    started = loop.time()
    async for _ in client.replay("binance", "T008/USDT", begin - HOUR, speed=4):
        pass
    assert loop.time() - started >= span_s / 4


async def test_books_and_tickers_come_with_their_present_state(client: Client) -> None:
    async with asyncio.timeout(20):
        async for book in client.books("binance", "BTC/USDT", depth=5):
            if book.state == "live":
                assert (len(book.bids), len(book.asks)) == (5, 5)
                assert book.bids[0][0] < book.asks[0][0]
                break
        async for ticker in client.tickers("binance", "BTC/USDT"):
            if ticker.last is not None:
                assert (ticker.low or 0) <= ticker.last <= (ticker.high or 0)
                break


async def test_whoever_is_slow_with_a_book_gets_the_newest_and_harms_no_other(line: Pipeline, client: Client) -> None:
    async with client.books("binance", "ETH/USDT", cadence_ms=0) as slow:
        async with client.books("binance", "ETH/USDT", cadence_ms=0) as fast:
            stale = await anext(aiter(slow))
            count = 0
            async for newest in fast:  # noqa: B007
                count += 1
                if count == 30:
                    break
            book = await anext(aiter(slow))
            assert slow.missed >= 20
            assert (book.sequence or 0) >= (newest.sequence or 0) > (stale.sequence or 0)
            assert fast.missed < slow.missed


async def test_candles_go_from_history_to_live_without_a_seam(line: Pipeline, client: Client) -> None:
    """Closed candles in a row, each once, equal to the exchange's; then the open one as it changes."""
    since = await now(line) // 1000 * 1000 - 20_000
    closed = []
    async with asyncio.timeout(40):
        async for candle in client.candles("binance", "BTC/USDT", "1s", since=since, progress=False):
            if candle.closed:
                closed.append(candle)
            if len(closed) == 25:
                break
    assert [candle.timestamp for candle in closed] == [since + 1000 * n for n in range(25)]
    real = await source(line, "BTC/USDT", "1s", since, since + 25_000)
    assert [[c.timestamp, c.open, c.high, c.low, c.close] for c in closed] == [row[:5] for row in real]
    assert [c.volume for c in closed] == pytest.approx([row[5] for row in real])


async def test_an_unknown_symbol_is_told_at_the_first_step_of_the_iterator(client: Client) -> None:
    with pytest.raises(UnknownSymbol):
        await anext(aiter(client.trades("binance", "BTC/NONE")))


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
        assert Feed("ticker", "binance", "SOL/USDT") in await feeds_of(line)
    await until_released(line, Feed("ticker", "binance", "SOL/USDT"), timeout_s=5)
    await until_released(line, Feed("trade", "binance", "SOL/USDT"), timeout_s=5)


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


async def test_a_feed_of_a_client_that_is_killed_is_released_within_its_ttl(line: Pipeline) -> None:
    feed = Feed("trade", "binance", "T007/USDT")
    async with follower(line, "T007/USDT") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.kill()
        await process.wait()
        # Its TTL of 10 s, and what the broker takes to expire it.
        await until_released(line, feed, timeout_s=14)


async def test_a_client_that_was_stopped_beyond_its_ttl_reads_back_what_it_missed(line: Pipeline) -> None:
    async with follower(line, "T010/USDT") as process:
        assert process.stdout is not None
        first = int(await process.stdout.readline())
        process.send_signal(signal.SIGSTOP)
        await until_released(line, Feed("trade", "binance", "T010/USDT"), timeout_s=14)
        process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            seen = [first]
            while len(seen) < 1500:
                seen.append(int(await process.stdout.readline()))
    assert seen == list(range(first, first + 1500))


def follower(line: Pipeline, symbol: str) -> AbstractAsyncContextManager[children.Process]:
    """A process that prints the id of each trade."""
    program = (
        "import asyncio, sys\n"
        "from tickwire.client import connect\n"
        "async def main():\n"
        "    async with connect(sys.argv[1]) as client:\n"
        "        async for trade in client.trades('binance', sys.argv[2]):\n"
        "            print(trade.id, flush=True)\n"
        "asyncio.run(main())\n"
    )
    argv: list[str | Path] = [sys.executable, "-c", program, line.bus.url, symbol]
    return children.child(argv, stdout=children.PIPE)


async def test_a_request_that_nobody_answers_says_which_service_is_not_running(broker: str) -> None:
    async with connect(broker) as client:
        with pytest.raises(NoSuchService, match="fetcher"):
            await client.candles("binance", "BTC/USDT", "1h", since="2d")
        with pytest.raises(NoSuchService, match="cache"):
            await client.candles("binance", "BTC/USDT", "1h")
        with pytest.raises(NoSuchService, match="streamer"):
            await anext(aiter(client.trades("binance", "BTC/USDT")))


async def test_no_broker_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BrokerUnavailable, match="tickwire up"):
        async with connect():
            pass
    with pytest.raises(BrokerUnavailable):
        async with connect("nats://127.0.0.1:1"):
            pass


async def test_importing_the_client_imports_neither_ccxt_nor_pandas() -> None:
    program = "import sys, tickwire.client; print([m for m in ('ccxt', 'pandas', 'numpy') if m in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"[]\n"


async def test_a_book_whose_streamer_died_is_not_live_for_long(
    line: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client says so itself: nobody else is there to say it."""
    monkeypatch.setattr("tickwire.client.live.BOOK_VALID_S", 1.0)
    async with asyncio.timeout(40), client.books("binance", "BTC/USDT") as books:
        each = aiter(books)
        while (await anext(each)).state != "live":
            pass
        await line.kill("streamer")
        while (book := await anext(each)).state == "live":
            pass
        assert (book.bids, book.asks) == ([], [])
        await line.start("streamer")
        while (await anext(each)).state != "live":
            pass
