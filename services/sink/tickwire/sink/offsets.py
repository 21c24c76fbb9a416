"""How far a sink has come: bucket SINK, an entry for each feed of trades, and one for the stream of books and candles.

Whoever saves says which revision it read, and the broker refuses it where another sink has saved since: one that was
paused, or whose words waited in a buffer, cannot put its older totals over its successor's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.js.api import RawStreamMsg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import EXPECTED, WRONG_SEQUENCE
from tickwire.bus.requests import cancellable
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.process import lifecycle

RETRY_S = 0.5
ACK_S = 2.0

S = TypeVar("S", bound=Struct)
V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    value: V
    revision: int
    """Of the last save that this ledger knows of, 0 where there was none."""


class Ledger(Generic[S]):
    """Entries of one `kind`, read from the broker when first asked for and kept in memory from then on."""

    def __init__(self, bus: Bus, kind: type[S]) -> None:
        self._bus = bus
        self._kind = kind
        self._known: dict[str, _Entry[S]] = {}
        self.unread: set[str] = set()
        """Paths whose entries could not be read: they begin at nothing, and whoever sees that says so."""

    async def of(self, path: str) -> S:
        """The entry at a path, such as `trade.binance.BTC-USDT`; a new one, or one that is none, starts at nothing."""
        if path not in self._known:
            entry = await self._read(path)
            if entry.value is None:
                self.unread.add(path)
            self._known[path] = _Entry(self._kind() if entry.value is None else entry.value, entry.revision)
        return self._known[path].value

    def keep(self, path: str, value: S) -> None:
        """From now on this, at a path that was asked for; `save` makes it last."""
        self._known[path].value = value

    async def save(self, paths: Iterable[str]) -> None:
        """Have these entries stored by the broker; repeated until they are.

        Raises Fenced when another has stored one since this ledger read it.
        """
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            for path in paths:
                group.create_task(self._save(path))

    async def _save(self, path: str) -> None:
        entry = self._known[path]
        data = messages.encode(entry.value)
        while True:
            headers = {EXPECTED: str(entry.revision)}
            try:
                ack = await self._bus.publisher.publish(_subject(path), data, headers=headers, timeout_s=ACK_S)
            except nats.js.errors.APIError as error:
                if error.err_code == WRONG_SEQUENCE:
                    found = await self._read(path)
                    if found.value is None:
                        # No sink wrote that.
                        entry.revision = found.revision
                        continue
                    if found.value != entry.value:
                        raise Fenced(f"another sink writes {path}", "it has taken over") from None
                    # Our own, whose confirmation was lost.
                    entry.revision = found.revision
                    return
            except nats.errors.Error:
                pass
            else:
                entry.revision = ack.seq
                return
            await asyncio.sleep(RETRY_S)

    async def _read(self, path: str) -> _Entry[S | None]:
        """The entry as the broker has it; without a value where it cannot be read."""
        while True:
            try:
                # Not `direct`: a replica may lag behind.
                last = await cancellable(self._bus.jetstream.get_last_msg(f"KV_{streams.SINK}", _subject(path)))
            except nats.js.errors.NotFoundError:
                return _Entry(self._kind(), 0)
            except nats.errors.Error:
                await asyncio.sleep(RETRY_S)
            else:
                return _Entry(self._decoded(path, last), last.seq or 0)

    def _decoded(self, path: str, last: RawStreamMsg) -> S | None:
        if "KV-Operation" in (last.headers or {}):
            # Somebody deleted it.
            return self._kind()
        return self._bus.undecodable.decode(_subject(path), last.data or b"", self._kind)


def _subject(path: str) -> str:
    return f"$KV.{streams.SINK}.{path}"
