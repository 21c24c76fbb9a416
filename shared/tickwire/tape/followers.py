"""Who follows a partition of the tape in the process that writes it: told of each message once it is stored. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tickwire.tape.pipeline import Entry

FOLLOWED_S, FOLLOWED_AGAIN_MS = 0.005, 50
"""What is stored is known by its acknowledgement: for followers that is requested so soon after the first message, and
this often while more follow."""
HELD_BYTES = 4 << 20
"""Of messages that wait for one follower; later ones are left out, and read from the stream when it is their turn."""


class HeldMessages:
    """The stored messages of one subject that wait for their follower.

    `lacks` is set while messages after the held ones have to be read from the stream: the sequence of the last of them
    that is known. From then on nothing is held, until the follower has reset it.
    """

    def __init__(self, lacks: int | None = None) -> None:
        self.lacks = lacks
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._news = asyncio.Event()

    def put(self, entry: Entry) -> None:
        """Hold a message that is stored now, if there is room."""
        if self.lacks is not None or self._bytes >= HELD_BYTES:
            self.lacks = entry.sequence
        else:
            self._entries.append(entry)
            self._bytes += len(entry.data)
        self._news.set()

    async def next(self) -> Entry | None:
        """The next message, as soon as there is one; None if what follows has to be read from the stream."""
        while not self._entries:
            if self.lacks is not None:
                return None
            self._news.clear()
            await self._news.wait()
        entry = self._entries.popleft()
        self._bytes -= len(entry.data)
        return entry


class Followers:
    """The followers of one partition, by subject. True while there are any."""

    def __init__(self) -> None:
        self._held: dict[str, list[HeldMessages]] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    @contextmanager
    def following(self, subject: str, held: HeldMessages) -> Iterator[None]:
        """Have the messages of a subject that are stored within the block held."""
        self._held.setdefault(subject, []).append(held)
        try:
            yield
        finally:
            self._held[subject].remove(held)
            if not self._held[subject]:
                del self._held[subject]

    def stored(self, found: Iterable[Entry]) -> None:
        """Tell whoever appended these messages, and who follows their subjects, that they are stored."""
        for entry in found:
            if (done := entry.done) is not None:
                entry.done = None
                done(entry.sequence)
            if self._held:
                for held in self._held.get(entry.subject, ()):
                    held.put(entry)
