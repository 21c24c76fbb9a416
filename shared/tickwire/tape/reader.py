"""Reads a feed: every message of its tape in order, each exactly once, whatever happens to the connection.

| subject | direction | what |
|---|---|---|
| `md.…` | subscribes | each message has its own sequence and that of the message before it on the subject |
| `$JS.API.DIRECT.GET.<stream>` | requests | missed messages, and those stored before (`tape/stored.py`) |

A plain subscription is fast, but loses what is published while the connection is down, the broker restarts or the
reader is too slow. The reader detects every loss: the broker's republish headers `Nats-Sequence` and
`Nats-Last-Sequence` link the messages of a subject. If a message does not follow the last one, the messages in between
are read from the stream before anything later is delivered. A lost message without a successor is looked for after a
reconnect, after a drop, and after a silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.errors import BadRequest
from tickwire.model.feeds.layout import UNPARTITIONED, Place, is_partitioned
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.tape.sequence import SequenceCheck, StreamMessage, TapeMessage, backwards, stream_message_of
from tickwire.tape.stored import MadeAnew, StoredTape, former_tape, is_former, stored_tape
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

HELD = 65_536
"""Messages that wait for a slow callback before they are dropped, to be read back later."""
QUIET_S = 15.0


class TapeReader:
    """The reader of one feed. Made by `read_tape`."""

    def __init__(self, bus: Bus, subject: str, take: Callable[[TapeMessage], Awaitable[None]]) -> None:
        self.subject = subject
        self.read_back = 0
        """Number of missed messages that were read from the stream."""
        self.skipped = 0
        """How often missed messages were no longer stored."""
        self._bus = bus
        # Until it is opened.
        self._stored = StoredTape(bus, subject, UNPARTITIONED.place(subject))
        self._take = take
        self._check = SequenceCheck()
        self._left: dict[str, SequenceCheck] = {}
        """How far the streams that the feed has moved from were read: an older writer may take it back."""
        self._turn = asyncio.Lock()
        """Held while messages are delivered: one source at a time."""
        self._suspected = asyncio.Event()
        self._received_at = time.monotonic()
        self._disconnects = bus.disconnects
        self._stream_unsure = False
        """Whether the stream may have been recreated since the last message."""
        self._rejected_last = False
        """Whether the last message could not be read: it is missing before the next one."""

    @property
    def sequence(self) -> int:
        """Sequence of the last message delivered, 0 before the first."""
        return self._check.last

    # ---- live messages

    async def receive(self, message: Msg) -> None:
        """Take a message of the subscription; the missing ones before it are read from the stream first."""
        received = stream_message_of(message)
        if received is None:
            raise BadRequest("not from the tape", "only messages that the broker republishes belong to a feed")
        self._received_at = time.monotonic()
        async with self._turn:
            if received.place is not None and received.place.stream != self._stored.stream:
                await self._move(received.place, received.previous)
            if self._stream_unsure or self._disconnects != self._bus.disconnects:
                await self._verify_stream()
            if self._check.is_another_stream(received.sequence, received.stamp):
                self._restart()
            if received.sequence > self._check.last and self._check.has_gap_before(received.previous):
                await self._read_missing(received)
            elif received.previous is not None and received.previous > self._check.last:
                await self._read_back_to(received.previous)
            await self._deliver(received, read_back=False)

    async def _read_missing(self, received: StreamMessage) -> None:
        """Read the messages between the last one delivered and `received`."""
        assert received.previous is not None
        if 0 < received.previous < self._check.last:
            earlier = await self._stored.at(received.previous)
            if earlier is not None and earlier.stamp > self._check.newest:
                # Stored after everything delivered so far, at an earlier sequence.
                self._restart()
        if received.previous > self._check.last:
            await self._read_back_to(received.previous)

    async def _deliver(self, message: StreamMessage, *, read_back: bool, first: bool = False) -> None:
        if message.sequence <= self._check.last:
            return
        skipped = not first and self._check.has_gap_before(message.previous)
        # Before the callback: the message is not delivered again, whatever the callback raises.
        self._check.advance(message.sequence, message.stamp)
        self.skipped += skipped
        self.read_back += read_back and not first
        skipped, self._rejected_last = skipped or self._rejected_last, False
        try:
            await self._take(TapeMessage(message.sequence, message.data, read_back, skipped))
        except BadRequest as error:
            self._rejected_last = True
            self._bus.undecodable.skip(self.subject, message.data, error, sequence=message.sequence)

    # ---- stored messages

    @asynccontextmanager
    async def subscribed(self, back: int, after: int | None, held: int) -> AsyncIterator[None]:
        """Subscribe within the block; stored messages are delivered first, as `read_tape` describes."""
        subscription = None
        try:
            # Live messages wait until the stored ones are delivered.
            async with self._turn:
                subscription = await self._bus.subscribe(self.subject, self.receive, pending_limit=held)
                self._bus.resync_callbacks.add(self.suspect_loss)
                await self._deliver_stored(back, after)
            yield
        finally:
            self._bus.resync_callbacks.discard(self.suspect_loss)
            if subscription is not None:
                await graceful_close.unsubscribe(self._bus.client, subscription)

    async def _deliver_stored(self, back: int, after: int | None) -> None:
        async with self._stored.readable():
            present = await stored_tape(self._bus, self.subject)
            newest = await present.newest()
            former = await former_tape(self._bus, self.subject)
        self._stored = present
        if former is not None and (newest is None or (after is not None and await is_former(present, former, after))):
            # What an earlier version has written comes first.
            self._stored = former
            await self._deliver_from(await former.newest(), back, after)
            await self._find_next_place()
            return
        await self._deliver_from(newest, back, after)

    async def _deliver_from(self, newest: StreamMessage | None, back: int, after: int | None) -> None:
        if newest is None:
            # Any message of a recreated stream has a later stamp than none.
            self._check = SequenceCheck(after or 0)
            return
        if after is not None:
            # A stream that has not come as far as `after` was recreated. The message there may be of another subject.
            reached = after <= newest.sequence or await self._stored.at(after) is not None
            self._check = SequenceCheck(after, newest.stamp) if reached else SequenceCheck()
            await self._read_back_to(newest.sequence)
            return
        found: list[StreamMessage] = []
        if back:
            async for message in backwards(newest, lambda each: each.previous, self._stored.at):
                found.append(message)
                if len(found) == back:
                    break
        else:
            self._check.advance(newest.sequence, newest.stamp)
        for message in reversed(found):
            await self._deliver(message, read_back=True, first=True)

    async def _read_back_to(self, sequence: int) -> None:
        """Deliver the stored messages after the last one, at least up to a sequence."""
        while self._check.last < sequence:
            try:
                page = await self._stored.page(self._check.last, self._check.stamp)
            except MadeAnew:
                self._restart()
                continue
            if not page:
                return
            for message in page:
                await self._deliver(message, read_back=True)

    # ---- the place of the feed

    async def _move(self, place: Place, previous: int | None) -> None:
        """Go on in another stream, once the present one is read to its end."""
        newest = await self._stored.newest()
        if newest is not None:
            await self._read_back_to(newest.sequence)
        log.info("the feed goes on in another stream", subject=self.subject, stream=place.stream)
        was_former = self._stored.stream == UNPARTITIONED.place(self.subject).stream
        self._left[self._stored.stream] = self._check
        self._stored = StoredTape(self._bus, self.subject, place)
        # A partition begins where the tape without partitions ends; other streams may have older messages.
        began = SequenceCheck(last=0 if was_former else previous or 0)
        self._check = self._left.pop(place.stream, began)

    async def _find_next_place(self) -> StreamMessage | None:
        """Go on in the place of the present layout, if the feed has messages there; the newest one then."""
        if self._stored.stream != UNPARTITIONED.place(self.subject).stream or not is_partitioned(self.subject):
            return None
        present = await stored_tape(self._bus, self.subject)
        if present.stream == self._stored.stream or (newest := await present.newest()) is None:
            return None
        if (left := self._left.get(present.stream)) is not None and newest.sequence <= left.last:
            return None
        await self._move(present.place, None)
        await self._read_back_to(newest.sequence)
        return newest

    # ---- losses without a successor

    def suspect_loss(self) -> None:
        """Messages may have been lost: compare with the stream."""
        self._stream_unsure = True
        self._suspected.set()

    async def watch_losses(self, quiet_s: float) -> None:
        """Compare with the stream after each suspicion and after each silence of `quiet_s`, until cancelled."""
        while True:
            suspected = await lifecycle.pause(self._suspected, quiet_s)
            if not suspected and time.monotonic() - self._received_at < quiet_s:
                continue
            self._suspected.clear()
            await self.catch_up()

    async def catch_up(self) -> None:
        """Deliver everything that the tape has by now."""
        async with self._turn:
            if (newest := await self._verify_stream()) is not None:
                await self._read_back_to(newest.sequence)
            await self._find_next_place()

    async def _verify_stream(self) -> StreamMessage | None:
        """The newest message, after checking whether the stream was recreated."""
        self._stream_unsure, self._disconnects = False, self._bus.disconnects
        newest = await self._stored.newest()
        if newest is None:
            return None
        if self._check.is_another_stream(newest.sequence, newest.stamp):
            self._restart()
        elif self._check.stamp:
            # A recreated stream that is already longer than the old one has another message at that sequence.
            stored = await self._stored.at(self._check.last)
            if stored is not None and stored.stamp != self._check.stamp:
                self._restart()
        return newest

    def _restart(self) -> None:
        log.warning("the stream was recreated", stream=self._stored.stream, subject=self.subject)
        self._check = self._check.restarted()


@asynccontextmanager
async def read_tape(
    bus: Bus,
    subject: str,
    take: Callable[[TapeMessage], Awaitable[None]],
    *,
    back: int = 1,
    after: int | None = None,
    quiet_s: float = QUIET_S,
    held: int = HELD,
) -> AsyncIterator[TapeReader]:
    """Call `take` for each message of a feed's public subject (`Feed.public`), in order, one at a time, each once.

    First come the `back` newest stored messages (1: the present state, 0: none), or all after sequence `after`, that of
    a message delivered earlier. They have been delivered when the block is entered.

    While `take` runs, up to `held` messages wait; any more are read from the stream when it is their turn. A message
    for which `take` raises BadRequest is skipped, and the next one is marked `skipped`; any other exception of `take`
    is a bug and ends the connection's block or this one. Raises BadRequest if the subject is not that of one feed,
    BrokerUnavailable if its stream cannot be read.
    """
    reader = TapeReader(bus, subject, take)
    async with reader.subscribed(back, after, held), lifecycle.unwrapped(), TaskGroup() as group:
        watching = group.create_task(reader.watch_losses(quiet_s))
        try:
            yield reader
        finally:
            watching.cancel()
