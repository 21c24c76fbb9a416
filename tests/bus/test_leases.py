"""Leases over a real broker, held by tasks and by processes that are killed and paused."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from nats.js.errors import NoStreamResponseError

from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.bus.lease_view import weight
from tickwire.bus.leases import Epoch, Lease, Leases, open_leases, open_leases_unannounced
from tickwire.model import messages
from tickwire.model.messages import Instance, LeaseHolder
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

CONTENDER = Path(__file__).parent / "contender.py"
TTL_S = 1.0
# The names matter: "holder" outranks "standby" for the lease "k", so a newcomer of that name does not move it.


class Contender:
    """A contender process, and what it said so far."""

    def __init__(self, process: children.Process) -> None:
        self.process = process

    async def says(self, word: str) -> tuple[int, float]:
        """Wait for the next line that starts with `word`; its epoch and its time."""
        assert self.process.stdout is not None
        async with asyncio.timeout(100):
            async for line in self.process.stdout:
                said, epoch, at = line.decode().split()
                if said == word:
                    return int(epoch), float(at)
        raise AssertionError(f"it ended without saying {word}")


@asynccontextmanager
async def contender(url: str, instance: str, key: str = "k", ttl_s: float = TTL_S) -> AsyncIterator[Contender]:
    argv = [sys.executable, CONTENDER, url, instance, key, ttl_s]
    async with children.child([str(word) for word in argv], stdout=children.PIPE) as process:
        yield Contender(process)


@asynccontextmanager
async def instance(url: str, name: str) -> AsyncIterator[tuple[Bus, Leases]]:
    left = asyncio.Event()
    async with connect(NatsSettings(url=url), name=name) as bus, open_leases(bus, "test", name, TTL_S, left) as leases:
        yield bus, leases


async def until_released(lease: Lease) -> None:
    await lease.stop.wait()


async def eventually(leases: Leases, condition: object) -> None:
    """Wait until `condition()` holds; looked at after each change and each 50 ms."""
    assert callable(condition)
    async with asyncio.timeout(100):
        while not condition():
            try:
                async with asyncio.timeout(0.05):
                    await leases.changed()
            except TimeoutError:
                continue


async def test_a_lease_has_one_holder_at_a_time_among_many(bus: Bus, broker: str) -> None:
    inside = 0
    turns: list[str] = []
    stop = asyncio.Event()

    async def contend(name: str) -> None:
        async def body(lease: Lease) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            turns.append(name)
            await asyncio.sleep(0)
            inside -= 1
            if len(turns) >= 10:
                stop.set()

        async with instance(broker, name) as (_, leases):
            await leases.hold("k", body, stop)

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(contend(f"i{number}"))
    assert len(turns) >= 10


async def test_leases_spread_over_instances_and_move_little_when_one_joins(bus: Bus, broker: str) -> None:
    keys = [str(number) for number in range(16)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group, instance(broker, "one") as (_, one), instance(broker, "two") as (_, two):
        for leases in (one, two):
            await eventually(leases, lambda leases=leases: len(leases.members) == 2)
        for leases in (one, two):
            for key in keys:
                group.create_task(leases.hold(key, until_released, stop))
        await eventually(one, lambda: len(one.held) + len(two.held) == 16 and one.held and two.held)
        before = {key: "one" if key in one.held else "two" for key in keys}
        async with instance(broker, "three") as (_, three):
            for key in keys:
                group.create_task(three.hold(key, until_released, stop))
            await eventually(three, lambda: three.held)
            await eventually(three, lambda: len(one.held) + len(two.held) + len(three.held) == 16)
            after = {key: n for n, held in (("one", one), ("two", two), ("three", three)) for key in held.held}
            assert all(after[key] == before[key] or after[key] == "three" for key in after)
            stop.set()


async def test_the_epoch_grows_with_every_holder(bus: Bus, broker: str) -> None:
    epochs: list[Epoch] = []
    for name in ("one", "two", "one"):
        stop = asyncio.Event()

        async def body(lease: Lease, stop: asyncio.Event = stop) -> None:
            epochs.append(lease.epoch)
            stop.set()

        async with instance(broker, name) as (_, leases):
            await leases.hold("k", body, stop)
    assert epochs == sorted(set(epochs))


async def test_a_lease_gained_and_neither_released_nor_lost_is_held_after_a_cancellation(bus: Bus, broker: str) -> None:
    async with instance(broker, "one") as (_, one):
        stop = asyncio.Event()
        holding = {key: asyncio.ensure_future(one.hold(key, until_released, stop)) for key in "abc"}
        await eventually(one, lambda: len(one.held) == 3)
        holding["a"].cancel()
        await asyncio.wait({holding["a"]})
        assert one.held.keys() == {"b", "c"}
        assert one.changes == {"gained": 3, "given_up": 1, "lost": 0}
        stop.set()
        await asyncio.wait({holding["b"], holding["c"]})
        assert one.changes == {"gained": 3, "given_up": 3, "lost": 0}


async def test_a_failure_of_the_body_is_raised_and_frees_the_lease(bus: Bus, broker: str) -> None:
    async def broken(lease: Lease) -> None:
        raise ZeroDivisionError

    async with instance(broker, "one") as (_, one):
        with pytest.raises(ZeroDivisionError):
            await one.hold("k", broken, asyncio.Event())
        stop = asyncio.Event()

        async def body(lease: Lease) -> None:
            stop.set()

        async with instance(broker, "two") as (_, two), asyncio.timeout(100):
            await two.hold("k", body, stop)


async def test_a_graceful_end_hands_over_at_once(bus: Bus, broker: str) -> None:
    ttl_s = 20.0
    async with contender(broker, "holder", ttl_s=ttl_s) as one:
        await one.says("held")
        async with contender(broker, "standby", ttl_s=ttl_s) as two:
            await two.says("joined")
            one.process.send_signal(signal.SIGTERM)
            _, released = await one.says("released")
            _, held = await two.says("held")
            # By expiry it would be three quarters of the TTL at least.
            assert held - released < ttl_s / 2
            assert await one.process.wait() == 0


async def test_after_kill_9_another_takes_over_soon_after_the_ttl(bus: Bus, broker: str) -> None:
    async with contender(broker, "holder") as one:
        epoch, _ = await one.says("held")
        async with contender(broker, "standby") as two:
            await two.says("joined")
            one.process.kill()
            killed = time.time()
            later, held = await two.says("held")
            assert later > epoch
            # The TTL, and what a busy machine takes.
            assert held - killed < 30 * TTL_S


async def test_a_paused_holder_finds_itself_replaced_when_it_continues(bus: Bus, broker: str) -> None:
    async with contender(broker, "holder") as one:
        epoch, _ = await one.says("held")
        async with contender(broker, "standby") as two:
            await two.says("joined")
            one.process.send_signal(signal.SIGSTOP)
            later, _ = await two.says("held")
            one.process.send_signal(signal.SIGCONT)
            assert (await one.says("lost"))[0] == epoch < later


async def test_a_holder_cut_off_from_the_broker_stops_by_itself_and_claims_again_after(tmp_path: Path) -> None:
    # It stops at 0.8 of the TTL: a long one leaves a busy machine a second.
    ttl_s = 5.0
    async with embedded_broker.embedded(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1])
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, ttl_s)
        stack = contender(url, "one", ttl_s=ttl_s)
        one = await stack.__aenter__()
        epoch, _ = await one.says("held")
    stopped = time.time()
    _, lost = await one.says("lost")
    assert lost - stopped < ttl_s
    async with embedded_broker.embedded(tmp_path, port=port):
        later, _ = await one.says("held")
        assert later > epoch
        await stack.__aexit__(None, None, None)


async def test_a_lease_is_written_once_and_says_since_when_it_is_held(bus: Bus, broker: str) -> None:
    written: list[LeaseHolder] = []
    renewals: asyncio.Queue[Instance] = asyncio.Queue()

    async def observe(message: Msg) -> None:
        # The lease given up is an entry without a holder.
        if message.data and ".lease." in message.subject:
            written.append(messages.decode(message.data, LeaseHolder))
        elif message.data:
            renewals.put_nowait(messages.decode(message.data, Instance))

    await bus.subscribe_ordered("$KV.LEASES.test.>", "KV_LEASES", observe)
    stop = asyncio.Event()

    async def body(lease: Lease) -> None:
        async with asyncio.timeout(100):
            while not written:
                await renewals.get()
            sessions = {(await renewals.get()).session for _ in range(8)} - {0}
        assert [(each.holder, each.since, {each.session}) for each in written] == [("one", lease.since, sessions)]
        stop.set()

    async with instance(broker, "one") as (_, leases):
        await leases.hold("k", body, stop)


async def test_an_expired_lease_whose_marker_is_the_last_entry_can_be_claimed(bus: Bus, broker: str) -> None:
    subject = "$KV.LEASES.test.lease.k"
    await bus.jetstream.publish(subject, b'{"holder":"dead","since":0}', headers={"Nats-TTL": "1"})
    reasons: asyncio.Queue[str] = asyncio.Queue()

    async def observe(message: object) -> None:
        reasons.put_nowait((getattr(message, "headers", None) or {}).get("Nats-Marker-Reason", ""))

    await bus.subscribe_ordered(subject, "KV_LEASES", observe)
    async with asyncio.timeout(100):
        while await reasons.get() != "MaxAge":
            pass
    stop = asyncio.Event()

    async def body(lease: Lease) -> None:
        stop.set()

    async with asyncio.timeout(100), instance(broker, "one") as (_, leases):
        await leases.hold("k", body, stop)


async def test_a_lease_whose_end_was_not_delivered_is_found_by_asking(bus: Bus, broker: str) -> None:
    """As when the broker was away for longer than it keeps the marker of a release; the session lives on."""
    key = next(key for n in range(99) if weight("holder", key := f"k{n}") > weight("waiting", key))
    stop = asyncio.Event()
    async with (
        instance(broker, "holder") as (_, one),
        instance(broker, "waiting") as (_, two),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(one.hold(key, until_released, stop))
        await eventually(one, lambda: key in one.held)
        group.create_task(two.hold(key, until_released, stop))
        await eventually(two, lambda: two.holder(key) == "holder")
        await bus.jetstream.purge_stream("KV_LEASES", subject=f"$KV.LEASES.test.lease.{key}")
        await eventually(two, lambda: key in two.held)
        await eventually(one, lambda: key not in one.held)
        stop.set()


async def test_a_renewal_that_no_stream_takes_is_sent_again_before_the_next(bus: Bus, broker: str) -> None:
    """As by a broker that starts: it is connected before it has its streams. Here the bucket has another subject."""
    config = (await bus.jetstream.stream_info("KV_LEASES")).config
    async with (
        connect(NatsSettings(url=broker), name="one") as own,
        open_leases_unannounced(own, "test", "one", 60.0, asyncio.Event()) as leases,
    ):
        await leases.session.opened.wait()
        await bus.jetstream.update_stream(config, subjects=["elsewhere"])
        renewing = asyncio.create_task(leases.session.announce(claims=True))
        later = asyncio.create_task(own.publisher.publish("$KV.LEASES.x", b"", headers={}, timeout_s=60.0))
        with pytest.raises(NoStreamResponseError):
            # Sent after the renewal, so that one was refused, too.
            await later
        await bus.jetstream.update_stream(config)
        await renewing
        last = await bus.jetstream.get_last_msg("KV_LEASES", "$KV.LEASES.test.instance.one")
        assert messages.decode(last.data or b"", Instance).claims
