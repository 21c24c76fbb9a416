"""The pagers of a job's missing ranges, one after another, and the requests that they are expected to make. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest
from tickwire.model.ranges import Range


class RangePagers:
    """The pagers of some ranges in their order. `make` creates one of them, as late as possible."""

    def __init__(self, wanted: Iterable[Range], make: Callable[[Range], Pager]) -> None:
        self._left = deque(wanted)
        self._make = make
        self._made: deque[Pager] = deque()
        """The present one and some of those after it."""

    def __iter__(self) -> Iterator[Pager]:
        """Each pager in turn; the next one once this one is done with."""
        while self._made_until(1):
            yield self._made[0]
            self._made.popleft()

    def expected(self) -> Iterator[PageRequest]:
        """The requests that follow `ask` of the present pager, if all answers are full pages without a hole."""
        place = 0
        while self._made_until(place + 1):
            pager = self._made[place]
            if place and pager.ask is not None:
                yield pager.ask
            yield from pager.expected()
            place += 1

    def _made_until(self, count: int) -> bool:
        """Make so many pagers. Returns whether there are so many."""
        while len(self._made) < count and self._left:
            self._made.append(self._make(self._left.popleft()))
        return len(self._made) >= count
