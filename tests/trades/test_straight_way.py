"""Trades that arrive in order while a feed has nothing else to do are appended in the turn in which they arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.brokers import Server
from support.feeds import Running, ScriptedVenue, Witness
from support.ports import free_port
from support.trading import Rest, trades
from support.wires import wire
from tape.places import TRADES_STREAM
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.settings import NatsSettings
from tickwire.tape.partition_writer import MOST
from tickwire.venues.dialect import NoTrade
from trades.trade_feed import consecutive, push, running, witness

pytestmark = pytest.mark.actors


def in_flight(body: Running) -> int:
    """Messages of the feed's partition that are not known to be stored."""
    return body.context.slot_tape.writers[TRADES_STREAM].in_flight


async def live(body: Running, seen: Witness, count: int) -> None:
    """Trades up to `count` are on the tape, and the feed waits for more."""
    push(body.sink, trades(0, count))
    await seen.until(lambda: consecutive(seen, 0, count))
    await acknowledged(body, count)
    assert body.state == "live"


async def acknowledged(body: Running, count: int) -> None:
    """So many trades are known to be stored. In the same turn the feed waits for more."""
    async with asyncio.timeout(60):
        while body.context.status.items < count or in_flight(body):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sequential", [True, False], ids=["by id", "by content"])
async def test_a_trade_of_a_quiet_feed_is_sent_in_the_turn_in_which_it_arrives(bus: Bus, sequential: bool) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)), sequential_ids=sequential)
    async with witness(bus) as seen, running(bus, venue) as body:
        await live(body, seen, 10)
        for number in range(10, 20):
            before = in_flight(body)
            push(body.sink, trades(number, number + 1))
            assert in_flight(body) == before + 1
            await acknowledged(body, number + 1)
        await seen.until(lambda: consecutive(seen, 0, 20))


async def test_frames_are_in_flight_side_by_side_and_the_rest_follows_in_larger_messages(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 7000)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await live(body, seen, 10)
        before, already = len(seen.messages), in_flight(body)
        push(body.sink, trades(10, 1000), frame=1)
        assert in_flight(body) - already == 990
        push(body.sink, trades(1000, 6000), frame=1)
        assert in_flight(body) == MOST
        await seen.until(lambda: consecutive(seen, 0, 6000))
        assert len(seen.messages) - before < MOST + 100
        await body.counted(lambda status: status.items == 6000)


async def test_a_hole_shows_and_is_repaired_though_the_feed_was_waiting(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 16)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await live(body, seen, 10)
        push(body.sink, trades(15, 16))
        await seen.until(lambda: consecutive(seen, 0, 16))
        await body.counted(lambda status: status.repaired == 5)
        push(body.sink, trades(16, 18))
        await seen.until(lambda: consecutive(seen, 0, 18))


async def test_repetitions_and_ids_without_a_trade_add_nothing(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await live(body, seen, 10)
        push(body.sink, trades(5, 10))
        last = trades(9, 10)[0]
        body.sink.take([NoTrade(id="10", timestamp=last.timestamp)], last.timestamp)
        push(body.sink, trades(11, 13))
        await seen.until(lambda: seen.ids == [*range(10), 11, 12])
        assert body.context.status.duplicates == 5


async def test_a_feed_that_stops_at_once_has_appended_all_that_arrived(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await live(body, seen, 10)
        push(body.sink, trades(10, 13), frame=1)
        await body.stop()
        await seen.until(lambda: consecutive(seen, 0, 13))


async def test_an_acknowledgement_that_is_lost_with_the_connection_loses_no_trade(bus: Bus, broker: str) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with (
        wire(broker) as line,
        connect(NatsSettings(url=line.url), name="wired") as far,
        witness(bus) as seen,
        running(far, venue) as body,
    ):
        await live(body, seen, 10)
        for number in range(10, 14):
            push(body.sink, trades(number, number + 1))
            line.drop()
            await acknowledged(body, number + 1)
        await seen.until(lambda: consecutive(seen, 0, 14))
        assert venue.rest.calls == []


@pytest.mark.parametrize("frame", [2000, 500], ids=["one frame", "several"])
async def test_a_broker_that_takes_small_messages_gets_every_trade_once(tmp_path: Path, frame: int) -> None:
    port = free_port()
    config = tmp_path / "small.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\nmax_payload: 32KB\njetstream {{ store_dir: "{tmp_path}/js" }}\n')
    venue = ScriptedVenue(Rest(trades(0, 3000)))
    async with Server(tmp_path, config, port) as server, connect(NatsSettings(url=server.url), name="test") as bus:
        await streams.declare(bus.jetstream, 8, 2.0)
        async with witness(bus) as seen, running(bus, venue) as body:
            await live(body, seen, 10)
            push(body.sink, trades(10, 2010), frame=frame)
            await seen.until(lambda: consecutive(seen, 0, 2010))
            assert body.context.status.rejected == 0
