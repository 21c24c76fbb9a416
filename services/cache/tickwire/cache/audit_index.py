"""What audits need to know of the keys of this instance, in memory: a look through them reads no files.

A partition's keys are read once, when it is taken over; after that, only those that were written meanwhile, whose
state is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from tickwire.cache import audit_windows, meta_file, rebuilt_rows
from tickwire.cache.disk import as_storage_error
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.key_state import facts_of, volumes_of
from tickwire.cache.partition import Partition
from tickwire.cache.store import Store
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.venues.registry import profile_of


class KnownKey(NamedTuple):
    """A key: its facts, what is to be compared with the archive, and when (ms) its first audit is due, if ever."""

    facts: KeyFacts
    uncompared: list[Range]
    due: int | None


class AuditIndex:
    """The keys of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys: dict[Key, KnownKey] = {}
        self._left: set[Key] | None = None
        """Keys that are still to be read; None before the first time."""

    def refresh(self) -> None:
        """Take in what was written since the last time. Blocks. Raises StorageError: what is left is taken later.

        `keys` is replaced, not changed: another look may be going through it.
        """
        changed = self.store.changes()
        if self._left is None:
            self._left = set(self.store.keys())
        self._left.update(changed)
        if not self._left:
            return
        keys = dict(self.keys)
        try:
            for key in list(self._left):
                state = changed.get(key)
                known = (
                    self._read(key) if state is None else _known(key, state.facts, state.volumes.proven(state.verified))
                )
                self._left.discard(key)
                keys.pop(key, None)
                if known is not None:
                    keys[key] = known
        finally:
            self.keys = keys

    def due(self, now: int) -> Iterator[tuple[Key, KnownKey]]:
        """The keys of which an audit is due at `now` (ms)."""
        found = [(key, known) for key, known in self.keys.items() if known.due is not None and known.due <= now]
        yield from found

    def _read(self, key: Key) -> KnownKey | None:
        path = self.store.folder.meta(key)
        with as_storage_error(f"read {path}"):
            raw = self.store.folder.read(path)
        # A damaged file is refused, and reported, where it is used.
        with suppress(ValueError):
            meta = None if raw is None else meta_file.decode(raw, key)
            if meta is not None:
                return _known(key, facts_of(meta), volumes_of(key, meta, meta.verified).proven(meta.verified))
        return None


def _known(key: Key, facts: KeyFacts, proven: list[Range]) -> KnownKey:
    candles = profile_of(key.exchange).candles
    due = audit_windows.first_due(key, facts.grid(key), facts.provenance.tape, candles)
    return KnownKey(facts, rebuilt_rows.uncompared(facts.settled(proven), facts.provenance), due)


class AuditIndexes:
    """The index of each partition that this instance owns."""

    def __init__(self) -> None:
        self._of: dict[int, AuditIndex] = {}
        self._refreshing = asyncio.Lock()

    async def of(self, partition: Partition) -> AuditIndex | None:
        """The index of a partition as it is now; None if this instance does not own it. Raises StorageError."""
        async with self._refreshing:
            store = partition.store
            if store is None:
                self._of.pop(partition.number, None)
                return None
            index = self._of.get(partition.number)
            if index is None or index.store is not store:
                index = self._of[partition.number] = AuditIndex(store)
            await asyncio.to_thread(index.refresh)
            return index
