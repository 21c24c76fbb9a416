"""Owns slots of the tape, and runs the wanted feeds of those that this instance owns."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from tickwire.bus.leases import Lease, Leases
from tickwire.errors import Fenced
from tickwire.model.feeds import KINDS, Feed, FeedReport
from tickwire.model.subjects import tape_partition_of
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.process.heap import Heap
from tickwire.streamer.control.feed_runner import FeedRunner, SupervisedFeed, log_failure
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.control.interests import Interests
from tickwire.streamer.control.slot_tape import SlotTape, open_slot_tape
from tickwire.tape.partition_writer import PartitionWriter
from tickwire.task_group import TaskGroup

log = logs.get(__name__)


END_S = 10.0
"""How long a slot may take to end gracefully: while its tape stores nothing that would be for ever."""


@lru_cache(maxsize=65_536)
def slot_of(feed: Feed, partitions: int) -> str:
    """The name of the lease of a feed's slot: the partition of its market on the tape."""
    return f"slot.{tape_partition_of(feed.exchange, feed.symbol, partitions)}"


@dataclass(frozen=True)
class _Slot:
    """A slot that this instance owns, and the tasks of its feeds."""

    lease: Lease
    feeds: TaskGroup
    tape: SlotTape


class FeedSupervisor:
    """The slots and the feeds of this instance. Feeds here have no timeframe.

    All feeds of a market are in one slot. A feed that fails does so alone; a slot that is lost takes all its feeds.
    """

    def __init__(self, interests: Interests, leases: Leases, runner: FeedRunner, partitions: int, heap: Heap) -> None:
        self._interests = interests
        self._leases = leases
        self._runner = runner
        self._partitions = partitions
        self._heap = heap
        self._slots: dict[str, _Slot] = {}
        self._feeds: dict[Feed, SupervisedFeed] = {}
        self._wanted: defaultdict[str, set[Feed]] = defaultdict(set)
        """By slot, whoever owns it."""

    async def own_slots(self, stop: asyncio.Event) -> None:
        """Contend for every slot, and run the feeds of those that are won, until `stop`; then end them gracefully."""
        await self._until_no_older(stop)
        async with lifecycle.unwrapped(), TaskGroup() as group:
            for number in range(self._partitions):
                hold = partial(self._leases.hold, f"slot.{number}", self._own, stop, slot=number)
                group.create_task(bulkhead(hold, stop, failed=partial(_log_slot_failure, number)))
            # Not before: an instance that lets its turn pass does not get a lease later.
            if not stop.is_set():
                await self._leases.session.announce(claims=True)

    async def _until_no_older(self, stop: asyncio.Event) -> None:
        """Wait while streamers of a version before slots run: they own each feed by itself, and keep all of them."""
        await lifecycle.unless_stopped(stop, self._leases.known.wait())
        if older := self._leases.older:
            log.warning("streamers of an older version keep the feeds until the last of them ends", instances=older)
        while self._leases.older and not stop.is_set():
            await lifecycle.unless_stopped(stop, self._leases.changed())

    def reconcile(self, feed: Feed) -> None:
        """Start, update or stop a feed according to the interests in it, if this instance owns its slot."""
        key = slot_of(feed, self._partitions)
        supervised, slot = self._feeds.get(feed), self._slots.get(key)
        is_wanted = self._interests.wanted(feed)
        if is_wanted:
            self._wanted[key].add(feed)
        else:
            self._wanted[key].discard(feed)
        if slot is None or not is_wanted:
            if supervised is not None:
                supervised.stop.set()
            return
        demand = self._interests.demand(feed)
        if supervised is not None:
            supervised.demand.update(demand)
            return
        supervised = SupervisedFeed(feed, demand)
        # A slot that was lost starts no feeds while those that run are cancelled. Its next owner starts all of them.
        if lifecycle.start(slot.feeds, self._run(supervised, slot)) is not None:
            self._feeds[feed] = supervised
            self._heap.began()

    def statuses(self) -> Iterator[FeedStatus]:
        """The statuses of the feeds that this instance runs."""
        return (each.status for each in self._feeds.values() if each.status is not None)

    def reports(self, exchange: str | None, symbol: str | None = None) -> Iterator[FeedReport]:
        """The feeds that this instance runs: all, those of an exchange or of a symbol; of candles, each timeframe.

        Feeds may start and end between two of them.
        """
        feeds: Iterable[Feed] = [*self._feeds]
        if exchange is not None and symbol is not None:
            # Not a search: whoever renews an interest gets the report of its feed.
            feeds = [Feed(kind, exchange, symbol) for kind in KINDS]
        for feed in feeds:
            if exchange in (None, feed.exchange) and symbol in (None, feed.symbol):
                each = self._feeds.get(feed)
                if each is not None and each.status is not None:
                    yield from each.status.feed_reports(each.demand.timeframes)

    def writers(self) -> Iterator[PartitionWriter]:
        """The writers of the partitions that this instance owns."""
        return (writer for slot in self._slots.values() for writer in slot.tape.writers.values())

    async def _own(self, lease: Lease) -> None:
        """Run the wanted feeds of a slot until `lease.stop`, then end them gracefully; cancelled when it is lost."""
        try:
            async with lifecycle.ending_within(lease.stop, END_S):
                await self._run_slot(lease)
        except TimeoutError:
            log.warning("the slot did not end in time: what is not stored is left to its next owner", **lease.logged)

    async def _run_slot(self, lease: Lease) -> None:
        try:
            number = int(lease.key.rpartition(".")[2])
            confirm = partial(self._leases.confirm, lease.key)
            opening = open_slot_tape(self._runner.bus, number, confirm, self._runner.turns)
            async with opening as tape, TaskGroup() as feeds:
                self._slots[lease.key] = _Slot(lease, feeds, tape)
                await self._begin_wanted(lease)
                await lease.stop.wait()
                self._release(lease.key)
        except* Fenced as errors:
            log.warning("another instance took the slot over", error=str(lifecycle.leaf(errors)), **lease.logged)
        finally:
            self._release(lease.key)

    async def _begin_wanted(self, lease: Lease) -> None:
        """Start the wanted feeds of a slot that was won, few in each turn of the loop."""
        for feed in list(self._wanted[lease.key]):
            await self._runner.turns.step()
            if lease.stop.is_set():
                return
            self.reconcile(feed)

    def _release(self, key: str) -> None:
        """Start no further feeds in a slot, and stop those that run. Its task group waits for them."""
        self._slots.pop(key, None)
        for feed, supervised in self._feeds.items():
            if slot_of(feed, self._partitions) == key:
                supervised.stop.set()

    async def _run(self, supervised: SupervisedFeed, slot: _Slot) -> None:
        feed, key = supervised.feed, slot.lease.key
        run = partial(self._runner.run, supervised, partial(self._leases.confirm, key), slot.tape)
        try:
            # A failure outside the feed's body must not end other feeds, either.
            await bulkhead(run, supervised.stop, failed=partial(log_failure, feed))
        except Fenced:
            self._release(key)
            raise
        finally:
            del self._feeds[feed]
            self._heap.ended(len(self._feeds))
        # It may have been requested again while it ended.
        self.reconcile(feed)


def _log_slot_failure(number: int, error: Exception, failures: int) -> None:
    log.error("slot failed", slot=number, failures=failures, error=reason(error), exc_info=error)
