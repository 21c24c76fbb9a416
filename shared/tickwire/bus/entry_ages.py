"""How long ago each entry of bucket LEASES was written, by the clock of whoever sees it. No I/O.

Before sessions every entry expired by the bucket's `max_age`, and its holder renewed it. Instances of such a version
may still run while a system is upgraded, and anybody may write an entry that cannot be decoded. Such an entry has no
TTL of its own: it holds while it is younger than the TTL. An entry that has one is silent when neither a renewal nor
the marker of its expiry was delivered for two TTLs (its own, where that is longer: instances may be configured unlike):
the marker was missed, or the broker's clock went back, which expires what was written before as much later.
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
        oldest = time.monotonic() - self._ttl_s
        return [each.entry for each in self._untimed.values() if each.at <= oldest]

    def silent(self) -> list[Entry]:
        """The entries with a TTL of which nothing was delivered for two TTLs."""
        now = time.monotonic()
        return [each.entry for each in self._timed.values() if each.at <= now - 2 * max(self._ttl_s, each.entry.ttl_s)]
