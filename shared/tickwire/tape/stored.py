"""Reads stored messages of one tape subject by direct get, without a consumer.

| subject | direction | what |
|---|---|---|
| `$JS.API.DIRECT.GET.<stream>` | requests | messages of the subject: the newest, one by sequence, or a page |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import nats.errors
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.bus.requests import AGAIN_S, direct_get, until_answered
from tickwire.errors import BrokerUnavailable
from tickwire.model.feeds.layout import UNPARTITIONED, Place, is_partitioned
from tickwire.observe import logs
from tickwire.tape.layout import layout_of
from tickwire.tape.sequence import StreamMessage, TapeMessage, has_gap, stamp_of, stream_message_of

log = logs.get(__name__)

PAGE = 256
PAGE_BYTES = 4 << 20
ANSWER_S = 2.0
OPEN_PATIENCE_S = 5.0
EXISTS_TRIES = 5
"""A stream for which the broker has no responder so often is taken for one that was deleted."""


class MadeAnew(Exception):
    """The stream was deleted and made anew since a message was read: its sequences are those of other messages."""


class FormerSequence(int):
    """A sequence of the stream that an earlier version, without partitions, has written."""


class StoredTape:
    """The stored messages of a feed's public subject (`md.…`) at one place.

    Each request is repeated until the stream answers it, and raises BrokerUnavailable once the connection is closed.
    """

    def __init__(self, bus: Bus, subject: str, place: Place) -> None:
        self.subject = subject
        self.place = place
        self.stream, self._tape = place
        self._bus = bus

    async def newest(self) -> StreamMessage | None:
        """The last message; None if there is none."""
        return _first(await self._get({"last_by_subj": self._tape}))

    async def contains(self, sequence: int) -> bool:
        """Whether the message of a sequence is one of this subject."""
        found = _first(await self._get({"next_by_subj": self._tape, "seq": sequence})) if sequence > 0 else None
        return found is not None and found.sequence == sequence

    async def exists(self) -> bool:
        """Whether there is such a stream, and it has a message of the subject. Waits for a broker that is away."""
        absent = 0
        while absent < EXISTS_TRIES:
            try:
                return bool(await self._request({"last_by_subj": self._tape}))
            except nats.errors.NoRespondersError:
                absent += 1
            except (nats.errors.Error, TimeoutError) as error:
                log.debug("the broker does not answer, reading again", what=self.stream, error=repr(error))
            await asyncio.sleep(AGAIN_S)
        return False

    async def oldest(self) -> StreamMessage | None:
        """The first message that is still stored."""
        return _first(await self._get({"next_by_subj": self._tape, "seq": 1}))

    async def first_since(self, moment: str) -> StreamMessage | None:
        """The first message that the broker stored at or after a time (RFC 3339)."""
        return _first(await self._get({"next_by_subj": self._tape, "start_time": moment}))

    async def at(self, sequence: int) -> StreamMessage | None:
        """The message of a sequence; None if it is no longer stored."""
        return _first(await self._get({"seq": sequence}))

    async def page(self, after: int, stamp: str = "") -> list[StreamMessage]:
        """The next messages after a sequence, as many as fit in a page; none at the end.

        `stamp` is that of the message of the subject at `after`, empty if there need not be one. Raises MadeAnew if
        another message is there now; if none is stored there any more, nothing tells.
        """
        request = {"next_by_subj": self._tape, "max_bytes": PAGE_BYTES}
        if stamp:
            # The same answer has that message, so the stream cannot be made anew in between.
            found = await self._get({**request, "seq": after, "batch": PAGE + 1})
            if not found or found[0].sequence != after:
                return found
            if found[0].stamp != stamp:
                raise MadeAnew
            if len(found) > 1:
                return found[1:]
            # It may fill the page.
        return await self._get({**request, "seq": after + 1, "batch": PAGE})

    async def pages(self, after: int, *, known: bool = True) -> AsyncGenerator[list[TapeMessage], None]:
        """See `read_pages`."""
        # `after` is any position in the stream: there need not be a message of this subject.
        exact, stamp, lost = False, "", False
        async with self.readable():
            page = await self.page(after)
        while page:
            found = []
            for message in page:
                skipped = lost or has_gap(message.previous, after, exact=exact, known=known)
                found.append(TapeMessage(message.sequence, message.data, read_back=True, skipped=skipped))
                after, exact, stamp, lost = message.sequence, True, message.stamp, False
            yield found
            try:
                page = await self.page(after, stamp)
            except MadeAnew:
                page, lost = await self.page(0), True

    async def position(self, since: int) -> tuple[int, bool]:
        """See `find_position`."""
        moment = rfc3339(since / 1000)
        async with self.readable():
            oldest = await self.oldest()
            first = await self.first_since(moment) or await self.newest()
        if oldest is None or first is None:
            return 0, False
        after = first.sequence - 1 if first.stamp >= stamp_of(moment) else first.sequence
        return (after, True) if oldest.sequence <= after else (0, False)

    @asynccontextmanager
    async def readable(self) -> AsyncIterator[None]:
        """Raises BrokerUnavailable if what is requested within the block is not answered for 5 s."""
        try:
            async with asyncio.timeout(OPEN_PATIENCE_S):
                yield
        except TimeoutError as error:
            raise BrokerUnavailable(
                f"stream {self.stream} cannot be read", "start a streamer, with `tickwire up` for instance"
            ) from error

    async def _get(self, request: dict[str, object]) -> list[StreamMessage]:
        replies = await until_answered(partial(self._request, request), self.subject)
        return [found for each in replies if (found := stream_message_of(each, stored=True)) is not None]

    async def _request(self, request: dict[str, object]) -> list[Msg]:
        try:
            return await direct_get(self._bus.client, self.stream, request, ANSWER_S)
        except (nats.errors.Error, TimeoutError) as error:
            if self._bus.client.is_closed:
                raise BrokerUnavailable("the connection to the broker is closed", "connect again") from error
            raise


def _first(messages: list[StreamMessage]) -> StreamMessage | None:
    return messages[0] if messages else None


def rfc3339(seconds: float) -> str:
    """A time (s since the epoch) as nats-server takes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


