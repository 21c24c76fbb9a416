"""Every trade once, in order, whatever is taken away: the socket, the exchange's REST, the broker, the streamer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from support import live
from support.pipeline import SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from tape.places import place_of
from tickwire.bus import embedded as embedded_broker
from tickwire.client import Client, connect
from tickwire.model import messages
from tickwire.model.feeds import Feed, Status, Trade, Trades

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

BTC = Feed("trade", "binance", "BTC/USDT")
SOCKET = "/ws/"
RATE = 500
"""Trades per second."""


@pytest.fixture
async def line(broker: str, busy: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One streamer on that simulator."""
    async with pipeline(broker, busy, tmp_path, ("streamer",)) as running:
        yield running


FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "code": 500, "count": 2},
    {"kind": "status", "code": 429, "count": 2},
    {"kind": "status", "code": 418, "count": 2},
    {"kind": "drop", "count": 1},
    {"kind": "truncated", "count": 1},
)
STRUCK = [500, 500, 429, 429, 418, 418, 0, 200, 200]
"""How a simulator with these faults answers: dropped is without an answer, truncated a 200, and then all is well."""


async def rest_fails(busy: SimulatorProcess) -> None:
    """Have REST fail eight times, in five ways."""
    await busy.forget_log()
    for fault in FAULTS:
        await busy.fault("aggTrades", **fault)


async def assert_rest_failed(busy: SimulatorProcess) -> None:
    """It was asked, and failed, as often as ordered."""
    assert [entry["status"] for entry in await busy.log("aggTrades")][: len(STRUCK)] == STRUCK
    assert await busy.faults() == []


async def test_ten_cuts_of_three_seconds_some_while_rest_fails_lose_and_repeat_nothing(
    line: Pipeline, busy: SimulatorProcess
) -> None:
    async with live.seeing(line.bus, BTC) as seen, live.statuses(line.bus, BTC) as heard:
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        for cut in range(1, 11):
            rest_is_down = cut in (3, 6, 10)
            if rest_is_down:
                await rest_fails(busy)
            await busy.fault(SOCKET, "ws_cut", seconds=3)
            repaired = await live.status(heard, "repaired", cut)
            assert repaired.trades > RATE
            enough = len(seen.trades) + RATE
            await seen.until(lambda enough=enough: len(seen.trades) > enough)  # type: ignore[misc]
            if rest_is_down:
                await assert_rest_failed(busy)
        tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
        assert tape.repaired > 10 * 2 * RATE
        assert seen.broken == []
        assert seen.ids[: len(tape.ids)] == tape.ids[: len(seen.ids)]


async def test_what_rest_cannot_give_back_is_a_gap_with_its_bounds(line: Pipeline, busy: SimulatorProcess) -> None:
    async with live.seeing(line.bus, BTC) as seen, live.statuses(line.bus, BTC) as heard:
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        await busy.fault(SOCKET, "ws_cut", seconds=4)
        # Two trades at most make one aggregate trade, so that this is over within 2 of the 4 seconds.
        newest = (await busy.truth("aggregates", symbol="BTCUSDT", fromId=seen.ids[-1]))[-1]["id"]
        first, last = newest + RATE // 5, newest + RATE
        await busy.fault("aggTrades", "rest_forgets", symbol="BTCUSDT", from_id=first, to_id=last)
        said = await live.status(heard, "gap")
        await seen.until(lambda: seen.ids[-1] > last + 2 * RATE)
        before = await live.truth(busy, "BTCUSDT", first - 1, first - 1)
        after = await live.truth(busy, "BTCUSDT", last + 1, last + 1)
        expected = (before[0].timestamp, after[0].timestamp, str(first - 1), str(last + 1))
        assert said.gap is not None
        for gap in (said.gap, seen.gaps[0]):
            assert (gap.since, gap.until, gap.after_id, gap.before_id) == expected
        assert len(seen.gaps) == 1
        assert seen.ids == [each for each in range(seen.ids[0], seen.ids[-1] + 1) if not first <= each <= last]


