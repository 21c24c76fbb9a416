"""Entries of bucket LEASES."""

from __future__ import annotations

from msgspec import Struct

from tickwire.model.subjects import Name
from tickwire.model.times import Count, Time


class LeaseHolder(Struct, frozen=True, kw_only=True):
    """The value of a lease in bucket LEASES: its holder, and since when (ms)."""

    holder: Name
    since: Time


class Instance(Struct, frozen=True, kw_only=True):
    """The value of an instance in bucket LEASES: a live service process."""

    instance: Name
    service: Name
    host: Name
    pid: Count
    started: Time
