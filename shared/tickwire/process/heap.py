"""Full garbage collections visit only what is new: what survives one is frozen, so that the next one passes over it.

CPython's full collection (generation 2) visits every container that is not frozen, however long it has lived already.

What is frozen is still freed when its last reference goes, but not when it becomes garbage in a reference cycle. So now
and then everything is thawed and collected in one turn of the event loop: after so many owners of cycles have ended, or
after so many objects were frozen.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tickwire.model.instants import next_instant
from tickwire.observe import logs

log = logs.get(__name__)

FROZEN = 500_000
"""Objects frozen one after the other, many of them freed since, that are worth a collection of everything, apart from
those of owners that began."""
OWNED = 1000
"""Objects frozen for each owner that begins: 480 were measured of a feed, of which 270 stay."""
ENDED = 250
"""Owners of cycles that ended, which are worth it if they are twice as many as those that live, too."""
NEW = 700
"""Objects more than were freed before a collection of generation 0: as CPython has it up to 3.12; later ones wait for
2,000, and so for three times as many before a full collection."""
YOUNG = 3
"""Collections of generation 1 before a full one, instead of 10: the same work in shorter turns."""
NEWEST_MS = 100
"""Interval of collections of generation 0 besides CPython's own, which come after NEW objects more than were freed.
Levels of books replace others: 19,000 gathered until then, and took 11 ms of CPU in one turn on a busy machine."""
_FULL = 2


@dataclass
class Remains:
    """How much garbage may be among what is frozen. Pure."""

    frozen: int = 0
    begun: int = 0
    ended: int = 0
    living: int = 0

    @property
    def collectable(self) -> bool:
        """Whether a collection of everything is worth its time, which grows with those that live."""
        return self.frozen >= FROZEN + self.begun * OWNED or self.ended >= max(ENDED, 2 * self.living)


class Heap:
    """The garbage collector of this process. Created by `ageing`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._remains = Remains()
        self._due: asyncio.Handle | None = None
        self._timer = loop.call_soon(self._collect_newest)

    def began(self) -> None:
        """An owner of reference cycles has begun: what it consists of is frozen, and is no garbage."""
        self._remains.begun += 1

    def ended(self, living: int) -> None:
        """An owner of reference cycles has ended; so many others live."""
        self._remains.ended += 1
        self._remains.living = living
        if not living and self._remains.ended >= ENDED:
            # Now, rather than when others have begun: nobody waits.
            self._collect_soon()

    def collected(self, phase: str, info: dict[str, Any]) -> None:
        """Freeze what a full collection left; of `gc.callbacks`, in any thread."""
        if phase != "stop" or info["generation"] != _FULL:
            return
        if self._due is None:
            self._remains.frozen += len(gc.get_objects(generation=_FULL))
            if self._remains.collectable:
                # Not here: what has been collected in this turn is delay enough, and nothing can be logged here.
                self._collect_soon()
        gc.freeze()

    def close(self) -> None:
        """Cancel what is due."""
        self._timer.cancel()
        if self._due is not None:
            self._due.cancel()

    def _collect_newest(self) -> None:
        self._timer = self._loop.call_at(next_instant(self._loop.time(), NEWEST_MS), self._collect_newest)
        if gc.isenabled():
            gc.collect(0)

    def _collect_soon(self) -> None:
        if self._due is None:
            # Where owners live, not before the turn after the next one.
            self._due = self._loop.call_soon_threadsafe(self._collect_when_settled, self._remains.living + 1)

    def _collect_when_settled(self, living: int) -> None:
        """Collect everything, once for all owners that end in one turn after another, as with a lost session."""
        if 0 < self._remains.living < living:
            self._due = self._loop.call_soon(self._collect_when_settled, self._remains.living)
        else:
            self._collect_everything()

    def _collect_everything(self) -> None:
        began = time.thread_time()
        gc.unfreeze()
        found = gc.collect()
        # CPython waits until a quarter of what the last full collection left has been added: of next to nothing now.
        gc.collect()
        self._remains, self._due = Remains(), None
        log.debug("all garbage is collected", objects=found, cpu_ms=round((time.thread_time() - began) * 1000, 1))


@contextmanager
def ageing() -> Iterator[Heap]:
    """Within the block, freeze what survives full collections. Needs a running event loop; one block at a time."""
    heap = Heap(asyncio.get_running_loop())
    thresholds = gc.get_threshold()
    gc.callbacks.append(heap.collected)
    gc.set_threshold(NEW, thresholds[1], YOUNG)
    try:
        yield heap
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(heap.collected)
        heap.close()