async def test_a_restart_of_the_broker_loses_nothing_on_the_tape_nor_for_a_consumer(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    broker = embedded_broker.embedded(tmp_path / "nats")
    url = await broker.__aenter__()
    port = int(url.rsplit(":", 1)[1])
    received: list[Trade] = []

    async def consume(client: Client) -> None:
        async for trade in client.trades("binance", "BTC/USDT"):
            received.append(trade)

    async with (
        pipeline(url, busy, tmp_path, ("streamer",)) as line,
        live.seeing(line.bus, BTC) as seen,
        AsyncExitStack() as connected,
    ):
        client = await connected.enter_async_context(connect(url))
        consumer = asyncio.create_task(consume(client))
        await seen.until(lambda: len(seen.trades) > RATE and len(received) > 0)
        await broker.__aexit__(None, None, None)
        async with embedded_broker.embedded(tmp_path / "nats", port=port):
            last = seen.ids[-1]
            await seen.until(lambda: seen.ids[-1] > last + 3 * RATE)
            tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
            await live.assert_received(received, tape)
            consumer.cancel()
            await asyncio.wait({consumer})
            # While there is a broker to say goodbye to.
            await connected.aclose()


async def test_kill_9_of_the_owner_loses_nothing_when_another_takes_over(
    broker: str, busy: SimulatorProcess, tmp_path: Path
) -> None:
    """By their names, the first of these has the feed before the second, and the third takes it from either."""
    async with pipeline(broker, busy, tmp_path, (), lease_ttl_s=SHORT_S) as line, live.seeing(line.bus, BTC) as seen:

        async def more(seconds: int) -> None:
            last = seen.ids[-1]
            await seen.until(lambda: seen.ids[-1] > last + seconds * RATE)

        for number, name in enumerate(("one", "two")):
            await line.start("streamer", number, "--instance", name)
            await line.started("streamer", number)
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        await live.owned_by(line.bus, BTC, "one")
        await line.kill("streamer", 0)
        await more(3)
        await live.owned_by(line.bus, BTC, "two")
        await line.start("streamer", 2, "--instance", "five")
        await live.owned_by(line.bus, BTC, "five")
        await more(1)
        await line.kill("streamer", 2)
        await more(3)
        await live.owned_by(line.bus, BTC, "two")
        tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
        assert seen.broken == []
        assert seen.ids[: len(tape.ids)] == tape.ids[: len(seen.ids)]


async def test_a_zombie_adds_nothing_to_any_public_subject(broker: str, busy: SimulatorProcess, tmp_path: Path) -> None:
    """By its name its successor goes before it, so that it has none of the feeds again either."""
    public: list[tuple[str, str]] = []
    """The subjects, and the instances that published to them."""
    starts: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def take(message: Msg) -> None:
        public.append((message.subject, (message.headers or {})["Tickwire-Publish"].split()[0]))
        if message.subject.startswith("md.status."):
            status = messages.decode(message.data, Status)
            if status.event == "starting":
                starts.put_nowait((status.kind, status.owner))

    feeds = [
        BTC,
        Feed("book", "binance", "BTC/USDT"),
        Feed("ticker", "binance", "BTC/USDT"),
        Feed("candle", "binance", "BTC/USDT", "1m"),
    ]

    async def owned_by(instance: str) -> None:
        async with asyncio.timeout(100):
            assert {await starts.get() for _ in feeds} == {(feed.kind, instance) for feed in feeds}

    async with pipeline(broker, busy, tmp_path, (), lease_ttl_s=SHORT_S) as line, live.seeing(line.bus, BTC) as seen:
        zombie = await line.start("streamer", 0, "--instance", "paused")
        await line.started("streamer", 0)
        await line.bus.client.subscribe("md.>", cb=take)
        for feed in feeds:
            await live.start(line.bus, feed)
        await owned_by("paused")
        await seen.until(lambda: len(seen.trades) > RATE)
        zombie.send_signal(signal.SIGSTOP)
        assert {instance for _, instance in public} == {"paused"}
        await line.start("streamer", 1, "--instance", "young")
        await owned_by("young")
        last = seen.ids[-1]
        await seen.until(lambda: seen.ids[-1] > last + RATE)
        taken_over = len(public)
        zombie.send_signal(signal.SIGCONT)
        last = seen.ids[-1]
        await seen.until(lambda: seen.ids[-1] > last + 4 * RATE)
        assert {subject.split(".")[1] for subject, _ in public[taken_over:]} >= {"trade", "book"}
        assert {instance for _, instance in public[taken_over:]} == {"young"}
        tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
        assert seen.ids[: len(tape.ids)] == tape.ids[: len(seen.ids)]


async def test_a_slow_consumer_sees_the_hole_and_reads_it_back(line: Pipeline) -> None:
    """By the sequence headers, without any client library."""
    async with live.seeing(line.bus, BTC) as seen:
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        before = seen.sequences[-1]
    # Away for as long as it takes for more trades to come.
    async with live.seeing(line.bus, BTC) as other:
        await other.until(lambda: len(other.trades) > RATE)
        first = other.sequences[0]
    missed = []
    sequence = before
    while True:
        message = await line.bus.jetstream.get_msg(
            place_of(BTC).stream, seq=sequence + 1, subject=place_of(BTC).subject, next=True
        )
        assert message.seq is not None
        if message.seq >= first:
            break
        sequence = message.seq
        missed += [int(trade.id or "") for trade in messages.decode(message.data or b"", Trades).trades]
    assert [*seen.ids, *missed, *other.ids] == list(range(seen.ids[0], other.ids[-1] + 1))
