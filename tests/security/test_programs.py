"""Programs as the user `desk` of deploy/nats/accounts.conf: every documented request works from their account."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from security.secured_pipeline import declared, secured
from support import brokers
from support.brokers import Server, as_user, variables_of
from support.pipeline import Pipeline
from support.processes import running_simulator, tickwire
from tape.places import TRADES_STREAM, place_of
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.client import Client, Key, NoSuchService, Trade, fetch_jobs
from tickwire.client import connect as to_tickwire
from tickwire.model import messages
from tickwire.model.feeds import Book, Feed, FeedList, FeedsRequest, MarketReport, MarketRequest, Trades
from tickwire.model.messages import Candles, CandlesRequest, Coverage, KeyRequest
from tickwire.settings import SinkSettings

pytestmark = pytest.mark.faults

BTC = Feed("trade", "binance", "BTC/USDT")
MINUTE = 60_000
SINCE = 1_700_000_040_000
ROWS = 20_000
KEY = Key("binance", "BTC/USDT", "1m")
DESK = """
[nats]
url = "{url}"
user = "desk"
password = "p-desk"
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with declared(tmp_path / "nats") as running:
        yield running


async def answers(bus: Bus, subject: str, request: object) -> list[Msg]:
    """All that the broker answers to one direct get, as a program without tickwire's client takes it."""
    found: list[Msg] = []
    ended = asyncio.Event()

    async def take(message: Msg) -> None:
        found.append(message)
        # A batch ends with a message without data; of a single one nothing else comes.
        if not message.data or "Nats-Num-Pending" not in (message.headers or {}):
            ended.set()

    inbox = bus.client.new_inbox()
    subscription = await bus.subscribe(inbox, take)
    await bus.client.publish(subject, json.dumps(request).encode(), reply=inbox)
    async with asyncio.timeout(100):
        await ended.wait()
    await subscription.unsubscribe()
    return found


async def test_nobody_there_is_said_at_once_and_by_name(server: Server) -> None:
    async with connect(as_user(server.url, "desk"), name="desk") as bus, asyncio.timeout(60):
        key = KeyRequest(exchange="binance", symbol="BTC/USDT", timeframe="1h")
        with pytest.raises(NoSuchService, match="no cache is running"):
            await bus.request("cache.coverage", key, Coverage, timeout_s=600)
        market = MarketRequest(exchange="okx", symbol="BTC/USDT")
        with pytest.raises(NoSuchService, match="no streamer is running"):
            await bus.request("streamer.market", market, MarketReport, timeout_s=600)
        with pytest.raises(NoSuchService, match="no streamer is running"):
            async for _ in bus.request_chunks(
                "streamer.list", FeedsRequest(), lambda data: messages.decode(data, FeedList)
            ):
                raise AssertionError


