"""How far a stream of the tape is archived: one entry of bucket ARCHIVE, and the fence of its owner.

| subject | direction | what |
|---|---|---|
| `$KV.ARCHIVE.<stream>` | reads, publishes | ArchiveCheckpoint |

A round is announced in the entry before its first file is written, so that whoever takes over writes exactly that round
again. Each save is compare-and-set: an owner that was suspended and has been replaced cannot announce another round.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import msgspec
from nats.js.api import StreamInfo

from tickwire.archive.rounds import Position
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.bus.lease import Lease
from tickwire.bus.requests import until_answered
from tickwire.model.messages.archiving import ArchiveCheckpoint
from tickwire.model.times import now_ms
from tickwire.observe import logs

log = logs.get(__name__)


class Archived(NamedTuple):
    """What files have of a stream: their generation, and the last message that is in one; 0 if there are none."""

    generation: int = 0
    done: int = 0


def taken_over(
    entry: ArchiveCheckpoint, created: int, last: int, files: Archived, now: int, root: str = ""
) -> tuple[ArchiveCheckpoint, str]:
    """The entry to go on from, and what there is to warn of; pure.

    The stream was created at `created` (ms) and ends with the message `last`; `files` matter if there is no entry, or
    one of another stream. `root` is the id of the archive whose files go on.
    """
    found, warning = _of_stream(entry, created, last, files, now)
    if found.stream == entry.stream and entry.root not in ("", root):
        # Of what the other has, these files have nothing: each feed is followed anew, under names of its own.
        generation, begin = max(now, found.generation + 1), found.done + 1
        found = msgspec.structs.replace(found, generation=generation, begin=begin)
        warning = warning or "another root has what came before: its days and those of this one stay partial"
    return msgspec.structs.replace(found, root=root), warning


def _of_stream(
    entry: ArchiveCheckpoint, created: int, last: int, files: Archived, now: int
) -> tuple[ArchiveCheckpoint, str]:
    """The same if all of it is in one root."""
    if entry.stream == created and entry.writing <= last:
        return entry, ""
    if entry.stream == created:
        # Sequences that are in the names of files are used again.
        generation = max(now, entry.generation + 1)
        lost = f"the stream has lost messages {last + 1} to {entry.writing}, and trades may be archived twice"
        done = min(entry.done, last)
        return msgspec.structs.replace(entry, generation=generation, done=done, writing=done), lost
    if files.done:
        done = min(files.done, last)
        generation = files.generation if files.done <= last else max(now, files.generation + 1)
        # What was read before is not known: each feed is followed anew.
        found = ArchiveCheckpoint(stream=created, generation=generation, done=done, writing=done, begin=done + 1)
        return found, "there was no checkpoint; files show how far the stream is archived"
    return ArchiveCheckpoint(stream=created, generation=created), ""


class Checkpoint:
    """The entry of a stream, for one owner. Made by `take_over`."""

    def __init__(self, entries: FencedEntries[ArchiveCheckpoint], stream: str, entry: ArchiveCheckpoint) -> None:
        self.stream = stream
        self._entries = entries
        self._entry = entry

    @property
    def position(self) -> Position:
        """How far the stream is archived."""
        entry = self._entry
        return Position(entry.generation, entry.done, entry.begin, tuple(entry.holes))

    @property
    def done(self) -> int:
        """Messages up to here are in files."""
        return self._entry.done

    @property
    def unfinished(self) -> int | None:
        """The end of a round that an owner has announced and may not have written; None if there is none."""
        return self._entry.writing if self._entry.writing > self._entry.done else None

    async def claim(self, owner: str) -> None:
        """Save the entry as this owner's. Raises Fenced."""
        await self._save(owner=owner)

    async def announce(self, last: int) -> None:
        """Announce that the messages after `done` up to `last` are being written. Raises Fenced."""
        await self._save(writing=last)

    async def complete(self, position: Position) -> None:
        """The stream is archived up to a position. Raises Fenced."""
        done = position.done
        await self._save(done=done, writing=done, begin=position.begin, holes=list(position.holes))

    async def confirm(self) -> None:
        """Return when the broker confirms that no other owner has saved. Raises Fenced."""
        await self._entries.confirm(self.stream)

    async def _save(self, **changes: object) -> None:
        self._entry = msgspec.structs.replace(self._entry, **changes)
        self._entries.set(self.stream, self._entry)
        await self._entries.save([self.stream])


async def take_over(
    bus: Bus, stream: str, lease: Lease, files: Callable[[int], Awaitable[Archived]], root: str
) -> Checkpoint:
    """Read a stream's checkpoint and save it as this owner's, which ends the work of an earlier owner.

    `files` finds out what files have of a stream that was created at a time (ms); `root` is the id of their archive.
    Waits for the broker. Raises Fenced.
    """
    entries = FencedEntries(bus, streams.ARCHIVE, ArchiveCheckpoint)
    found = await entries.of(stream)
    info: StreamInfo = await until_answered(partial(bus.jetstream.stream_info, stream), f"stream {stream}")
    created, last = streams.created_ms(info), info.state.last_seq
    archived = Archived() if found.stream == created else await files(created)
    entry, warning = taken_over(found, created, last, archived, now_ms(), root)
    if warning:
        log.warning("the checkpoint does not fit the stream", stream=stream, reason=warning, done=entry.done)
    checkpoint = Checkpoint(entries, stream, entry)
    await checkpoint.claim(f"{bus.name} {lease.epoch.revision}")
    return checkpoint
