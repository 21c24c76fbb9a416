"""Entries of a KV bucket that say how far an instance has come: the sink's offsets, the archive's checkpoints.

Each save is compare-and-set on the revision that was read. The broker refuses it if another instance has saved since:
one that was suspended, or whose messages waited in a buffer, cannot overwrite the newer entry of its successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.js.api import RawStreamMsg

from tickwire.bus.connection import Bus
from tickwire.bus.publisher import EXPECTED, WRONG_SEQUENCE
from tickwire.bus.requests import until_answered
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.task_group import TaskGroup

ACK_S = 2.0

S = TypeVar("S", bound=Struct)
V = TypeVar("V")


def broker_backoff() -> Backoff:
    """The delays between attempts while the broker is unavailable; the connection is restored by itself."""
    return Backoff(0.25, 2.0, at_once=False)


@dataclass
class _Entry(Generic[V]):
    value: V
    revision: int
    """Of the last known save; 0 without one."""


class FencedEntries(Generic[S]):
    """Entries of one `kind` in a bucket, read from the broker on first use and then kept in memory."""

    def __init__(self, bus: Bus, bucket: str, kind: type[S]) -> None:
        self._bus = bus
        self._bucket = bucket
        self._kind = kind
        self._known: dict[str, _Entry[S]] = {}
        self.unreadable: set[str] = set()
        """Paths whose entries could not be decoded: they start from zero, which the caller reports."""

    async def of(self, path: str) -> S:
        """The entry at a path, such as `trade.binance.BTC-USDT`; zero if there is none, or none that can be decoded."""
        if path not in self._known:
            entry = await self._read(path)
            if entry.value is None:
                self.unreadable.add(path)
            self._known[path] = _Entry(self._kind() if entry.value is None else entry.value, entry.revision)
        return self._known[path].value

    def set(self, path: str, value: S) -> None:
        """Set the entry at a path that `of` has read; `save` makes it durable."""
        self._known[path].value = value

    async def save(self, paths: Iterable[str]) -> None:
        """Store these entries at the broker, and retry until they are.

        Raises Fenced when another instance has stored one since it was read here.
        """
        async with lifecycle.unwrapped(), TaskGroup() as group:
            for path in paths:
                group.create_task(self._save(path))

    async def confirm(self, path: str) -> None:
        """Return when the broker confirms that the entry is as it was last read or saved here. Raises Fenced."""
        if (await self._read(path)).revision != self._known[path].revision:
            raise Fenced(f"another instance writes {path}", "it has taken over")

    async def _save(self, path: str) -> None:
        entry = self._known[path]
        data = messages.encode(entry.value)
        backoff = broker_backoff()
        while True:
            headers = {EXPECTED: str(entry.revision)}
            try:
                ack = await self._bus.publisher.publish(self._subject(path), data, headers=headers, timeout_s=ACK_S)
            except nats.js.errors.APIError as error:
                if error.err_code == WRONG_SEQUENCE:
                    found = await self._read(path)
                    if found.value is None:
                        # Not written by an instance of ours.
                        entry.revision = found.revision
                        continue
                    if found.value != entry.value:
                        raise Fenced(f"another instance writes {path}", "it has taken over") from None
                    # Our own save, whose acknowledgement was lost.
                    entry.revision = found.revision
                    return
            except nats.errors.Error:
                pass
            else:
                entry.revision = ack.seq
                return
            await asyncio.sleep(backoff.next())

    async def _read(self, path: str) -> _Entry[S | None]:
        """The entry at the broker; without a value if it cannot be decoded."""
        # Not a direct get: a replica may lag behind.
        get = partial(self._bus.jetstream.get_last_msg, f"KV_{self._bucket}", self._subject(path))
        try:
            last = await until_answered(get, self._subject(path), answers=nats.js.errors.NotFoundError)
        except nats.js.errors.NotFoundError:
            return _Entry(self._kind(), 0)
        return _Entry(self._decoded(path, last), last.seq or 0)

    def _decoded(self, path: str, last: RawStreamMsg) -> S | None:
        if "KV-Operation" in (last.headers or {}):
            # The entry was deleted.
            return self._kind()
        return self._bus.undecodable.decode(self._subject(path), last.data or b"", self._kind)

    def _subject(self, path: str) -> str:
        return f"$KV.{self._bucket}.{path}"
