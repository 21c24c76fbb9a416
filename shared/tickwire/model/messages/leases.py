"""Entries of bucket LEASES."""

from __future__ import annotations

from msgspec import Struct

from tickwire.model.subjects import Name
from tickwire.model.times import Count, Time


class LeaseHolder(Struct, frozen=True, kw_only=True):
    """The value of a lease in bucket LEASES: its holder, and since when (ms).

    The lease is held while the session `session` of the holder is open. Versions before sessions wrote none (0): such
    an entry holds for the leases' TTL.
    """

    holder: Name
    since: Time
    session: Count = 0


class Instance(Struct, frozen=True, kw_only=True):
    """The value of an instance in bucket LEASES: a live service process, and its session.

    `session` is the revision of the session's first entry; 0 in the first entry itself. An instance that does not
    claim leases yet, or any more, has `claims` false: nobody waits for it.
    """

    instance: Name
    service: Name
    host: Name
    pid: Count
    started: Time
    session: Count = 0
    claims: bool = True