async def stored_tape(bus: Bus, subject: str) -> StoredTape:
    """What is stored of a feed's public subject, at its place in the present layout.

    Raises BadRequest if `subject` is not the public subject of one feed.
    """
    place = UNPARTITIONED.place(subject)
    if is_partitioned(subject):
        place = (await layout_of(bus)).place(subject)
    return StoredTape(bus, subject, place)


async def former_place(bus: Bus, subject: str) -> Place | None:
    """Where an earlier version, without partitions, may have stored the subject; None if there is no such stream."""
    if not is_partitioned(subject) or not (await layout_of(bus)).former:
        return None
    return UNPARTITIONED.place(subject)


async def former_tape(bus: Bus, subject: str) -> StoredTape | None:
    """What an earlier version, without partitions, has stored of the subject; None if there is nothing.

    Any replica says that: who writes asks the leader instead. Raises BrokerUnavailable if the broker does not answer.
    """
    if (place := await former_place(bus, subject)) is None:
        return None
    tape = StoredTape(bus, subject, place)
    async with tape.readable():
        return tape if await tape.exists() else None


async def find_position(bus: Bus, subject: str, since: int) -> tuple[int, bool]:
    """The sequence after which all messages of a feed's public subject were stored at `since` (ms) or later.

    The second value tells whether the tape still stores messages from before `since`; without it, what is stored
    begins later, or there is nothing. Times are those of the broker's clock. A FormerSequence is one of the stream
    that an earlier version has written; `read_pages` and `read_tape` go on from there.
    """
    present = await _opened(bus, subject)
    after, whole = await present.position(since)
    if not whole and (former := await former_tape(bus, subject)) is not None:
        earlier, whole = await former.position(since)
        return FormerSequence(earlier), whole
    return after, whole


async def is_former(present: StoredTape, former: StoredTape, after: int) -> bool:
    """Whether a sequence is one of the stream that an earlier version has written."""
    if not after or isinstance(after, FormerSequence):
        return True
    return not await present.contains(after) and await former.contains(after)


async def read_pages(
    bus: Bus, subject: str, after: int, *, known: bool = True
) -> AsyncGenerator[list[TapeMessage], None]:
    """The stored messages of a feed's public subject after a sequence, in order, up to the present end.

    If retention removes messages meanwhile, the next one is marked `skipped`. `known`: the subject had a message at or
    before that sequence, so a message that names none before it is marked, too. Raises BrokerUnavailable if the stream
    cannot be read or the connection is closed.
    """
    present = await _opened(bus, subject)
    former = await former_tape(bus, subject)
    tapes = [present]
    if former is not None and await is_former(present, former, after):
        tapes.insert(0, former)
    for tape in tapes:
        async with aclosing(tape.pages(after, known=known)) as pages:
            async for page in pages:
                yield page
        if tape is former:
            log.info("the tape of an earlier version was read to its end", subject=subject)
            after, known = 0, False


async def _opened(bus: Bus, subject: str) -> StoredTape:
    async with StoredTape(bus, subject, UNPARTITIONED.place(subject)).readable():
        return await stored_tape(bus, subject)
