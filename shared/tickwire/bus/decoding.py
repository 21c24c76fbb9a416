"""Decode or skip: a message that cannot be decoded is counted, logged once per episode, and skipped.

Every subscription is made through `Bus.subscribe` or `Bus.subscribe_ordered`, whose callbacks may raise BadRequest for
an invalid message: the subscription goes on. A caller that loses data with a skipped message calls `decode` and records
the gap where it returns None.
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
from tickwire.observe.episodes import Episodes

log = logs.get(__name__)

M = TypeVar("M")
Callback = Callable[[Msg], Awaitable[None]]

SHOWN = 60
"""Logged bytes of a message, and characters of a subject."""
FAMILIES = 100
"""Families of subjects that are counted separately: anybody may choose a subject."""


class Undecodable:
    """Counts the skipped messages of a connection."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """How many, by the family of their subject."""
        self._episodes = Episodes(log, "undecodable messages are skipped", most=FAMILIES + 1)

    def decode(self, subject: str, data: bytes, kind: type[M]) -> M | None:
        """A message decoded from JSON; None, and counted, when it cannot be decoded."""
        try:
            return messages.decode(data, kind)
        except BadRequest as error:
            self.skip(subject, data, error)
            return None

    def skip(self, subject: str, data: bytes, error: BadRequest, **where: object) -> None:
        """Count a skipped message; logged once per episode, with `where`."""
        family = family_of(subject)
        if family not in self.counts and len(self.counts) >= FAMILIES:
            family = "other"
        self.counts[family] += 1
        self._episodes.occurs(
            family,
            kind=family,
            subject=subject[:SHOWN],
            begins=repr(data[:SHOWN]),
            error=error.message[:200],
            **where,
        )

    def guarded(self, callback: Callback) -> Callback:
        """A callback that skips messages for which `callback` raises BadRequest, and subjects over 512 bytes."""

        async def take(message: Msg) -> None:
            try:
                check_subject(message.subject)
                await callback(message)
            except BadRequest as error:
                self.skip(message.subject, message.data, error)

        return take
