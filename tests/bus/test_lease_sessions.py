"""Leases depend on the session of their holder: what it costs, how it ends, and what older versions hold."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.wires import wire as carried
from tickwire.bus.connection import Bus, connect
from tickwire.bus.lease_view import weight
from tickwire.bus.leases import TTLS_PER_QUESTION, Lease, Leases, open_leases, open_leases_unannounced
from tickwire.errors import Fenced
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

CONTENDER = Path(__file__).parent / "contender.py"
BUCKET = "KV_LEASES"
LONG_S = 30.0
"""A TTL that no test waits for."""


@asynccontextmanager
async def joined(url: str, name: str, ttl_s: float, joins: Any = open_leases) -> AsyncIterator[Leases]:
    stop = asyncio.Event()
    async with connect(NatsSettings(url=url), name=name) as bus, joins(bus, "test", name, ttl_s, stop) as leases:
        yield leases


class Contender:
    """A contender process, and what it says: a word, an epoch and a time."""

    def __init__(self, process: children.Process) -> None:
        self.process = process

    async def lines(self) -> AsyncIterator[tuple[str, int, float]]:
        assert self.process.stdout is not None
        async with asyncio.timeout(100):
            async for line in self.process.stdout:
                word, epoch, at = line.decode().split()
                yield word, int(epoch), float(at)

    async def says(self, word: str, times: int = 1) -> list[int]:
        """The epochs of the next lines with a word."""
        found: list[int] = []
        async for each, epoch, _ in self.lines():
            found += [epoch] if each == word else []
            if len(found) == times:
                return found
        raise AssertionError(f"it ended without saying {word}")


@asynccontextmanager
async def contender(url: str, name: str, keys: list[str], ttl_s: float, *step_s: float) -> AsyncIterator[Contender]:
    argv = [str(each) for each in (sys.executable, CONTENDER, url, name, ",".join(keys), ttl_s, *step_s)]
    async with children.child(argv, stdout=children.PIPE) as process:
        yield Contender(process)


async def until_released(lease: Lease) -> None:
    await lease.stop.wait()


async def until(condition: object, timeout_s: float = 100) -> None:
    assert callable(condition)
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


async def last_sequence(bus: Bus) -> int:
    return (await bus.jetstream.stream_info(BUCKET)).state.last_seq


async def renewed(bus: Bus) -> None:
    """Wait until something is written."""
    before = await last_sequence(bus)
    while await last_sequence(bus) == before:
        await asyncio.sleep(0.02)


async def test_what_renewing_costs_grows_with_instances_and_not_with_leases(bus: Bus, broker: str) -> None:
    ttl_s, ttls, instances = 10.0, 1, 2
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    async with joined(broker, "one", ttl_s) as one, joined(broker, "two", ttl_s) as two, asyncio.TaskGroup() as group:
        await until(lambda: len(one.members) == len(two.members) == 2)
        for leases in (one, two):
            for number in range(500):
                group.create_task(leases.hold(str(number), until_released, stop))
        await until(lambda: len(one.held) + len(two.held) == 500)
        before, began = await last_sequence(bus), loop.time()
        await asyncio.sleep(ttls * ttl_s)
        written, passed = await last_sequence(bus) - before, (loop.time() - began) / ttl_s
        assert len(one.held) + len(two.held) == 500
        stop.set()
    # Each renews four times in a TTL; once more when its turn comes at both ends.
    assert instances * ttls <= written <= instances * (4 * passed + 2)


async def test_a_suspended_holder_loses_everything_before_it_does_anything(bus: Bus, broker: str) -> None:
    keys, ttl_s, step_s = keys_of("holder", "standby", 8), 4.0, 1.0
    async with contender(broker, "holder", keys, ttl_s, step_s) as one:
        held = await one.says("held", len(keys))
        async with contender(broker, "standby", keys, ttl_s) as two:
            await two.says("joined")
            # Suspended while it waits, between two rounds of work.
            await one.says("step", len(keys))
            one.process.send_signal(signal.SIGSTOP)
            later = await two.says("held", len(keys))
            continued = time.time()
            one.process.send_signal(signal.SIGCONT)
            ends: list[int] = []
            async for word, epoch, at in one.lines():
                if at > continued:
                    assert word == "lost", "it went on working"
                    ends.append(epoch)
                if len(ends) == len(keys):
                    break
            assert sorted(ends) == sorted(held)
            assert max(held) < min(later)


async def test_a_process_restarted_under_its_name_takes_its_leases_at_once(bus: Bus, broker: str) -> None:
    async with contender(broker, "same", ["k"], LONG_S) as one:
        (first,) = await one.says("held")
        async with contender(broker, "same", ["k"], LONG_S) as two, asyncio.timeout(LONG_S / 2):
            (second,) = await two.says("held")
            # It lives after all.
            assert await one.says("lost") == [first]
            assert first < second


async def test_two_processes_of_one_name_do_not_take_turns(bus: Bus, broker: str) -> None:
    async with contender(broker, "same", ["k"], 2.0) as one:
        (first,) = await one.says("held")
        async with contender(broker, "same", ["k"], 2.0) as two:
            (second,) = await two.says("held")
            assert await one.says("lost") == [first]
            for _ in range(12):
                await renewed(bus)
            two.process.send_signal(signal.SIGTERM)
            assert await two.says("released") == [second]
        (third,) = await one.says("held")
        assert second < third


async def test_an_instance_that_is_slow_to_claim_gets_its_leases_once_it_does(bus: Bus, broker: str) -> None:
    """Nobody counts on it before: it would have let its turn pass."""
    keys, stop = keys_of("slow", "quick", 4), asyncio.Event()
    async with joined(broker, "slow", 2.0, open_leases_unannounced) as slow, joined(broker, "quick", 2.0) as quick:
        await until(lambda: "quick" in slow.members)
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(quick.hold(key, until_released, stop))
            await until(lambda: len(quick.held) == 4)
            for key in keys:
                group.create_task(slow.hold(key, until_released, stop))
            await slow.session.announce(claims=True)
            await until(lambda: len(slow.held) == 4)
            stop.set()


async def test_a_lease_of_a_session_that_nobody_has_is_free_at_once(bus: Bus, broker: str) -> None:
    await bus.jetstream.publish("$KV.LEASES.test.lease.k", b'{"holder":"dead","since":0,"session":1}')
    stop = asyncio.Event()

    async def body(lease: Lease) -> None:
        stop.set()

    async with joined(broker, "one", LONG_S) as one, asyncio.timeout(LONG_S / 4):
        await one.hold("k", body, stop)


async def test_a_session_that_ended_without_a_marker_frees_its_leases(bus: Bus, broker: str) -> None:
    """As when the broker was away for longer than it keeps the marker."""
    keys, stop = keys_of("holder", "standby", 3), asyncio.Event()
    async with contender(broker, "holder", keys, 2.0) as one:
        await one.says("held", 3)
        async with joined(broker, "standby", 2.0) as two, asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(two.hold(key, until_released, stop))
            await until(lambda: {two.holder(key) for key in keys} == {"holder"})
            one.process.send_signal(signal.SIGSTOP)
            await bus.jetstream.purge_stream(BUCKET, subject="$KV.LEASES.test.instance.holder")
            await until(lambda: len(two.held) == 3, timeout_s=2.0 * TTLS_PER_QUESTION * 0.9)
            one.process.send_signal(signal.SIGCONT)
            await one.says("lost", 3)
            stop.set()


@pytest.mark.parametrize("taken", ["lease.k", "instance.one"])
async def test_a_lease_is_confirmed_only_with_its_entry_and_its_session(bus: Bus, broker: str, taken: str) -> None:
    stop = asyncio.Event()

    async def body(lease: Lease) -> None:
        await one.confirm("k")
        # Without a marker: the holder cannot know.
        await bus.jetstream.purge_stream(BUCKET, subject=f"$KV.LEASES.test.{taken}")
        with pytest.raises(Fenced):
            await one.confirm("k")
        stop.set()

    async with joined(broker, "one", LONG_S) as one, asyncio.timeout(100):
        await one.hold("k", body, stop)


async def test_a_lease_that_another_entry_replaced_is_lost_alone(bus: Bus, broker: str) -> None:
    stop = asyncio.Event()
    async with joined(broker, "one", LONG_S) as one, asyncio.TaskGroup() as group:
        for key in "ab":
            group.create_task(one.hold(key, until_released, stop))
        await until(lambda: len(one.held) == 2)
        await bus.jetstream.publish("$KV.LEASES.test.lease.a", b'{"holder":"old","since":0}')
        await until(lambda: one.changes["lost"])
        assert one.held.keys() == {"b"}
        assert one.holder("a") == "old"
        stop.set()


async def test_a_lease_whose_contention_was_cancelled_is_free_while_its_session_lives(bus: Bus, broker: str) -> None:
    stop = asyncio.Event()
    async with joined(broker, "one", 2.0) as one, joined(broker, "two", 2.0) as two, asyncio.TaskGroup() as group:
        holding = asyncio.ensure_future(one.hold("k", until_released, asyncio.Event()))
        await until(lambda: one.held)
        holding.cancel()
        group.create_task(two.hold("k", until_released, stop))
        await until(lambda: two.held)
        assert two.members == {"one", "two"}
        stop.set()


async def test_what_older_versions_hold_is_theirs_while_they_renew_it(bus: Bus, broker: str) -> None:
    """Their entries have no session and no TTL, and the bucket had one for all of them."""
    stop, ttl_s = asyncio.Event(), 3.0

    async def renew() -> None:
        await bus.jetstream.publish("$KV.LEASES.test.lease.k", b'{"holder":"old","since":0}')
        old = b'{"instance":"old","service":"test","host":"h","pid":1,"started":0}'
        await bus.jetstream.publish("$KV.LEASES.test.instance.old", old)

    await renew()
    async with joined(broker, "one", ttl_s) as one, asyncio.TaskGroup() as group:
        group.create_task(one.hold("k", until_released, stop))
        for _ in range(8):
            await renew()
            await asyncio.sleep(ttl_s / 5)
            assert not one.held
        assert (one.members, one.holder("k")) == ({"old", "one"}, "old")
        await until(lambda: one.held and one.members == {"one"})
        stop.set()


async def test_renewals_that_arrive_late_and_together_lose_nothing(bus: Bus, broker: str) -> None:
    """What one sent in vain is stored after all, and the next ones name an entry that is no longer the last."""

    def under_way() -> int:
        return sum("Session._renew" in repr(each.get_coro()) for each in asyncio.all_tasks())

    stop, ttl_s = asyncio.Event(), 12.0
    async with carried(broker) as wire, joined(wire.url, "one", ttl_s) as one, asyncio.TaskGroup() as group:
        group.create_task(one.hold("k", until_released, stop))
        await until(lambda: one.held)
        await renewed(bus)
        wire.hold()
        await until(lambda: under_way() == 2)
        wire.let_go()
        for _ in range(3):
            await renewed(bus)
        assert one.changes == {"gained": 1, "given_up": 0, "lost": 0}
        stop.set()


async def test_a_session_that_is_acknowledged_too_late_is_not_begun(
    bus: Bus, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be lost before its first renewal."""
    ttl_s, shares = 6.0, (0.55, 0.65, 0.75)

    async def late(share: float) -> None:
        async with carried(broker) as wire, joined(wire.url, f"late-{share}", ttl_s) as leases:
            await until(lambda: leases.session.id)
            wire.hold()
            await until(lambda: not leases.session.id)
            await asyncio.sleep(share * ttl_s)
            wire.let_go()
            await until(lambda: leases.session.id)
            opened = leases.session.id
            await asyncio.sleep(ttl_s / 2)
            assert leases.session.id == opened

    # Side by side, so that the TTL, of which a begun session has a quarter left, may be long.
    await asyncio.gather(*map(late, shares))
    assert caplog.text.count("session lost") == len(shares)


