"""Permissions of deploy/nats on a real nats-server: what each user may publish, and the error where it may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from security.secured_pipeline import declared, one_line, page_works, secured
from support import live
from support.brokers import Server, as_user, serving, variables_of
from support.influx_api import Server as Influx
from support.influx_api import serving as an_influx
from support.processes import environment, running_simulator, tickwire
from support.wires import Wire
from support.wires import wire as carried
from tape.places import BTC_SUBJECT, TRADES_STREAM, place_of
from tickwire.bus.connection import Bus, connect
from tickwire.errors import Forbidden
from tickwire.model import messages
from tickwire.model.feeds import Feed
from tickwire.model.messages import ArchivedTrades, ArchivedTradesRequest
from tickwire.model.subjects import Key

pytestmark = pytest.mark.faults

BTC = Feed("trade", "binance", "BTC/USDT")
KEY = Key("binance", "BTC/USDT", "1h")
SINCE = 1_700_000_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with declared(tmp_path / "nats") as running:
        yield running


async def test_the_whole_pipeline_runs_with_a_user_for_each_service_and_meets_no_refusal(
    server: Server, tmp_path: Path
) -> None:
    services = ("cache", "fetcher", "streamer", "sink", "archive")
    made = Influx("Token t", "/api/v2/write", {"org": "desk", "bucket": "tickwire", "precision": "ns"})
    async with (
        running_simulator("--live-rate", "100") as busy,
        an_influx(made) as influx,
        secured(server, busy, tmp_path) as line,
    ):
        sink = {"TICKWIRE_SINK_URL": influx.url, "TICKWIRE_SINK_ORG": "desk", "TICKWIRE_SINK_TOKEN": "t"}
        sink |= {"TICKWIRE_ARCHIVE_ROOT": str(tmp_path / "archive"), "TICKWIRE_ARCHIVE_PART_ROWS": "50"}
        sink |= {"TICKWIRE_ARCHIVE_KINDS": '["trade","candle","ticker"]'}
        for number in (0, 1):
            for service in services:
                await line.start(service, number, **variables_of(server.url, service), **sink)
        for number in (0, 1):
            for service in services:
                await line.started(service, number)
        feeds = [
            BTC,
            BTC._replace(kind="book"),
            BTC._replace(kind="ticker"),
            BTC._replace(kind="candle", timeframe="1m"),
        ]
        async with live.seeing(line.bus, BTC) as seen:
            for feed in feeds:
                await live.start(line.bus, feed, "program", ttl_s=60)
            await seen.until(lambda: len(seen.trades) > 100)
            assert (await line.fetch(KEY, SINCE, SINCE + 100 * 3_600_000)).complete
            # The work moves to the others.
            for service in services:
                assert await line.stop(service, 0) == 0
            enough = len(seen.trades) + 200
            await seen.until(lambda: len(seen.trades) > enough)
            assert (await line.fetch(KEY, SINCE, SINCE + 200 * 3_600_000)).complete
            # The second sink has gone on where the first one was: the trade of just now is in the database.
            newest = f'id="{seen.ids[-1]}"'
            async with asyncio.timeout(100):
                while not any(newest in fields for fields in influx.taken.values()):
                    await asyncio.sleep(0.05)
                while not any(series.startswith("books") for series, _ in influx.taken):
                    await asyncio.sleep(0.05)
            report = await line.bus.client.request("sink.report", b"{}", timeout=60)
            assert json.loads(report.data)["trades"] > 100
            asked = messages.encode(ArchivedTradesRequest(exchange="binance", symbol="BTC/USDT"))
            async with asyncio.timeout(100):
                # An error, in JSON, until the first part is written.
                while b"not_archived" in (answer := await line.bus.client.request("archive.trades", asked, 60)).data:
                    await asyncio.sleep(0.05)
            page = msgspec.msgpack.decode(answer.data, type=ArchivedTrades)
            assert (page.symbol, page.chunk) == ("BTC/USDT", 0)
            ids = seen.ids
            assert ids == list(range(ids[0], ids[-1] + 1))
            for feed in feeds:
                await live.stop(line.bus, feed, "program")
        for command in (("ps",), ("candles", "list"), ("candles", "verify")):
            ended = await tickwire(line.env | variables_of(server.url, "desk"), *command)
            assert ended.code == 0, ended.err
        assert (await tickwire(line.env | variables_of(server.url, "operator"), "status")).code == 0
        await page_works(line, server.url)
        for service in services:
            assert await line.stop(service, 1) == 0
    assert "iolation" not in server.log


FORBIDDEN = [
    ("desk", "md.trade.binance.BTC-USDT"),
    ("desk", "md.stored.binance.BTC-USDT.1h"),
    ("desk", BTC_SUBJECT),
    ("desk", "tape.ohlcv.binance.BTC-USDT.1h"),
    ("desk", "jobs.fetch.binance"),
    ("desk", "jobs.cancel.x"),
    ("desk", "control.log"),
    ("desk", "cache.repair"),
    ("desk", "cache.partition.0.get"),
    ("desk", "$KV.LEASES.cache.lease.0"),
    ("desk", "$KV.INTEREST.x"),
    ("desk", f"$JS.API.STREAM.DELETE.{TRADES_STREAM}"),
    ("desk", f"$JS.API.STREAM.PURGE.{TRADES_STREAM}"),
    ("desk", f"$JS.API.CONSUMER.CREATE.{TRADES_STREAM}"),
    ("desk", f"$JS.API.STREAM.MSG.GET.{TRADES_STREAM}"),
    ("desk", f"$JS.API.STREAM.INFO.{TRADES_STREAM}"),
    ("desk", "_INBOX.cache.x"),
    ("fetcher", BTC_SUBJECT),
    ("fetcher", "md.stored.binance.BTC-USDT.1h"),
    ("fetcher", "md.rejected.binance.BTC-USDT.1h"),
    ("fetcher", "$KV.LEASES.cache.lease.0"),
    ("fetcher", f"$JS.API.STREAM.UPDATE.{TRADES_STREAM}"),
    ("streamer", "md.trade.binance.BTC-USDT"),
    ("streamer", "md.stored.binance.BTC-USDT.1h"),
    ("streamer", "md.job.x"),
    ("streamer", "$JS.API.STREAM.MSG.GET.JOBS"),
    ("streamer", "$JS.FC.OHLCV.x"),
    ("streamer", f"$JS.API.CONSUMER.CREATE.{TRADES_STREAM}"),
    ("cache", BTC_SUBJECT),
    ("cache", "tape.ohlcv.binance.BTC-USDT.1h"),
    ("cache", "md.trade.binance.BTC-USDT"),
    ("cache", f"$JS.API.STREAM.PURGE.{TRADES_STREAM}"),
    ("sink", BTC_SUBJECT),
    ("archive", BTC_SUBJECT),
    ("archive", "md.trade.binance.BTC-USDT"),
    ("archive", "$KV.SINK.stream.SINK"),
    ("sink", "md.trade.binance.BTC-USDT"),
    ("sink", f"$JS.FC.{TRADES_STREAM}.x"),
]


async def test_a_publish_without_permission_is_refused_by_the_broker_and_fails_at_once(server: Server) -> None:
    async with connect(as_user(server.url, "operator"), name="watch") as watch:
        arrived: list[str] = []

        async def keep(message: object) -> None:
            arrived.append(getattr(message, "subject", ""))

        # The operator itself hears everything but its own questions.
        for subject in ("md.>", "tape.>", "jobs.>", "control.>", "cache.>", "$KV.>"):
            await watch.subscribe(subject, keep)
        await watch.client.flush()
        for user, subject in FORBIDDEN:
            if (user, subject) == ("desk", "_INBOX.cache.x"):
                # A reply to another's inbox: that is not ours to end for, it is only not sent.
                async with connect(as_user(server.url, user), name=user) as bus:
                    await bus.client.publish(subject, b"{}")
                    await bus.client.flush()
            else:
                with pytest.raises(Forbidden, match="publish to") as refused:
                    async with connect(as_user(server.url, user), name=user) as bus, asyncio.timeout(60):
                        await bus.client.publish(subject, b"{}")
                        await asyncio.Event().wait()
                assert user in str(refused.value)
                assert f"publish to {subject};" in str(refused.value)
            await server.says(f'user:{user}" - Publish Violation - Subject "{subject}"')
        await watch.client.flush()
        assert arrived == []


@pytest.mark.parametrize(
    ("user", "subject", "stream", "filtered"),
    [
        ("cache", "tape.ohlcv.binance.BTC-USDT.1h", "OHLCV", "ohlcv.>"),
        ("streamer", "$KV.INTEREST.x", "KV_INTEREST", "$KV.INTEREST.>"),
    ],
)
async def test_a_service_may_say_how_fast_it_reads_a_stream(
    server: Server, user: str, subject: str, stream: str, filtered: str
) -> None:
    asked, through = asyncio.Event(), asyncio.Event()

    async def ask(_: Msg) -> None:
        asked.set()

    async def take(message: Msg) -> None:
        if message.metadata.num_pending == 0:
            through.set()

    async with connect(as_user(server.url, "operator"), name="operator") as operator:
        await operator.subscribe(f"$JS.FC.{stream}.>", ask)
        for number in range(100):
            # Of a bucket each key keeps its newest alone.
            key = f"{subject}{number}" if stream.startswith("KV_") else subject
            await operator.jetstream.publish(key, bytes(400_000))
        async with connect(as_user(server.url, user), name=user) as bus, asyncio.timeout(100):
            await bus.subscribe_ordered(filtered, stream, take)
            await through.wait()
            await asked.wait()


@pytest.mark.parametrize(
    ("user", "subject"),
    [("desk", ">"), ("desk", "tape.>"), ("desk", "_INBOX.>"), ("desk", "_INBOX.cache.>"), ("cache", "md.trade.>"),
     ("fetcher", "streamer.start"), ("streamer", "cache.get"), ("sink", "fetcher.fetch")],
)  # fmt: skip
async def test_what_a_user_may_not_hear_is_refused_by_the_broker(server: Server, user: str, subject: str) -> None:
    async def never(_: object) -> None:
        raise AssertionError

    with pytest.raises(Forbidden, match="subscribe to"):
        async with connect(as_user(server.url, user), name=user) as bus, asyncio.timeout(60):
            await bus.subscribe(subject, never)
            await asyncio.Event().wait()
    await server.says(f'user:{user}" - Subscription Violation - Subject "{subject}"')


async def test_a_service_that_may_not_publish_what_it_must_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    """The streamer as the fetcher: it may not even register."""
    ended = await tickwire(environment(tmp_path, **variables_of(server.url, "fetcher")), "service", "streamer")
    assert ended.code == 2
    assert "does not let user fetcher" in one_line(ended.err)
    await server.says('user:fetcher" - Publish Violation')


async def test_a_service_whose_streams_are_not_made_says_who_makes_them(tmp_path: Path) -> None:
    async with serving(tmp_path / "nats") as server:
        ended = await tickwire(environment(tmp_path, **variables_of(server.url, "cache")), "service", "cache")
        assert ended.code == 2
        assert "run `tickwire declare` as the user that may" in one_line(ended.err)
        made = await tickwire(environment(tmp_path, **variables_of(server.url, "operator")), "declare")
        assert made.code == 0


async def test_an_expired_streamer_logs_it_once_and_the_broker_refuses_its_late_messages(
    server: Server, tmp_path: Path
) -> None:
    """What it says is held back on its way, renewals of its session and all, until another one has the feed."""
    heard: list[Msg] = []
    refusals: set[str] = set()
    refused = asyncio.Event()

    def look() -> None:
        if refusals & {each.reply for each in heard[taken_over:]}:
            refused.set()

    async def hear(message: Msg) -> None:
        heard.append(message)
        look()

    async def confirm(message: Msg) -> None:
        # It may be heard before what it answers. Without the beginning of its batch a message is of none.
        if b"wrong last sequence" in message.data or b"batch publish ID unknown" in message.data:
            refusals.add(message.subject)
            look()

    async with (
        running_simulator("--live-rate", "100") as busy,
        carried(server.url) as zero,
        carried(server.url) as one,
        connect(as_user(server.url, "operator"), name="operator") as operator,
        secured(server, busy, tmp_path) as line,
        live.seeing(line.bus, BTC) as seen,
    ):
        taken_over = 0
        await operator.subscribe(place_of(BTC).subject, hear)
        await operator.subscribe("_INBOX.streamer.>", confirm)
        for number, wire in enumerate((zero, one)):
            user = variables_of(f"nats://127.0.0.1:{wire.port}", "streamer")
            await line.start("streamer", number, "--instance", f"streamer-{number}", **user)
        await both_known(operator)
        await live.start(line.bus, BTC, "program", ttl_s=60)
        await seen.until(lambda: len(seen.trades) > 50)
        zombie = (await live.start(line.bus, BTC, "program", ttl_s=60)).owner
        wire = zero if zombie == "streamer-0" else one
        await hold_trades(wire)
        first = writer(heard[-1])
        async with asyncio.timeout(100):
            while writer(heard[-1]) == first:
                await asyncio.sleep(0.02)
        enough = len(seen.trades) + 100
        await seen.until(lambda: len(seen.trades) > enough)
        taken_over = len(heard)
        wire.let_go()
        async with asyncio.timeout(100):
            await refused.wait()
        late = [each for each in heard[taken_over:] if writer(each) == first]
        assert late, "the broker refused another's"
        enough = len(seen.trades) + 200
        await seen.until(lambda: len(seen.trades) > enough)
        assert seen.broken == []
        assert seen.ids == list(range(seen.ids[0], seen.ids[-1] + 1))
        # All it had to say is said when it has ended.
        assert await line.stop("streamer", int(str(zombie)[-1])) == 0
        said = [json.loads(each) for each in (tmp_path / f"{zombie}.log").read_text().splitlines()]
        assert [each["event"] for each in said if each["level"] != "info"] == ["session lost"]


async def hold_trades(wire: Wire) -> None:
    """Hold a wire with trades on it: a streamer sends none while it awaits the end of a batch."""
    async with asyncio.timeout(100):
        while True:
            before = len(wire.sent)
            wire.hold()
            # Only the first of what is held is recorded.
            while len(wire.sent) == before:
                await asyncio.sleep(0.01)
            if place_of(BTC).subject.encode() in wire.sent[before:]:
                return
            wire.let_go()
            await asyncio.sleep(0.05)


async def both_known(bus: Bus) -> None:
    """Wait until two streamers are among the instances: who comes later may have a lease moved to it."""
    async with asyncio.timeout(100):
        while True:
            info = await bus.jetstream.stream_info("KV_LEASES", subjects_filter="$KV.LEASES.streamer.instance.*")
            if len(info.state.subjects or {}) == 2:
                return
            await asyncio.sleep(0.05)


def writer(message: Msg) -> str:
    """Which instance published it."""
    return (message.headers or {})["Tickwire-Publish"].split()[0]
