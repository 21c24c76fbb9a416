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

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get, until_answered
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.tape.sequence import StreamMessage, TapeMessage, has_gap, stamp_of, stream_message_of

PAGE = 256
PAGE_BYTES = 4 << 20
ANSWER_S = 2.0
OPEN_PATIENCE_S = 5.0

_STREAMS = {
    "trade": streams.TRADES,
    "book": streams.BOOKS,
    "book_delta": streams.BOOK_DELTAS,
    "ticker": streams.TICKERS,
    "candle": streams.CANDLES,
    "status": streams.STATUS,
}


class StoredTape:
    """The stored messages of a feed's public subject (`md.…`).

    Each request is repeated until the stream answers it, and raises BrokerUnavailable once the connection is closed.
    """

    def __init__(self, bus: Bus, subject: str) -> None:
        """Raises BadRequest if `subject` is not the public subject of one feed."""
        kind = subject.split(".")[1:2]
        if not subject.startswith("md.") or not kind or kind[0] not in _STREAMS or "*" in subject or ">" in subject:
            raise BadRequest(f"{subject!r} is not the public subject of one feed", "such as md.trade.binance.BTC-USDT")
        self.subject = subject
        self.stream = _STREAMS[kind[0]]
        self._bus = bus
        self._tape = "tape." + subject.removeprefix("md.")

    async def newest(self) -> StreamMessage | None:
        """The last message; None if there is none."""
        return _first(await self._get({"last_by_subj": self._tape}))

    async def oldest(self) -> StreamMessage | None:
        """The first message that is still stored."""
        return _first(await self._get({"next_by_subj": self._tape, "seq": 1}))

    async def first_since(self, moment: str) -> StreamMessage | None:
        """The first message that the broker stored at or after a time (RFC 3339)."""
        return _first(await self._get({"next_by_subj": self._tape, "start_time": moment}))

    async def at(self, sequence: int) -> StreamMessage | None:
        """The message of a sequence; None if it is no longer stored."""
        return _first(await self._get({"seq": sequence}))

    async def page(self, after: int) -> list[StreamMessage]:
        """The next messages after a sequence, as many as fit in a page; none at the end."""
        return await self._get({"next_by_subj": self._tape, "seq": after + 1, "batch": PAGE, "max_bytes": PAGE_BYTES})

    async def pages(self, after: int, *, known: bool = True) -> AsyncGenerator[list[TapeMessage], None]:
        """See `read_pages`."""
        # `after` is any position in the stream: there need not be a message of this subject.
        exact = False
        async with self.readable():
            page = await self.page(after)
        while page:
            found = []
            for message in page:
                skipped = has_gap(message.previous, after, exact=exact, known=known)
                found.append(TapeMessage(message.sequence, message.data, read_back=True, skipped=skipped))
                after, exact = message.sequence, True
            yield found
            page = await self.page(after)

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


async def find_position(bus: Bus, subject: str, since: int) -> tuple[int, bool]:
    """The sequence after which all messages of a feed's public subject were stored at `since` (ms) or later.

    The second value tells whether the stream still stores messages from before `since`; without it, what is stored
    begins later, or there is nothing. Times are those of the broker's clock.
    """
    return await StoredTape(bus, subject).position(since)


async def read_pages(
    bus: Bus, subject: str, after: int, *, known: bool = True
) -> AsyncGenerator[list[TapeMessage], None]:
    """The stored messages of a feed's public subject after a sequence, in order, up to the present end.

    If retention removes messages meanwhile, the next one is marked `skipped`. `known`: the subject had a message at or
    before that sequence, so a message that names none before it is marked, too. Raises BrokerUnavailable if the stream
    cannot be read or the connection is closed.
    """
    async with aclosing(StoredTape(bus, subject).pages(after, known=known)) as pages:
        async for page in pages:
            yield page
