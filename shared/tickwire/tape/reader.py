"""Following a feed: every message of its tape in order, each exactly once, whatever happens to the connection.

| subject | how |
|---|---|
| `md.…` | plain subscription; each message tells its own sequence and that of the one before it on the subject |
| `$JS.API.DIRECT.GET.<stream>` | reads back what was missed, and what was there before |

A plain subscription is fast, and loses what is published while the connection is away, the broker restarts or we are
too slow. None of that goes unnoticed: the broker's republish headers `Nats-Sequence` and `Nats-Last-Sequence` chain
the messages of a subject. Where the chain breaks, what is in between is read from the stream before anything later is
handed on. What has no successor to give it away is asked for after a reconnection, after a drop, and after a silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import nats.errors
from nats.aio.msg import Msg

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.tape.sequence import (
    SequenceCheck,
    StreamMessage,
    TapeMessage,
    backwards,
    has_gap,
    stamp_of,
    stream_message_of,
)

log = logs.get(__name__)

HELD = 65_536
"""Messages that wait for a slow callback before they are dropped, to be read back later."""
QUIET_S = 15.0
PAGE = 256
PAGE_BYTES = 4 << 20
ANSWER_S = 2.0
RETRY_S = 0.2
OPEN_PATIENCE_S = 5.0

_STREAMS = {
    "trade": streams.TRADES,
    "book": streams.BOOKS,
    "book_delta": streams.BOOK_DELTAS,
    "ticker": streams.TICKERS,
    "candle": streams.CANDLES,
    "status": streams.STATUS,
}


class TapeReader:
    """A feed being followed. Made by `read_tape`."""

    def __init__(self, bus: Bus, subject: str, take: Callable[[TapeMessage], Awaitable[None]]) -> None:
        kind = subject.split(".")[1:2]
        if not subject.startswith("md.") or not kind or kind[0] not in _STREAMS or "*" in subject or ">" in subject:
            raise BadRequest(f"{subject!r} is not the public subject of one feed", "such as md.trade.binance.BTC-USDT")
        self.subject = subject
        self.read_back = 0
        """Messages that were missed and read from the stream."""
        self.skipped = 0
        """How often messages were no longer kept."""
        self._bus = bus
        self._tape = "tape." + subject.removeprefix("md.")
        self._stream = _STREAMS[kind[0]]
        self._take = take
        self._chain = SequenceCheck()
        self._turn = asyncio.Lock()
        self._doubt = asyncio.Event()
        self._heard = time.monotonic()
        self._losses = bus.disconnects
        self._unsure = False
        self._unread = False

    @property
    def sequence(self) -> int:
        """Of the last message handed on, 0 before the first."""
        return self._chain.last

    async def catch_up(self) -> None:
        """Hand on everything that is on the tape by now."""
        async with self._turn:
            if (newest := await self._same_stream()) is not None:
                await self._read_back_to(newest.sequence)

    async def _same_stream(self) -> StreamMessage | None:
        """The newest message, once it is known whether the stream is the one that was followed so far."""
        self._unsure, self._losses = False, self._bus.disconnects
        newest = await self._newest()
        if newest is None:
            return None
        if self._chain.is_another_stream(newest.sequence, newest.stamp):
            self._begin_anew()
        elif self._chain.stamp:
            # A stream that has come further than the old one by now has another message in that place.
            kept = await self._at(self._chain.last)
            if kept is not None and kept.stamp != self._chain.stamp:
                self._begin_anew()
        return newest

    async def hear(self, message: Msg) -> None:
        """Take in a message of the subscription."""
        link = stream_message_of(message)
        if link is None:
            raise BadRequest("not from the tape", "only the broker's republish can speak for it")
        self._heard = time.monotonic()
        async with self._turn:
            if self._unsure or self._losses != self._bus.disconnects:
                await self._same_stream()
            if self._chain.is_another_stream(link.sequence, link.stamp):
                self._begin_anew()
            if link.sequence > self._chain.last and self._chain.has_gap_before(link.previous):
                await self._read_what_is_missing(link)
            elif link.previous is not None and link.previous > self._chain.last:
                await self._read_back_to(link.previous)
            await self._hand_on(link, read_back=False)

    async def _read_what_is_missing(self, link: StreamMessage) -> None:
        """Read the messages before a link that names another one before it than the last that was handed on."""
        assert link.previous is not None
        if 0 < link.previous < self._chain.last:
            earlier = await self._at(link.previous)
            if earlier is not None and earlier.stamp > self._chain.newest:
                # Written after all that was handed on, in an earlier place.
                self._begin_anew()
        if link.previous > self._chain.last:
            await self._read_back_to(link.previous)

    @asynccontextmanager
    async def subscribed(self, back: int, after: int | None, held: int) -> AsyncIterator[None]:
        """Listen within the block; before it, hand on what was there already, by the rules of `read_tape`."""
        subscription = None
        try:
            # What is heard meanwhile waits until what was before is through.
            async with self._turn:
                subscription = await self._bus.subscribe(self.subject, self.hear, pending_limit=held)
                self._bus.resync_callbacks.add(self.doubt)
                await self._begin(back, after)
            yield
        finally:
            self._bus.resync_callbacks.discard(self.doubt)
            if subscription is not None:
                await graceful_close.unsubscribe(self._bus.client, subscription)

    async def place(self, since: int) -> tuple[int, bool]:
        """See `find_position`."""
        moment = datetime.fromtimestamp(since / 1000, UTC).isoformat().replace("+00:00", "Z")
        async with self._readable():
            oldest = await self._answered({"next_by_subj": self._tape, "seq": 1})
            first = await self._answered({"next_by_subj": self._tape, "start_time": moment}) or await self._answered(
                {"last_by_subj": self._tape}
            )
        if not oldest or not first:
            return 0, False
        after = first[0].sequence - 1 if first[0].stamp >= stamp_of(moment) else first[0].sequence
        return (after, True) if oldest[0].sequence <= after else (0, False)

    async def pages(self, after: int, *, known: bool = True) -> AsyncGenerator[list[TapeMessage], None]:
        """See `read_pages`."""
        # Any place: there need not be a message of this subject.
        exact = False
        async with self._readable():
            page = await self._page(after)
        while page:
            found = []
            for link in page:
                skipped = has_gap(link.previous, after, exact=exact, known=known)
                found.append(TapeMessage(link.sequence, link.data, read_back=True, skipped=skipped))
                after, exact = link.sequence, True
            yield found
            page = await self._page(after)

    @asynccontextmanager
    async def _readable(self) -> AsyncIterator[None]:
        """Raises BrokerUnavailable when the stream does not answer what is asked within the block for 5 s."""
        try:
            async with asyncio.timeout(OPEN_PATIENCE_S):
                yield
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"stream {self._stream} cannot be read", "start a streamer, with `tickwire up` for instance"
            ) from error

    async def _page(self, after: int) -> list[StreamMessage]:
        return await self._answered(
            {"next_by_subj": self._tape, "seq": after + 1, "batch": PAGE, "max_bytes": PAGE_BYTES}
        )

    async def _begin(self, back: int, after: int | None) -> None:
        async with self._readable():
            newest = await self._newest()
        if newest is None:
            # Any message of another stream has a later time stamp than none.
            self._chain = SequenceCheck(after or 0)
            return
        if after is not None:
            # A stream that has not come so far is another one.
            self._chain = SequenceCheck(after, newest.stamp) if after <= newest.sequence else SequenceCheck()
            await self._read_back_to(newest.sequence)
            return
        links: list[StreamMessage] = []
        if back:
            async for link in backwards(newest, lambda link: link.previous, self._at):
                links.append(link)
                if len(links) == back:
                    break
        else:
            self._chain.advance(newest.sequence, newest.stamp)
        for link in reversed(links):
            await self._hand_on(link, read_back=True, first=True)

    async def check(self, quiet_s: float) -> None:
        """Look for messages without successor: when in doubt, and after each silence. Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    await self._doubt.wait()
            except TimeoutError:
                if time.monotonic() - self._heard < quiet_s:
                    continue
            self._doubt.clear()
            await self.catch_up()

    def doubt(self) -> None:
        """Something may have been missed."""
        self._unsure = True
        self._doubt.set()

    def _begin_anew(self) -> None:
        log.warning("the stream was made anew", stream=self._stream, subject=self.subject)
        self._chain = self._chain.anew()

    async def _hand_on(self, link: StreamMessage, *, read_back: bool, first: bool = False) -> None:
        if link.sequence <= self._chain.last:
            return
        skipped = not first and self._chain.has_gap_before(link.previous)
        # Before the call: it is not repeated, whatever becomes of it.
        self._chain.advance(link.sequence, link.stamp)
        self.skipped += skipped
        self.read_back += read_back and not first
        skipped, self._unread = skipped or self._unread, False
        try:
            await self._take(TapeMessage(link.sequence, link.data, read_back, skipped))
        except BadRequest as error:
            # Passed over, and so missing before the next one.
            self._unread = True
            self._bus.undecodable.skip(self.subject, link.data, error, sequence=link.sequence)

    async def _read_back_to(self, sequence: int) -> None:
        """Hand on what the stream keeps of the subject after the last one, at least up to a sequence."""
        while self._chain.last < sequence:
            page = await self._page(self._chain.last)
            if not page:
                return
            for link in page:
                await self._hand_on(link, read_back=True)

    async def _newest(self) -> StreamMessage | None:
        return next(iter(await self._answered({"last_by_subj": self._tape})), None)

    async def _at(self, sequence: int) -> StreamMessage | None:
        return next(iter(await self._answered({"seq": sequence})), None)

    async def _answered(self, request: dict[str, object]) -> list[StreamMessage]:
        """What the stream answers, asked until it does. Raises BrokerUnavailable once the connection is closed."""
        while True:
            try:
                return await self._ask(request)
            except (nats.errors.Error, TimeoutError) as error:
                if self._bus.client.is_closed:
                    raise BrokerUnavailable("the connection to the broker is closed", "connect again") from error
                log.debug("the tape does not answer", subject=self.subject, error=repr(error))
            await asyncio.sleep(RETRY_S)

    async def _ask(self, request: dict[str, object]) -> list[StreamMessage]:
        found = []
        for message in await direct_get(self._bus.client, self._stream, request, ANSWER_S):
            link = stream_message_of(message, stored=True)
            if link is None:
                raise nats.errors.Error(f"stream {self._stream} answered without the place of a message")
            found.append(link)
        return found


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

    First come the `back` newest messages that are there already (1: the present state, 0: none), or everything after
    sequence `after`, of a message that was handed on in an earlier life. Inside the block, those before are through.

    While `take` works, up to `held` messages wait; what comes beyond is read from the stream when its turn comes.
    A message for which `take` raises BadRequest is passed over, and the next one says that something is missing; any
    other exception of `take` is a bug and ends the connection's block or this one. Raises BadRequest when the subject
    is not that of one feed, BrokerUnavailable when its stream cannot be read.
    """
    following = TapeReader(bus, subject, take)
    async with following.subscribed(back, after, held), lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        checking = group.create_task(following.check(quiet_s))
        try:
            yield following
        finally:
            checking.cancel()


async def find_position(bus: Bus, subject: str, since: int) -> tuple[int, bool]:
    """Where a time (ms) is on the tape of a feed's public subject, by when messages were stored.

    The sequence after which everything was stored at `since` or later, and whether the stream still has something
    from before it: else what it has begins later, or there is nothing.
    """
    return await TapeReader(bus, subject, _nowhere).place(since)


async def read_pages(
    bus: Bus, subject: str, after: int, *, known: bool = True
) -> AsyncGenerator[list[TapeMessage], None]:
    """What the stream keeps of a feed's public subject after a sequence, in order, until there is no more for now.

    Where retention takes messages meanwhile, the next one says so (`skipped`). With `known`, the subject had messages
    by that sequence, so that one which finds none before it is a loss too. Raises BrokerUnavailable when the
    stream cannot be read, or the connection is closed.
    """
    async with aclosing(TapeReader(bus, subject, _nowhere).pages(after, known=known)) as found:
        async for page in found:
            yield page


async def _nowhere(taped: TapeMessage) -> None:
    raise AssertionError("this one is not subscribed")
