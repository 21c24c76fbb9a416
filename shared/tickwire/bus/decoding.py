"""Decode or skip: a message that does not decode is counted, named once per episode, and passed over.

Every subscription is made through `Bus.subscribe` or `Bus.ordered`, whose callbacks may raise BadRequest for a message
that does not fit: it ends nothing. Whoever loses data with a message that is passed over calls `decoded` and records
the place where it sees None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nats.aio.msg import Msg

from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.subjects import check_subject, family_of
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode

log = logs.get(__name__)

M = TypeVar("M")
Callback = Callable[[Msg], Awaitable[None]]

SHOWN = 60
"""Bytes of a message, and characters of a subject, that are logged."""
FAMILIES = 100
"""Kinds of subjects that are counted apart: subjects may be anybody's choice."""


class Undecodable:
    """The messages that a connection passed over."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How many, by the kind of their subject."""
        self._episodes: dict[str, Episode] = {}

    def decode(self, subject: str, data: bytes, kind: type[M]) -> M | None:
        """A message from JSON; None where it does not decode, which is counted."""
        try:
            return messages.decode(data, kind)
        except BadRequest as error:
            self.skip(subject, data, error)
            return None

    def skip(self, subject: str, data: bytes, error: BadRequest, **where: object) -> None:
        """Count a message that is passed over; logged once per episode, with `where`."""
        family = family_of(subject)
        if family not in self._episodes:
            if len(self._episodes) >= FAMILIES:
                family = "other"
            self._episodes[family] = Episode(log, "undecodable messages are passed over", quiet_s=QUIET_S, kind=family)
        self.counts[family] += 1
        self._episodes[family].occurs(
            subject=subject[:SHOWN], begins=repr(data[:SHOWN]), error=error.message[:200], **where
        )

    def guarded(self, callback: Callback) -> Callback:
        """A callback that passes over what makes `callback` raise BadRequest, and subjects beyond 512 bytes."""

        async def take(message: Msg) -> None:
            try:
                check_subject(message.subject)
                await callback(message)
            except BadRequest as error:
                self.skip(message.subject, message.data, error)

        return take