@pytest.mark.timeout(240)
async def test_the_client_gets_candles_trades_from_the_tape_and_books(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "desk.toml"
    config.write_text(DESK.format(url=server.url))
    async with (
        running_simulator("--live-rate", "100") as busy,
        secured(server, busy, tmp_path, ("cache", "fetcher", "streamer")) as line,
        to_tickwire(config=config) as client,
        asyncio.timeout(120),
    ):
        frame = await client.candles(*KEY, SINCE, SINCE + ROWS * MINUTE, progress=False)
        assert len(frame) == ROWS
        assert frame.attrs["complete"]
        assert [each.symbol for each in await client.markets(KEY.exchange, "btcusdt")] == ["BTC/USDT"]
        await chunks_come_whole(line)
        await trades_come_from_the_tape(client)
        await the_past_is_published_again(client.bus, line.env | variables_of(server.url, "desk"))
        await the_tape_is_read_by_direct_gets(line.bus)
        async for book in client.books("binance", "BTC/USDT", depth=5):
            if book.state == "live":
                assert len(book.bids) == 5
                break
        job = await line.submit(KEY, SINCE, SINCE + 10 * MINUTE)
        assert (await job.result()).complete
        assert (await fetch_jobs.find(line.bus, job.id)).rows_from_cache == 10
    assert "iolation" not in server.log


async def chunks_come_whole(line: Pipeline) -> None:
    request = CandlesRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m")
    rows, chunks = 0, 0
    async for chunk in line.bus.request_chunks("cache.get", request, partial(messages.decode, kind=Candles)):
        rows, chunks = rows + len(chunk.rows), chunks + 1
    assert rows == ROWS
    assert chunks > 1


async def trades_come_from_the_tape(client: Client) -> None:
    """Live, and then the same again from before."""
    seen: list[Trade] = []
    async with client.trades("binance", "BTC/USDT") as trades:
        async for trade in trades:
            seen.append(trade)
            if len(seen) == 200:
                break
        ids = [int(trade.id or "") for trade in seen]
        assert ids == list(range(ids[0], ids[0] + 200))
        again: list[Trade] = []
        async for trade in client.trades("binance", "BTC/USDT", since=seen[0].timestamp):
            again.append(trade)
            if again[-1] == seen[-1]:
                break
        assert again[again.index(seen[0]) :] == seen
    replayed = [each async for each in client.replay("binance", "BTC/USDT", seen[0].timestamp - MINUTE)]
    assert set(seen) <= set(replayed)


async def the_past_is_published_again(bus: Bus, env: dict[str, str]) -> None:
    """By one program, for another one of the same account."""
    heard: list[Msg] = []

    async def take(message: Msg) -> None:
        heard.append(message)

    async with bus.subscribed("replay.past.md.>", take):
        await bus.client.flush()
        ended = await tickwire(
            env, "replay", "past", "binance", "BTC/USDT", "--since", "10m", "--speed", "max", "--json"
        )
        # The feed is younger than that, and nobody archives it.
        assert ended.code == 3, ended.err
        assert "the tape does not go back so far" in ended.err
        status = json.loads(ended.out)
        assert (status["trades"] >= 200, status["gaps"]) == (True, 1)
        async with asyncio.timeout(100):
            while len(heard) < status["messages"]:
                await asyncio.sleep(0.05)
    assert {each.subject for each in heard} == {"replay.past.md.trade.binance.BTC-USDT"}
    unknown = await tickwire(env, "replay", "past", "binanse", "BTC/USDT", "--since", "10m", "--speed", "max")
    assert unknown.code == 1
    assert "on the tape are binance BTC/USDT" in unknown.err


async def the_tape_is_read_by_direct_gets(bus: Bus) -> None:
    """As the examples in other languages do it."""
    batch = await answers(
        bus, f"$JS.API.DIRECT.GET.{TRADES_STREAM}", {"next_by_subj": place_of(BTC).subject, "seq": 1, "batch": 20}
    )
    # A partition begins with the hand-over to its first owner.
    assert [(each.headers or {})["Nats-Sequence"] for each in batch[:20]] == [str(n) for n in range(2, 22)]
    assert len(batch) == 21
    assert batch[-1].data == b""
    (single,) = await answers(bus, f"$JS.API.DIRECT.GET.{TRADES_STREAM}", {"seq": 8})
    assert single.data == batch[6].data
    (last,) = await answers(bus, f"$JS.API.DIRECT.GET.{TRADES_STREAM}.{place_of(BTC).subject}", {})
    assert messages.decode(last.data, Trades).exchange == "binance"


@pytest.mark.timeout(240)
async def test_commands_work_as_desk(server: Server, tmp_path: Path) -> None:
    async with (
        running_simulator("--live-rate", "100") as busy,
        secured(server, busy, tmp_path, ("cache", "fetcher", "streamer")) as line,
    ):
        env = line.env | variables_of(server.url, "desk")
        btc = ("binance", "BTC/USDT")
        for command, said in (
            (("candles", "fetch", *btc, "1h", "--since", "2d"), ""),
            (("candles", "get", *btc, "1h", "--since", "2d"), "close"),
            (("candles", "list"), "BTC/USDT"),
            (("candles", "verify"), "BTC/USDT"),
            (("start", "trade", *btc), "BTC/USDT"),
            (("watch", "trade", *btc, "--count", "30", "--json"), '"trades"'),
            (("watch", "book", *btc, "--count", "3", "--json"), '"bids"'),
            (("ps",), "BTC/USDT"),
            (("stop", "trade", *btc), "BTC/USDT"),
        ):
            ended = await tickwire(env, *command)
            assert ended.code == 0, (command, ended.err)
            assert said in ended.out, (command, ended.out)
    assert "iolation" not in server.log


async def test_in_a_cluster_a_program_is_answered_whichever_server_it_is_connected_to(tmp_path: Path) -> None:
    """The service is at the first server; the stream is kept by all three, and any of them answers a direct get."""
    heard: list[str] = []

    async def take(message: Msg) -> None:
        heard.append((message.headers or {})["Nats-Sequence"])

    async def serve(message: Msg) -> None:
        for number in range(3):
            await service.client.publish(message.reply, str(number).encode())

    async with brokers.clustered(tmp_path) as servers:
        url = ",".join(server.url for server in servers)
        async with connect(as_user(url, "operator"), name="operator") as operator, asyncio.timeout(100):
            await until_declared(operator)
            book = messages.encode(Book(exchange="binance", symbol="BTC/USDT", timestamp=1, received=1, state="live"))
            await operator.jetstream.publish("md.job.x", b"the last word")
            async with connect(as_user(servers[0].url, "cache"), name="cache") as service:
                await service.subscribe("cache.list", serve)
                await service.client.flush()
                for number, server in enumerate(servers, 1):
                    async with connect(as_user(server.url, "desk"), name="desk") as desk:
                        await desk.subscribe("md.book.>", take)
                        await desk.client.flush()
                        await until_answered(desk)
                        parts = asyncio.Queue[Msg]()
                        inbox = desk.client.new_inbox()
                        await desk.subscribe(inbox, parts.put)
                        await desk.client.publish("cache.list", b"{}", reply=inbox)
                        assert [(await parts.get()).data for _ in range(3)] == [b"0", b"1", b"2"]
                        for _ in range(2):
                            await operator.jetstream.publish("tape.book.binance.BTC-USDT", book)
                        while len(heard) < 2 * number:
                            await asyncio.sleep(0.02)
                        request = {"next_by_subj": "tape.book.>", "seq": 1, "batch": 10}
                        word = await desk.jetstream.get_last_msg(streams.JOB_RESULTS, "md.job.x")
                        assert word.data == b"the last word"
                        while len(await answers(desk, "$JS.API.DIRECT.GET.BOOKS", request)) < 2 * number + 1:
                            # A replica that lags a little.
                            await asyncio.sleep(0.05)
    assert heard == ["1", "2", "3", "4", "5", "6"]


async def until_declared(bus: Bus) -> None:
    """A cluster takes a moment to agree on who leads it."""
    await streams.declare(bus.jetstream, 8, 10.0, replicas=3)
    await streams.declare_sink(bus.jetstream, SinkSettings(), 3)


async def until_answered(bus: Bus) -> None:
    """A cluster learns of a new subscription after a moment."""
    while (await bus.client.request("cache.list", b"{}", timeout=60)).data != b"0":
        await asyncio.sleep(0.02)
