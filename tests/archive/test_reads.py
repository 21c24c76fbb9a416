"""Trades of the archive by request: pages, frames, bars, and the way from the archive over the tape to live trades."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nats.aio.msg import Msg

from archive import test_archive_outages
from archive.test_archive_outages import LATER, until_rows
from archive.written_tape import SYMBOLS, Tape, rows_of
from support.processes import environment, tickwire
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.client import Client, Gap, NotArchived, Trade, Trades, connect, connect_sync
from tickwire.client.archived import chunks
from tickwire.client.archived_frames import IncompleteTrades
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedReport, StartRequest, StopRequest
from tickwire.model.feeds.layout import TapeLayout

pytestmark = pytest.mark.faults

BTC = SYMBOLS[0]
HOUR = 3_600_000
# What an archive has in a round of a lost session is read from the tape again, and these tests empty the tape.
archiving = partial(test_archive_outages.archiving, lease_s=10.0)
taped = partial(test_archive_outages.taped, lease_s=10.0)
QUIET = pytest.mark.filterwarnings("ignore::tickwire.client.archived_frames.IncompleteTrades")


async def archived(tape: Tape, root: Path, until: int) -> None:
    """Write the tape up to a time, and wait until the files have it."""
    await tape.go_on(lambda: tape.at > until, step=HOUR // 4, pause_s=0)
    await until_rows(root, tape)


def ids(tape: Tape, since: int = 0, until: int = 1 << 62) -> list[str]:
    """The ids of the trades of BTC/USDT that were put on the tape with a time in a range."""
    return [id_ for id_, at, *_ in tape.rows[BTC] if since <= at < until]


def place(tape: Tape) -> str:
    """The stream of BTC/USDT."""
    return TapeLayout(2).place_of(Feed("trade", "binance", BTC)).stream


async def forget(tape: Tape, sequence: int) -> None:
    """Remove the messages of the stream of BTC/USDT before a sequence, as its age does."""
    await tape.bus.jetstream.purge_stream(place(tape), seq=sequence)


@asynccontextmanager
async def answering(broker: str, root: Path, **chosen: Any) -> AsyncIterator[Client]:
    """A client, and an archive that answers and writes nothing: its round stays in memory."""
    async with archiving(broker, root, certify_after_s=LATER, part_rows=10**6, part_minutes=60.0, **chosen):
        async with connect(broker) as client, asyncio.timeout(100):
            while not await client.bus.request_all("$SRV.PING.archive", wait_s=0.2, most=1):
                pass
            yield client


@asynccontextmanager
async def streaming(bus: Bus) -> AsyncIterator[None]:
    """A streamer that takes interests, and leaves the tape to the test."""

    async def answer(request: StartRequest | StopRequest, _: Call) -> FeedReport:
        return FeedReport(kind=request.kind, exchange=request.exchange, symbol=request.symbol, state="live")

    endpoints: list[Endpoint[Any]] = [
        Endpoint("streamer.start", StartRequest, answer),
        Endpoint("streamer.stop", StopRequest, answer),
    ]
    async with serve(bus, "streamer", endpoints, instance="test"):
        yield


async def replayed(client: Client, since: int) -> list[Trade | Gap]:
    async with asyncio.timeout(100):
        return [each async for each in client.replay("binance", BTC, since)]


@QUIET
async def test_a_frame_has_the_rows_of_the_tape_with_their_unit_and_says_what_is_missing(
    broker: str, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 30 * HOUR)
        async with connect(broker) as client:
            since, until = tape.begun - HOUR, tape.begun + 20 * HOUR
            frame = await client.trades_frame("binance", BTC, since, until)
            times = (frame.index.astype("datetime64[ms, UTC]").astype("int64")).tolist()
            sides = [side if isinstance(side, str) else "" for side in frame["side"]]
            found = list(zip(frame["id"], times, sides, frame["price"], frame["amount"], frame["source"], strict=True))
            assert found == [
                (id_, at, side, price, amount, source)
                for id_, at, _, side, price, amount, source, _ in tape.rows[BTC]
                if since <= at < until
            ]
            assert frame["sequence"].tolist() == [row[-1] for row in tape.rows[BTC] if since <= row[1] < until]
            # The first message states that all before its end is on the tape; what was before the message is not known.
            first = [row[1] for row in tape.rows[BTC] if row[-1] == tape.rows[BTC][0][-1]]
            [(begin, end)] = frame.attrs["missing"]
            assert begin == since
            assert since < end <= first[-1]
            assert frame.attrs["reasons"] == ["not archived"]
            assert frame.attrs["complete"] is False
            table = await client.trades_frame("binance", BTC, since, until, form="arrow")
            assert isinstance(table, pa.Table)
            assert table.num_rows == len(frame)
            assert json.loads(table.schema.metadata[b"tickwire"])["missing"] == [[begin, end]]
            inside = await client.trades_frame("binance", BTC, until - HOUR, until)
            assert (inside.attrs["complete"], inside.attrs["missing"]) == (True, [])
            with pytest.raises(NotArchived, match="binance BTC/USD is not archived"):
                await client.trades_frame("binance", "BTC/USD", since, until)


async def test_what_is_missing_in_a_frame_is_a_warning(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + HOUR)
        async with connect(broker) as client:
            with pytest.warns(IncompleteTrades, match=r"BTC/USDT: trades in 1 range may be missing \(not"):
                await client.trades_frame("binance", BTC, tape.begun - HOUR, tape.begun + HOUR // 2)


@QUIET
async def test_bars_of_the_archive_are_those_of_its_trades(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 30 * HOUR)
        until = tape.begun + 20 * HOUR
        expected: dict[int, list[float]] = {}
        for _, at, _, _, price, *_ in tape.rows[BTC]:
            if at < until:
                expected.setdefault(at - at % HOUR, []).append(price)
        async with connect(broker) as client:
            hours = await client.bars("binance", BTC, "1h", tape.begun, until)
            ticks = await client.bars("binance", BTC, "ticks:7", tape.begun, until)
    rows = hours.reset_index()
    times = (numpy.array(rows["timestamp"].astype("datetime64[ms, UTC]").astype("int64"))).tolist()
    columns = ("open", "high", "low", "close", "trades")
    assert list(zip(times, *(rows[name] for name in columns), strict=True)) == [
        (at, each[0], max(each), min(each), each[-1], len(each)) for at, each in sorted(expected.items())
    ]
    # The first interval was not watched from its begin; the range ends with the last one.
    assert hours["complete"].tolist() == [False] + [True] * (len(hours) - 1)
    prices = list(chain(*(expected[at] for at in sorted(expected))))
    assert ticks["close"].tolist() == [prices[min(at + 6, len(prices) - 1)] for at in range(0, len(prices), 7)]


async def test_a_replay_goes_from_the_archive_to_the_tape_without_a_seam(broker: str, tmp_path: Path) -> None:
    """The archive has the begin alone, the tape the end alone, and both what is in between."""
    root = tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await archived(tape, root, tape.begun + 30 * HOUR)
            middle = tape.rows[BTC][len(tape.rows[BTC]) // 2][-1]
        # Written while no archive runs.
        await tape.go_on(lambda: tape.at > tape.begun + 40 * HOUR, step=HOUR // 4, pause_s=0)
        await forget(tape, middle)
        async with answering(broker, root) as client:
            later = tape.begun + 10 * HOUR
            part = await replayed(client, later)
            assert [each.id for each in part if isinstance(each, Trade)] == ids(tape, later)
            assert [each for each in part if isinstance(each, Gap)] == []
            found = await replayed(client, tape.begun)
            assert [each.id for each in found if isinstance(each, Trade)] == ids(tape)
            # The archive began within the range.
            assert [each.reason for each in found if isinstance(each, Gap)] == ["not archived"]


async def test_trades_go_from_the_archive_over_the_tape_to_live_ones(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, streaming(tape.bus):
        async with archiving(broker, root, certify_after_s=LATER):
            await archived(tape, root, tape.begun + 30 * HOUR)
            await forget(tape, tape.rows[BTC][-20][-1])
            seen: list[str] = []
            async with connect(broker) as client, asyncio.timeout(100):
                wanted = len(tape.rows[BTC]) + 30
                async for trade in client.trades("binance", BTC, since=tape.begun):
                    seen.append(trade.id or "")
                    if len(seen) == len(tape.rows[BTC]) < wanted:
                        # All there was: the next ones are live.
                        await tape.write(BTC, 3)
                    elif len(seen) >= wanted:
                        break
    assert seen == ids(tape)[: len(seen)]
    assert len(seen) >= wanted


async def test_what_neither_has_is_named(broker: str, tmp_path: Path) -> None:
    """Before the archive began; and between the archive and the tape, where messages expired before they were read."""
    root = tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await archived(tape, root, tape.begun + 10 * HOUR)
        known = ids(tape)
        await tape.go_on(lambda: tape.at > tape.begun + 20 * HOUR, step=HOUR // 4, pause_s=0)
        # No archive has read these.
        lost = tape.rows[BTC][-10]
        await forget(tape, lost[-1])
        async with connect(broker) as client:
            alone = await replayed(client, tape.begun)
            assert isinstance(alone[0], Gap)
            assert alone[0].reason == "the tape does not go back so far, and no archive answers"
        async with answering(broker, root) as client:
            found = await replayed(client, tape.begun - HOUR)
            misspelt = Feed("trade", "binance", "BTC/UDST")
            with pytest.raises(NotArchived, match="BTC/UDST is not archived; archived are binance BTC/USDT"):
                await anext(chunks(client.bus, misspelt, 0, None))
            with pytest.raises(NotArchived, match="nor in the archive; on the tape are binance BTC/USDT"):
                await anext(client.replay("binance", "BTC/UDST", tape.begun))
    gaps = [(at, each) for at, each in enumerate(found) if isinstance(each, Gap)]
    first, between = gaps
    assert (first[0], first[1].since, first[1].reason) == (0, tape.begun - HOUR - 1, "not archived")
    assert between[0] == len(known) + 1
    assert between[1].reason == "no longer on the tape when it was read"
    assert between[1].after_id == known[-1]
    after = [row[0] for row in tape.rows[BTC] if row[-1] >= lost[-1]]
    assert [each.id for each in found[between[0] + 1 :] if isinstance(each, Trade)] == after


async def test_a_gap_at_the_end_of_the_archive_is_named(broker: str, tmp_path: Path) -> None:
    """The feed was not declared complete since: the archive ends after the message with the gap, the tape follows."""
    root = tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await archived(tape, root, tape.begun + 2 * HOUR)
            lost = Gap(since=tape.at + 1, until=tape.at + HOUR, reason="an outage")
            await tape.write(BTC, 1)
            declared, tape.at = tape.at, tape.at + HOUR
            await tape.write(BTC, 3, gap=lost, until=declared)
            await until_rows(root, tape)
        await forget(tape, tape.rows[BTC][-1][-1])
        async with answering(broker, root) as client:
            found = await replayed(client, tape.begun)
    assert [each.id for each in found if isinstance(each, Trade)] == ids(tape)
    assert [each.reason for each in found if isinstance(each, Gap)] == ["not archived", "an outage"]
    assert isinstance(found[-4], Gap)


async def test_trades_of_a_feed_that_is_never_declared_complete_are_read_too(broker: str, tmp_path: Path) -> None:
    """Its exchange gives no sign of its time: nothing is certain, but what is archived is there."""
    root, feed = tmp_path / "archive", Feed("trade", "binance", "LTC/USDT")
    subject = TapeLayout(2).place_of(feed)
    async with taped(broker, root) as tape:
        times = [tape.begun + number * HOUR for number in range(6)]
        async with archiving(broker, root, certify_after_s=LATER):
            before = 0
            for at in times:
                trade = Trade(id=str(at), timestamp=at, side="buy", price=1.0, amount=1.0)
                message = Trades(exchange="binance", symbol=feed.symbol, trades=[trade], received=at)
                headers = {"Nats-Expected-Last-Subject-Sequence": str(before)}
                before = (
                    await tape.bus.jetstream.publish(subject.subject, messages.encode(message), headers=headers)
                ).seq
            async with asyncio.timeout(100):
                while len(rows_of(root, feed.symbol)) < len(times):
                    await asyncio.sleep(0.1)
        await tape.bus.jetstream.purge_stream(subject.stream, seq=before)
        async with answering(broker, root) as client, asyncio.timeout(100):
            found = [each async for each in client.replay("binance", feed.symbol, tape.begun - HOUR)]
    assert [each.timestamp for each in found if isinstance(each, Trade)] == times
    assert [(each.until, each.reason) for each in found if isinstance(each, Gap)] == [(times[0], "not archived")]


async def test_the_command_writes_trades_and_says_what_is_missing(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    env = environment(tmp_path, TICKWIRE_NATS_URL=broker)
    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 30 * HOUR)
        since, until = tape.begun + 5 * HOUR, tape.begun + 20 * HOUR
        span = ("--since", str(since), "--until", str(until))
        ended = await tickwire(env, "trades", "get", "binance", BTC, *span)
        assert (ended.code, ended.err) == (0, "")
        header, *lines = ended.out.splitlines()
        assert header == "timestamp,received,id,side,price,amount,source,sequence"
        assert lines == [
            f"{at},{received},{id_},{side},{price},{amount},{source},{sequence}"
            for id_, at, received, side, price, amount, source, sequence in tape.rows[BTC]
            if since <= at < until
        ]
        file = tmp_path / "trades.parquet"
        early = ("--since", str(tape.begun - HOUR), "--until", str(until), "--format", "parquet", "-o", str(file))
        ended = await tickwire(env, "trades", "get", "binance", BTC, *early)
        assert ended.code == 3
        assert "trades may be missing of " in ended.err
        assert pq.read_table(file).column("id").to_pylist() == ids(tape, 0, until)
        lines = (await tickwire(env, "trades", "get", "binance", BTC, *span, "--format", "jsonl")).out.splitlines()
        assert [json.loads(line)["id"] for line in lines] == ids(tape, since, until)


async def test_a_replay_of_the_archive_publishes_messages_as_the_tape_had_them(broker: str, tmp_path: Path) -> None:
    root, heard = tmp_path / "archive", list[Trades]()
    feed = Feed("trade", "binance", BTC)

    async def take(message: Msg) -> None:
        heard.append(messages.decode(message.data, Trades))

    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 30 * HOUR)
        await forget(tape, tape.rows[BTC][-1][-1])
        async with connect(broker) as client, client.bus.subscribed("replay.past.md.trade.>", take):
            until = tape.begun + 25 * HOUR
            wanted = Replay("past", [feed], tape.begun, until, math.inf)
            status = await publish_replay(client.bus, wanted, lambda _: None)
            async with asyncio.timeout(100):
                while len(heard) < status.messages:
                    await asyncio.sleep(0.05)
    said = [
        (trade.id, trade.timestamp, each.received, trade.side or "", trade.price, trade.amount, each.source)
        for each in heard
        for trade in each.trades
    ]
    assert said == [row[:-1] for row in tape.rows[BTC] if row[1] < until]
    # One message of the tape is one message again.
    assert len([each for each in heard if each.trades]) == len({row[-1] for row in tape.rows[BTC] if row[1] < until})


@QUIET
async def test_the_blocking_client_reads_frames_and_bars(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"

    def read() -> tuple[int, int]:
        with connect_sync(broker) as client:
            frame = client.trades_frame("binance", BTC, since, until)
            return len(frame), int(client.bars("binance", BTC, "volume:1000", since, until)["trades"].sum())

    async with taped(broker, root) as tape, archiving(broker, root, certify_after_s=LATER):
        await archived(tape, root, tape.begun + 10 * HOUR)
        since, until = tape.begun, tape.begun + 8 * HOUR
        count = len(ids(tape, since, until))
        assert await asyncio.to_thread(read) == (count, count)
