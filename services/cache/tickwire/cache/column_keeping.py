"""Which keys' columns are to be kept (`column_index`), a record at a time between the commits of a partition.

A read makes about as many rows be kept as it had to parse. So a key that is never read as columns costs no disk, and
one that is read in part does not have the rest of a long history parsed at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from tickwire.cache.column_index import NEW_ROWS, ROWS
from tickwire.cache.store import Store
from tickwire.errors import CacheFileError, NotCached, StorageError
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode

log = logs.get(__name__)


class _Due(NamedTuple):
    """So many records are to be added to an index; those from `wrong` on are dropped before."""

    records: int
    wrong: int | None


class ColumnKeeping:
    """The work of one partition."""

    def __init__(self, partition: int) -> None:
        self._due: dict[Key, _Due] = {}
        self._failures = Episode(log, "parsed columns cannot be kept", quiet_s=QUIET_S, partition=partition)

    @property
    def is_due(self) -> bool:
        """Whether there is something to do."""
        return bool(self._due)

    def add(self, key: Key, parsed: int, wrong: int | None) -> bool:
        """Note what a read of a key met: rows that it parsed, a record that did not count; whether it is much."""
        if parsed < NEW_ROWS:
            return False
        self._due[key] = _Due(-(-parsed // ROWS), wrong)
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._due.clear()

    async def step(self, store: Store, run: Callable[[Callable[[], bool]], Awaitable[bool]]) -> None:
        """Add one record; `run` calls a function of the store in its thread. Raises Fenced."""
        key = next(iter(self._due))
        due = self._due.pop(key)
        try:
            added = await run(partial(_extended, store, key, due.wrong))
        except (NotCached, CacheFileError, StorageError) as error:
            # Reading goes on without: the next long read of the key tries again.
            self._failures.occurs(**key._asdict(), reason=str(error))
            return
        if added and due.records > 1:
            self._due.setdefault(key, _Due(due.records - 1, None))


def _extended(store: Store, key: Key, wrong: int | None) -> bool:
    with store.snapshot(key) as snapshot:
        return snapshot.extend_index(wrong)
