"""Follows one subject of a partition in the process that writes it: every message that is stored, in order, once.

| subject | direction | what |
|---|---|---|
| `$JS.API.DIRECT.GET.<stream>` | requests | messages stored before, and those that were not held (`tape/stored.py`) |
| `$JS.API.STREAM.MSG.GET.<stream>` | requests | whether a message that a replica does not have is stored |

No consumer is needed for that: the owner of a partition is its only writer, and learns from the stream's
acknowledgements what is stored. Each message names the one before it on its subject, so none is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable
from tickwire.model.feeds.layout import Place
from tickwire.observe import logs
from tickwire.process.backoff import Backoff
from tickwire.process.loop_yield import LoopYield
from tickwire.tape.followers import HeldMessages
from tickwire.tape.partition_writer import PartitionWriter
from tickwire.tape.sequence import TapeMessage, has_gap
from tickwire.tape.stored import read_pages
from tickwire.tape.writer import message_at

log = logs.get(__name__)

FIRST_AGAIN_S, LONGEST_AGAIN_S = 0.05, 1.0
"""Delays before a replica that lags behind is read again."""


async def follow(
    bus: Bus, writer: PartitionWriter, public: str, place: Place, after: int
) -> AsyncGenerator[TapeMessage, None]:
    """The messages of a feed's public subject after a sequence: the stored ones, then each one that becomes stored.

    `place` is the feed's, in the partition of `writer`; `after` any position in its stream. Waits for a broker that is
    away; raises BrokerUnavailable once the connection is closed. Yields to the event loop in between.
    """
    held = HeldMessages(lacks=writer.lasts.get(place.subject, 0))
    past = _Past(bus, public, place, after)
    pacing = LoopYield()
    with writer.followers.following(place.subject, held):
        while True:
            entry = await held.next()
            if entry is None:
                until, held.lacks = held.lacks or 0, None
            elif entry.sequence <= past.last:
                continue
            else:
                until = entry.previous
            if entry is None or until > past.last:
                async with aclosing(past.read(until)) as messages:
                    async for message in messages:
                        yield message
                        # By time: a message has one trade, or as many thousands as fit into it.
                        await pacing.after_step()
            if entry is not None and entry.sequence > past.last:
                skipped = has_gap(entry.previous, past.last, exact=past.exact, known=False)
                past.advance(entry.sequence)
                yield TapeMessage(entry.sequence, entry.data, skipped=skipped)
                await pacing.after_step()


class _Past:
    """What of a subject was delivered, and reads what is stored after that."""

    def __init__(self, bus: Bus, public: str, place: Place, after: int) -> None:
        self.last = after
        """Sequence of the last message delivered, or where to begin."""
        self.exact = False
        """Whether there is a message of the subject at `last`."""
        self._bus = bus
        self._public = public
        self._place = place

    def advance(self, sequence: int) -> None:
        """A message is delivered."""
        self.last, self.exact = sequence, True

    async def read(self, until: int) -> AsyncGenerator[TapeMessage, None]:
        """Deliver what is stored, at least up to the message of a sequence, unless retention has removed it."""
        backoff = Backoff(FIRST_AGAIN_S, LONGEST_AGAIN_S, at_once=False)
        while True:
            try:
                # A position among other subjects' messages says nothing about messages before it.
                pages = read_pages(self._bus, self._public, self.last, known=False)
                async with aclosing(pages):
                    async for page in pages:
                        for message in page:
                            self.advance(message.sequence)
                            yield message
            except BrokerUnavailable as error:
                if self._bus.client.is_closed:
                    raise
                log.debug("the stream is read again", stream=self._place.stream, error=str(error))
            else:
                if self.last >= until or await message_at(self._bus, self._place.stream, until) is None:
                    return
                # A replica answered that lags behind the leader.
            await asyncio.sleep(backoff.next())
