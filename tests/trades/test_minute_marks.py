"""One timer and one ping a minute for all trade feeds of a venue, however many they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import pytest

from support.feeds import within
from support.trading import START
from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.model.feeds import Feed
from tickwire.streamer.control.minute_marks import MINUTE_MS, MinuteMarks

pytestmark = pytest.mark.actors

END = START // MINUTE_MS * MINUTE_MS + MINUTE_MS


class Venue:
    """A venue whose clock stands `ms` before a minute's end and runs; some of its sockets are silent.

    Its time is asked for `late_s` before it is read, and the answer takes as long.
    """

    def __init__(self, ms: int, *, silent: Collection[str] = (), late_s: float = 0.0) -> None:
        self._began = time.monotonic()
        self._ms = ms
        self._late_s = late_s
        self.silent = silent
        self.since: list[int] = []
        self.compared = 0
        self.asked: list[set[str]] = []

    async def now(self) -> int | None:
        """The running clock."""
        self.compared += 1
        await asyncio.sleep(self._late_s)
        now = END - self._ms + int((time.monotonic() - self._began) * 1000)
        await asyncio.sleep(self._late_s)
        return now

    def monotonic_at(self, end: int) -> int:
        """What the monotonic clock (ms) says when the venue's says `end`."""
        return int(self._began * 1000) + end - END + self._ms

    async def answering(self, feeds: Collection[Feed], since: int) -> list[Feed]:
        """Those whose sockets are not silent."""
        self.asked.append({feed.symbol for feed in feeds})
        self.since.append(since)
        return [feed for feed in feeds if feed.symbol not in self.silent]


class Marked:
    """A feed that notes up to when it was declared complete."""

    def __init__(self, symbol: str, *, breaks: bool = False) -> None:
        self.feed = Feed("trade", "binance", symbol)
        self.breaks = breaks
        self.declared: list[int] = []
        self.called = asyncio.Event()

    def declare(self, until: int) -> bool:
        """Note it, or raise."""
        self.called.set()
        if self.breaks:
            raise ZeroDivisionError
        self.declared.append(until)
        return True


async def test_the_clock_and_the_sockets_are_asked_once_a_minute_for_all_feeds() -> None:
    venue, marks, feeds = Venue(ms=200), MinuteMarks(), [Marked(f"A{number}/USDT") for number in range(300)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(marks.follow(venue, 0, each)) for each in feeds]
        await within(asyncio.gather(*(each.called.wait() for each in feeds)))
        assert [each.declared for each in feeds] == [[END]] * 300
        assert venue.asked == [{each.feed.symbol for each in feeds}]
        # When the feeds began, and at the end of the minute.
        assert venue.compared == 2
        for task in tasks:
            task.cancel()


async def test_when_the_feed_that_keeps_the_time_ends_another_one_does() -> None:
    venue, marks, feeds = Venue(ms=500), MinuteMarks(), [Marked(f"A{number}/USDT") for number in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(marks.follow(venue, 0, each)) for each in feeds]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await within(asyncio.gather(*(each.called.wait() for each in feeds[1:])))
        assert [each.declared for each in feeds] == [[], [END], [END]]
        for task in tasks:
            task.cancel()


async def test_a_feed_that_fails_or_has_a_silent_socket_keeps_no_other_from_its_minute() -> None:
    venue = Venue(ms=100, silent=("SILENT/USDT",))
    broken, silent, sound = Marked("BROKEN/USDT", breaks=True), Marked("SILENT/USDT"), Marked("SOUND/USDT")
    marks = MinuteMarks()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(marks.follow(venue, 0, each)) for each in (broken, silent, sound)]
        await within(sound.called.wait())
        venue.silent = ()
        await within(silent.called.wait())
        assert broken.called.is_set()
        assert (silent.declared, sound.declared) == ([END], [END])
        # Only the silent one is asked again.
        assert venue.asked[1:] == [{"SILENT/USDT"}] * (len(venue.asked) - 1)
        for task in tasks:
            task.cancel()


async def test_a_minute_that_ended_before_a_feed_was_followed_is_not_declared() -> None:
    # The time is known late: the minute may have settled at any moment of the question.
    venue, marks = Venue(ms=700, silent=("SILENT/USDT",), late_s=0.3), MinuteMarks()
    silent, early, late = Marked("SILENT/USDT"), Marked("EARLY/USDT"), Marked("LATE/USDT")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(marks.follow(venue, 0, each)) for each in (silent, early)]
        await asyncio.sleep((venue.monotonic_at(END) - monotonic_ms() + 20) / 1000)
        tasks.append(group.create_task(marks.follow(venue, 0, late)))
        await within(early.called.wait())
        # The silent one is asked again each second, until it has declared the minute.
        venue.silent = ()
        await within(silent.called.wait())
        assert (silent.declared, early.declared, late.declared) == ([END], [END], [])
        # A ping counts only if it was sent when the minute had ended.
        assert min(venue.since) >= venue.monotonic_at(END)
        for task in tasks:
            task.cancel()
