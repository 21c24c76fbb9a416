"""How long ago each entry of bucket LEASES was written, by the clock of whoever sees it. No I/O.

Before sessions every entry expired by the bucket's `max_age`, and its holder renewed it. Instances of such a version
may still run while a system is upgraded, and anybody may write an entry that cannot be decoded. Such an entry has no
TTL of its own: it holds while it is younger than the TTL. An entry that has one is silent when neither a renewal nor
the marker of its expiry was delivered for two TTLs: the marker was missed.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from tickwire.bus.lease_bucket import Entry


class _Seen(NamedTuple):
    entry: Entry
    at: float


class EntryAges:
    """The entries whose end must be looked for, and when each was seen."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._untimed: dict[str, _Seen] = {}
        self._timed: dict[str, _Seen] = {}

    def see(self, entry: Entry, *, untimed: bool) -> None:
        """Take in the newest entry of a key. `untimed` means that the broker does not end what it says."""
        self._untimed.pop(entry.subject, None)
        self._timed.pop(entry.subject, None)
        if untimed:
            self._untimed[entry.subject] = _Seen(entry, time.monotonic())
        elif entry.expires and not entry.gone:
            self._timed[entry.subject] = _Seen(entry, time.monotonic())

    def untimed(self) -> list[Entry]:
        """The entries that the broker does not end."""
        return [seen.entry for seen in self._untimed.values()]

    def due(self) -> list[Entry]:
        """The untimed entries that were not renewed for a TTL."""
        return self._older(self._untimed, self._ttl_s)

    def silent(self) -> list[Entry]:
        """The entries with a TTL of which nothing was delivered for two TTLs."""
        return self._older(self._timed, 2 * self._ttl_s)

    @staticmethod
    def _older(seen: dict[str, _Seen], seconds: float) -> list[Entry]:
        oldest = time.monotonic() - seconds
        return [each.entry for each in seen.values() if each.at <= oldest]
