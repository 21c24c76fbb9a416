"""A trade feed against a real broker: each trade once, in order, over cuts, holes, bursts and a killed broker."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path

import psutil
import pytest
from ccxt.base import errors

from support.feeds import ScriptedVenue
from support.trading import START, Rest, trade, trades
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BrokerUnavailable
from tickwire.model.feeds import Trade
from tickwire.settings import NatsSettings, StreamerSettings
from tickwire.venues.dialect import NoTrade
from trades.trade_feed import consecutive, push, running, witness

pytestmark = pytest.mark.actors


async def test_a_new_tape_begins_with_the_first_live_trade_and_asks_for_nothing(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        await seen.until(lambda: len(seen.messages) == 1)
        assert seen.messages[0].trades == [], "the marker of a new owner"
        push(body.sink, trades(50, 60))
        await seen.until(lambda: consecutive(seen, 50, 60))
        assert body.state == "live"
        assert venue.rest.calls == []
        assert seen.trades == trades(50, 60)
        assert seen.messages[-1].until == trade(59).timestamp
        await body.stop()
        await seen.until(lambda: "stopped" in seen.events())
        assert seen.events() == ["starting", "connected", "stopped"]
        assert venue.left.is_set()


async def test_trades_of_a_disconnection_are_fetched_before_the_live_ones_go_on(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 1000)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        assert body.state == "disconnected"
        body.sink.connected()
        push(body.sink, trades(600, 900))
        await seen.until(lambda: consecutive(seen, 0, 900) or consecutive(seen, 0, 1000))
        await seen.until(lambda: "repaired" in seen.events())
        assert seen.events() == ["starting", "connected", "disconnected", "connected", "repaired"]
        assert body.context.status.reconnects == 1
        assert body.state == "live"


async def test_a_hole_in_the_ids_is_repaired_without_a_disconnection(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 100)))
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [*trades(0, 40), *trades(45, 60)])
        await seen.until(lambda: consecutive(seen, 0, 60) or consecutive(seen, 0, 100))
        assert seen.gaps == []


async def test_an_id_that_was_given_to_no_trade_is_neither_on_the_tape_nor_missing(bus: Bus) -> None:
    venue = ScriptedVenue(Rest([each for each in trades(0, 100) if each.id not in ("0", "30", "31", "59")]))

    def unused(place: int) -> NoTrade:
        return NoTrade(id=str(place), timestamp=trade(place).timestamp)

    happened: list[Trade] = trades(0, 60)
    for place in (0, 30, 31, 59):
        happened[place] = unused(place)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, happened, frame=1)
        push(body.sink, trades(60, 70))
        await seen.until(lambda: bool(seen.trades) and seen.trades[-1].id == "69")
        assert seen.trades == [*trades(1, 30), *trades(32, 59), *trades(60, 70)]
        assert seen.gaps == []
        assert venue.rest.calls == []
        assert body.state == "live"
        assert all(message.trades for message in seen.messages[1:]), "a message about nothing"


async def test_trades_that_the_exchange_repeats_are_counted_and_not_on_the_tape(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    async with witness(bus) as seen, running(bus, venue) as body:
        for start in range(0, 100, 5):
            push(body.sink, trades(max(0, start - 20), start + 5))
        await seen.until(lambda: consecutive(seen, 0, 100))
        # Each of the frames but the first ones repeats 20 trades.
        assert body.context.status.duplicates == 5 + 10 + 15 + 16 * 20


async def test_ids_that_are_no_numbers_are_counted_and_told_and_the_feed_goes_on(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    odd = Trade(id="odd", timestamp=START, side=None, price=1.0, amount=1.0)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, [trade(0), odd, odd, trade(1)])
        for _ in range(50):
            body.sink.rejected("broken frame")
        push(body.sink, [trade(2)])
        await seen.until(lambda: consecutive(seen, 0, 3) and "rejected" in seen.events())
        assert body.context.status.rejected == 52
        assert seen.events().count("rejected") == 1, "not said more than once a second"


async def test_a_burst_of_20000_trades_is_on_the_tape_in_order(bus: Bus) -> None:
    venue = ScriptedVenue(Rest())
    async with witness(bus) as seen, running(bus, venue) as body:
        for start in range(0, 20_000, 20):
            push(body.sink, trades(start, start + 20), frame=1)
            await asyncio.sleep(0)
        await seen.until(lambda: len(seen.ids) >= 20_000)
        assert consecutive(seen, 0, 20_000)
        assert venue.rest.calls == []


async def test_a_broker_that_is_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """Some confirmations are lost, some publishes arrive twice, and for a while nobody answers at all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    venue = ScriptedVenue(Rest())
    sent = 0
    async with asyncio.TaskGroup() as group:
        up, dead = asyncio.Event(), asyncio.Event()

        async def serve() -> None:
            while True:
                try:
                    async with embedded.embedded(tmp_path / "nats", port=port):
                        dead.clear()
                        up.set()
                        await asyncio.Event().wait()
                except BrokerUnavailable:
                    up.clear()
                    dead.set()

        serving = group.create_task(serve())
        await up.wait()
        async with connect(NatsSettings(url=f"nats://127.0.0.1:{port}"), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            async with witness(bus) as seen, running(bus, venue) as body:
                for _ in range(3):
                    enough = sent + 300
                    while not seen.ids or seen.ids[-1] < enough:
                        push(body.sink, trades(sent, sent + 3), frame=1)
                        sent += 3
                        await asyncio.sleep(0.001)
                    (server,) = [p for p in psutil.Process().children(recursive=True) if p.name() == "nats-server"]
                    server.kill()
                    await dead.wait()
                    push(body.sink, trades(sent, sent + 50))
                    sent += 50
                    await up.wait()
                await seen.until(lambda: seen.ids[-1] == sent - 1, timeout_s=30)
                assert consecutive(seen, 0, sent)
                assert venue.rest.calls == []
        serving.cancel()


@pytest.mark.parametrize("sequential_ids", [True, False])
@pytest.mark.parametrize("seed", range(4))
async def test_an_unreliable_exchange_is_followed_trade_by_trade(bus: Bus, sequential_ids: bool, seed: int) -> None:
    """Cuts, repetitions, snapshots after reconnects, REST that fails and lags: 6,000 trades, each once, in order."""
    chance = random.Random(seed)
    venue = ScriptedVenue(Rest(page=200), sequential_ids=sequential_ids)
    known: list[Trade] = []
    kinds = [errors.NetworkError, errors.RateLimitExceeded, errors.ExchangeNotAvailable, errors.RequestTimeout]
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        connected = True
        for start in range(0, 6000, 20):
            now = trades(start, start + 20)
            known += now
            # REST shows what the socket showed a frame ago, or so.
            venue.rest.happened = known[: len(known) - chance.choice([0, 0, 20, 40])]
            if chance.random() < 0.1:
                venue.rest.script = [chance.choice(kinds)("scripted") for _ in range(chance.randrange(3))]
            if connected and start and chance.random() < 0.08:
                body.sink.disconnected("cut")
                connected = False
            elif not connected and chance.random() < 0.3:
                body.sink.connected()
                connected = True
                body.sink.take(known[-chance.randrange(20, 60) :], 1)
            elif connected:
                again = chance.choice([0, 0, 0, 7, 30]) if start else 0
                body.sink.take(known[max(0, len(known) - 20 - again) :], 1)
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
        venue.rest.happened, venue.rest.script = known, []
        if not connected:
            body.sink.connected()
        await seen.until(lambda: seen.ids[-1:] == [5999])
        assert consecutive(seen, 0, 6000)
        assert seen.gaps == []
