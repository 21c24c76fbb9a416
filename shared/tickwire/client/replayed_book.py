"""The book that its deltas lead to, as subscribers of `md.book.…` would have seen it. No I/O."""

from __future__ import annotations

from tickwire.archive_files.book_chain import RESYNCHRONISED, BookChain
from tickwire.archive_files.certificate import gap_times
from tickwire.client.merging import Block
from tickwire.client.missing import Missing
from tickwire.client.replay_feeds import BookView
from tickwire.client.trade_items import NOTHING_LATER
from tickwire.model.feeds import Book, BookDelta, BookDeltas, Feed, Gap, Level
from tickwire.model.feeds.levels import change
from tickwire.model.messages.archive import ArchivedGap
from tickwire.model.messages.archived_book import ArchivedBook
from tickwire.model.messages.archived_trades import BookEnd
from tickwire.model.times import LATEST_MS

NOT_KNOWN = "the book was not known then"


class ReplayedBook:
    """Makes books of deltas, from `since` (ms) on, until one is at or after `until`.

    The first one is the book as it was at `since`, after all changes of that millisecond. While the book is not known
    there is one that is `resyncing`, and a gap before the next one. Books are published as the streamer does it: at
    once, but not within `cadence_ms` of the last one; then the newest when that has passed.
    """

    def __init__(self, of: Feed, since: int, until: int | None, view: BookView) -> None:
        self.over = False
        """Whether a delta reached `until`."""
        self._of = of
        self.since = since
        self._until = until
        self._view = view
        self._chain = BookChain()
        self._sides: tuple[dict[float, Level], dict[float, Level]] = ({}, {})
        self._prices: tuple[list[float], list[float]] = ([], [])
        self._begun = False
        self._is_live: bool | None = None
        """Whether the last book was; None before the first one."""
        self._said = since
        """Up to here (ms) gaps were put where the book is not known."""
        self._last_gap: ArchivedGap | None = None
        """Of the delta that reached `until`."""
        self._timestamp: int | None = None
        """Of the last change; None while the book is not known."""
        self._update: int | None = None
        self._received = since
        self._time = since
        """Of the last item, ms."""
        self._due = since
        """Before it (ms) no further book is published."""
        self._ready_at: int | None = None
        """The time (ms) of a book that is to be published as soon as it is whole."""
        self._changes = 0
        """Since the last book."""
        self._times: list[int] = []
        self._items: list[Book | Gap] = []

    @property
    def update(self) -> int | None:
        """The number of the last update that is in the book; None while there is no book."""
        return self._chain.update

    def start(self, found: ArchivedBook) -> None:
        """Begin with a book that the archive knows."""
        self._chain = BookChain(found.update, found.until if found.is_end else found.timestamp)
        if found.update is None:
            self.interrupt(NOT_KNOWN)
            return
        self._set(found.bids, found.asks)
        self._timestamp = self.since if found.timestamp is None else found.timestamp
        self._received = found.received or self.since
        self._update = found.update

    def interrupt(self, reason: str, at: int | None = None) -> None:
        """The book is not known any more, since `at` (ms) or its last change, until a snapshot comes."""
        self._chain.interrupt(reason, self._chain.until if at is None else at)
        self._lost()

    def missing(self, gap: Missing) -> None:
        """Changes of a time are missing, by the archive; what comes before it was taken."""
        if self._until is not None and gap.since >= self._until:
            return
        self._settle()
        if gap.since > self.since:
            self._begin()
            self._flush(max(gap.since, self._time))
        self._lose(gap.since)
        self._begin()
        self._say(gap.since - 1, gap.until, gap.reason)
        if self._chain.lost is None:
            self.interrupt(gap.reason)

    def archived_up_to(self, end: BookEnd) -> None:
        """All that is archived was taken. Deltas without levels, and snapshots that repeat the book, have no row."""
        chain = self._chain
        if end.update is None and chain.update is not None:
            self.interrupt(RESYNCHRONISED)
        elif end.update is not None and chain.update is not None:
            chain.update = max(end.update, chain.update)
        chain.until = max(chain.until or 0, end.until or 0)

    def message(self, message: BookDeltas) -> None:
        """Take the deltas of a message of the tape."""
        self._chain.open(message)
        if self._chain.update is None and self._is_known:
            self._lost()
        for delta in message.deltas:
            if self.over:
                return
            self.delta(delta, message.received)

    def delta(self, delta: BookDelta, received: int) -> None:
        """Take a delta, of a message that was received at a time (ms)."""
        goes_on = not delta.snapshot and delta.first == delta.last == self._chain.update
        if not goes_on:
            self._settle()
        step = self._chain.take(delta, received)
        time = step.timestamp
        if self._until is not None and time >= self._until:
            self.over, self._last_gap = True, step.gap
            return
        if time > self.since:
            self._begin(step.gap)
            if not goes_on:
                # Else it has further levels of the same book.
                self._flush(time)
        if step.action == "unusable":
            self._lose(time)
        elif step.action != "repeats":
            if step.action == "begins":
                if self._begun and step.gap is not None:
                    self._lose(self._time)
                    self._say(step.gap.since, step.gap.until, step.gap.reason)
                self._set(delta.bids, delta.asks)
            else:
                self._change(delta)
            self._timestamp, self._received, self._update = time, received, delta.last
            self._changes += 1
            if self._begun and (time >= self._due or not self._is_live):
                self._ready_at = time

    def taken(self) -> Block[Book | Gap]:
        """The items since the last call."""
        found = Block(self._times, self._items)
        self._times, self._items = [], []
        return found

    def rest(self, known: int = 0) -> Block[Book | Gap]:
        """The items at the end of all deltas; up to `known` (ms) what happened is known from elsewhere, too."""
        self._settle()
        if self._is_known and not self.over and max(known, self._chain.until or 0) < self.since:
            self.interrupt(NOTHING_LATER, self.since)
        self._begin(self._last_gap)
        if self._until is None or self._due < self._until:
            self._flush(self._due)
        if (gap := self._last_gap) is not None:
            self._lose(gap_times(gap).since)
            self._say(gap.since, self._until, gap.reason)
        elif not self._is_known:
            lost_at = self._chain.lost_at
            self._say(None if lost_at is None else lost_at - 1, self._until, self._chain.lost or NOT_KNOWN)
        return self.taken()

    def _say(self, since: int | None, until: int | None, reason: str) -> None:
        """Put a gap where the book is not known, but for what was said."""
        # A time before the range is none of the replay's.
        begin = 0 if since is None else since + 1
        end = LATEST_MS if until is None else max(until, begin + 1)
        begin = max(begin, self._said)
        if begin < end:
            self._said = end
            self._put(self._time, Gap(since=begin - 1, until=until, reason=reason))

    def _begin(self, gap: ArchivedGap | None = None) -> None:
        """Publish the book as it was at `since`, before anything else; `gap` is one that has just ended."""
        if self._begun:
            return
        self._begun = True
        lost_at = self._chain.lost_at if gap is None else gap_times(gap).since
        if self._is_known and (lost_at is None or lost_at > self.since):
            self._publish(self.since)
        else:
            self._lose(self.since)

    @property
    def _is_known(self) -> bool:
        """Whether the book is known, by what was applied."""
        return self._timestamp is not None

    def _settle(self) -> None:
        """Publish the book that is whole now."""
        if self._ready_at is not None:
            time, self._ready_at = self._ready_at, None
            self._publish(time)

    def _publish(self, time: int) -> None:
        self._time = time = max(self._time, time)
        self._is_live, self._due = True, time + self._view.cadence_ms
        bids, asks = self._sides
        depth = self._view.depth
        book = Book(
            exchange=self._of.exchange,
            symbol=self._of.symbol,
            state="live",
            timestamp=self._timestamp,
            received=self._received,
            sequence=self._update,
            bids=[bids[price] for price in self._prices[0][: -depth - 1 : -1]],
            asks=[asks[price] for price in self._prices[1][:depth]],
            depth=depth,
            conflated=max(0, self._changes - 1),
        )
        self._changes = 0
        self._put(time, book)

    def _flush(self, time: int) -> None:
        """Publish what has waited for the cadence, if that has passed at `time` (ms)."""
        if self._changes and self._is_live and self._begun and self._due <= time:
            self._publish(self._due)

    def _lose(self, time: int) -> None:
        """Publish that there is no book, if that is new."""
        self._timestamp, self._changes = None, 0
        if not self._begun or self._is_live is False:
            return
        self._is_live, self._time = False, max(self._time, time)
        nothing = Book(
            exchange=self._of.exchange,
            symbol=self._of.symbol,
            state="resyncing",
            timestamp=None,
            received=self._time,
        )
        self._put(self._time, nothing)

    def _lost(self) -> None:
        """Publish the last book that was known, then that there is none."""
        self._settle()
        if (self._chain.lost_at or 0) > self.since:
            self._begin()
        self._lose(self._time)

    def _set(self, bids: list[Level], asks: list[Level]) -> None:
        self._sides = ({level[0]: level for level in bids}, {level[0]: level for level in asks})
        self._prices = (sorted(self._sides[0]), sorted(self._sides[1]))

    def _change(self, delta: BookDelta) -> None:
        for side, prices, levels in zip(self._sides, self._prices, (delta.bids, delta.asks), strict=True):
            change(side, prices, levels)

    def _put(self, time: int, item: Book | Gap) -> None:
        self._time = max(self._time, time)
        self._times.append(self._time)
        self._items.append(item)
