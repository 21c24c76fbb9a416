"""The log of requests and socket events, for tests to assert on."""

from __future__ import annotations

import time

from msgspec import Struct


class Entry(Struct):
    """One request or socket event. `status` is None while unanswered, 0 where it got no answer."""

    index: int
    time_ms: float
    """When it arrived, by the wall clock rather than the exchange's clock."""
    event: str
    """request, connect, disconnect, subscribe or unsubscribe."""
    host: str
    path: str
    query: str = ""
    status: int | None = None
    streams: list[str] = []
    """subscribe, unsubscribe: the streams that were named."""


class Journal:
    """Entries in order; the index continues after the log is cleared."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._next = 0

    def add(self, event: str, host: str, path: str, query: str = "", streams: list[str] | None = None) -> Entry:
        """Append an entry for now; return it."""
        entry = Entry(self._next, time.time() * 1000, event, host, path, query, streams=streams or [])
        self._next += 1
        self._entries.append(entry)
        return entry

    def since(self, index: int) -> list[Entry]:
        """Return the entries from an index on."""
        return [entry for entry in self._entries if entry.index >= index]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
