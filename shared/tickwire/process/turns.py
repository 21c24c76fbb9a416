"""Bounds the work of one turn of the event loop: what comes in crowds takes its steps out of one budget.

Steps that each take little add up where many are due at once: 1,600 feeds that begin together when their slots are won,
replies of the broker that arrive in one read, the frames of all sockets after a wait for a core. A process whose loop
does not turn renews no lease, loses what it owns, and begins it again: a crowd again.

Work is counted, not timed: a turn is as long on a busy machine as it must wait for a core, whatever it does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")

UNITS = 3000
"""Of one turn. A unit is about a microsecond of CPU on a quiet machine, and three where caches are cold."""
STEP = 200
"""Units of one step of a coroutine: a feed takes 2.6 ms in some twenty steps until it is live (measured)."""


class Turns:
    """The budget of each turn of the running event loop. One step may exceed what is left; none begins without any."""

    def __init__(self, units: int = UNITS) -> None:
        self._units = units
        self._half = units // 2
        self.left = units
        """Units of this turn; a callback that finds none has itself called in the next one (`again`)."""
        self._booked = 0
        """Units of the next turn that steps have which were granted in this one."""
        self._is_next_due = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def spend(self, units: int) -> None:
        """Take units of this turn.

        As long as half is left the next turn goes on with it: to count anew, the loop would have to turn again.
        """
        self.left -= units
        if self.left < self._half and not self._is_next_due:
            self._await_next()

    def again(self, callback: Callable[[], object]) -> None:
        """Call back in the next turn."""
        self._await_next()
        asyncio.get_running_loop().call_soon(callback)

    async def step(self) -> None:
        """Wait for a turn with room, after those who wait already, and take the units of a step of it."""
        if self.left > 0 and not self._waiting:
            self.spend(STEP)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(granted)
        self._await_next()
        await granted

    async def paced(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, each step of which waits for its turn. An exception that is thrown into it does not wait."""
        return await _paced(self.step, work)

    def _await_next(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            # Before whatever is deferred to the next turn.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """A turn begins. Those who wait get up to half of the one after it, which is when they run."""
        self._is_next_due = False
        self.left, self._booked = self._units - self._booked, 0
        while self._waiting and self._booked < self._half:
            granted = self._waiting.popleft()
            if not granted.done():
                granted.set_result(None)
                self._booked += STEP
        if self._booked or self._waiting:
            self._await_next()


@coroutine
def _paced(step: Callable[[], Coroutine[Any, Any, None]], work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    thrown: BaseException | None = None
    while True:
        try:
            if thrown is None:
                yield from step().__await__()
        except BaseException as error:  # noqa: BLE001
            thrown = error
        try:
            awaited = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as done:
            found: T = done.value
            return found
        finally:
            # Its traceback refers to this frame.
            thrown = None
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001
            thrown = error