def keys_of(first: str, second: str, count: int) -> list[str]:
    """Names of leases that the first instance claims before the second, which moves none of them."""
    names = map(str, range(1000))
    return [key for key in names if weight(first, key) > weight(second, key)][:count]


async def test_a_session_that_ends_with_an_error_is_not_reported_lost_later(
    bus: Bus, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of a service which starts anew in the same process, because its broker has changed."""

    class Changed(Exception):
        pass

    with pytest.raises(ExceptionGroup):
        async with joined(broker, "one", 1.0) as leases:
            await leases.session.opened.wait()
            raise Changed
    async with joined(broker, "two", 1.0) as others:
        await others.known.wait()
        assert "one" in others.members
        # By then that of the first would have been denied.
        while "one" in others.members:
            await others.changed()
    assert "session lost" not in caplog.text


async def test_a_session_that_the_broker_is_late_to_expire_is_ended_by_the_others(bus: Bus, broker: str) -> None:
    """A broker whose clock is set back by an hour expires what was written before an hour late; here: never."""
    dead = b'{"instance":"dead","service":"test","host":"h","pid":1,"started":0}'
    ack = await bus.jetstream.publish("$KV.LEASES.test.instance.dead", dead, headers={"Nats-TTL": "never"})
    await bus.jetstream.publish("$KV.LEASES.test.lease.key", b'{"holder":"dead","since":0,"session":%d}' % ack.seq)
    async with joined(broker, "one", 1.0) as leases:
        held = asyncio.Event()

        async def work(lease: Lease) -> None:
            held.set()
            await lease.stop.wait()

        stop = asyncio.Event()
        holding = asyncio.create_task(leases.hold("key", work, stop))
        async with asyncio.timeout(100):
            await held.wait()
        assert leases.members == {"one"}
        stop.set()
        await holding
