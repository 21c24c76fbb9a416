"""Collects what runs on a broker, from JetStream and from every service."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
import nats.js.errors
from msgspec import Struct

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream
from tickwire.client.feed_list import list_feeds
from tickwire.client.inventory import inventory
from tickwire.client.job_queue import queued_jobs
from tickwire.errors import BrokerUnavailable, TickwireError
from tickwire.model.feeds import FeedReport
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.model.messages import Instance, Job, LeaseHolder
from tickwire.model.times import Count, now_ms
from tickwire.process.lifecycle import unwrapped
from tickwire.task_group import TaskGroup

GATHER_S = 0.4
"""How long answers are collected; every instance answers by itself."""
JOBS_SHOWN = 20
_LEASES = f"$KV.{streams.LEASES}."

T = TypeVar("T")


class Space(Struct, frozen=True, kw_only=True):
    """The bytes of the file system of a service's folder: those that it may still write, and all."""

    folder: str
    free: Count
    size: Count


class _Answered(Struct, frozen=True):
    num_requests: Count = 0
    num_errors: Count = 0
    data: object = None
    """Whatever the service says of itself."""

    @property
    def space(self) -> Space | None:
        """The room for files, if it says so."""
        found = self.data.get("space") if isinstance(self.data, dict) else None
        try:
            return msgspec.convert(found, Space) if found is not None else None
        except msgspec.ValidationError:
            return None

    @property
    def trouble(self) -> str | None:
        """Why the process is not ready, if it says so."""
        found = self.data.get("trouble") if isinstance(self.data, dict) else None
        return found if isinstance(found, str) else None


class _Stats(Struct, frozen=True):
    """The shown part of a micro service's answer to `$SRV.STATS` (ADR-32)."""

    name: str
    id: str
    version: str
    started: str
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    endpoints: list[_Answered] | None = None


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """One running instance of a service; `trouble` is why it is not ready, null if it is.

    `space` is the room for the files of a cache, or of an archive in a folder; null for others.
    """

    service: str
    instance: str
    version: str
    started: str
    requests: int
    errors: int
    trouble: str | None = None
    space: Space | None = None


class LeaseStatus(Struct, frozen=True, kw_only=True):
    """A lease, its holder, and since when it is held (ms)."""

    service: str
    lease: str
    holder: str
    since: int


class StreamStatus(Struct, frozen=True, kw_only=True):
    """The size of a stream; all partitions of trades are TRADES, those of book deltas BOOK_DELTAS.

    `limit` is how many bytes it may have, null where it has no limit.
    """

    stream: str
    messages: int
    bytes: int
    limit: int | None = None


class Status(Struct, frozen=True, kw_only=True):
    """What `tickwire status --json` prints. `keys` is null when no cache answers, `feeds` when no streamer does.

    `jobs` are the first queued and running jobs, `jobs_waiting` is their number. `at` is when the feeds were counted,
    ms by this computer's clock.
    """

    nats_url: str
    at: int
    services: list[ServiceStatus]
    leases: list[LeaseStatus]
    streams: list[StreamStatus]
    jobs_waiting: int
    jobs: list[Job] = msgspec.field(default_factory=list)
    feeds: list[FeedReport] | None = None
    keys: int | None = None
    rows: int | None = None
    damaged: list[str] = msgspec.field(default_factory=list)


class BrokerState(Struct, frozen=True, kw_only=True):
    """The part of `Status` that comes from JetStream."""

    leases: list[LeaseStatus]
    streams: list[StreamStatus]
    jobs: list[Job]


async def collect(bus: Bus, *, cached: bool = True) -> Status:
    """Ask the broker, then every service; the cache, which reads all its keys, only if `cached`.

    Raises BrokerUnavailable.
    """
    return await of_services(bus, await of_broker(bus), cached=cached)


async def of_broker(bus: Bus) -> BrokerState:
    """Ask JetStream; retry for up to 15 s while a cluster elects a leader. Raises BrokerUnavailable."""
    async with unwrapped(), TaskGroup() as group:
        leases = group.create_task(_leases(bus))
        filled = group.create_task(_streams(bus))
        jobs = group.create_task(queued_jobs(bus, JOBS_SHOWN))
    return BrokerState(leases=leases.result(), streams=filled.result(), jobs=jobs.result())


async def of_services(bus: Bus, broker: BrokerState, *, cached: bool = True) -> Status:
    """Ask every service, and merge the answers with the broker's state. Raises BrokerUnavailable."""
    async with unwrapped(), TaskGroup() as group:
        running = group.create_task(services(bus))
        counting = group.create_task(_cached(bus)) if cached else None
        feeds = group.create_task(_feeds(bus))
    keys, rows, damaged = counting.result() if counting is not None else (None, None, [])
    counted, at = feeds.result()
    return Status(
        nats_url=bus.url,
        at=at,
        services=running.result(),
        leases=broker.leases,
        streams=broker.streams,
        jobs_waiting=next((each.messages for each in broker.streams if each.stream == streams.JOBS), 0),
        jobs=broker.jobs,
        feeds=counted,
        keys=keys,
        rows=rows,
        damaged=damaged,
    )


async def services(bus: Bus) -> list[ServiceStatus]:
    """Return the running instances of all services, by name."""
    found = []
    for data in await bus.request_all("$SRV.STATS", wait_s=GATHER_S):
        stats = bus.undecodable.decode("$SRV.STATS", data, _Stats)
        if stats is not None:
            found.append(
                ServiceStatus(
                    service=stats.name,
                    instance=stats.metadata.get("instance", stats.id),
                    version=stats.version,
                    started=stats.started,
                    requests=sum(each.num_requests for each in stats.endpoints or ()),
                    errors=sum(each.num_errors for each in stats.endpoints or ()),
                    trouble=next((each.trouble for each in stats.endpoints or () if each.trouble), None),
                    space=next((each.space for each in stats.endpoints or () if each.space), None),
                )
            )
    return sorted(found, key=lambda each: (each.service, each.instance))


async def _leases(bus: Bus) -> list[LeaseStatus]:
    """Return the leases that an open session holds, or a holder of a version before sessions."""
    entries = await _entries(bus, "lease", LeaseHolder)
    instances = await _entries(bus, "instance", Instance)
    sessions = {(service, name): value.session or revision for service, name, revision, value in instances}
    return [
        LeaseStatus(service=service, lease=lease, holder=value.holder, since=value.since)
        for service, lease, _, value in entries
        if not value.session or sessions.get((service, value.holder)) == value.session
    ]


async def _entries(bus: Bus, kind: str, type_: type[T]) -> list[tuple[str, str, int, T]]:
    """Return service, name, revision and value of each entry of a kind that has not ended."""
    try:
        info = await retry_jetstream(
            lambda: bus.jetstream.stream_info(f"KV_{streams.LEASES}", subjects_filter=f"{_LEASES}*.{kind}.>")
        )
    except nats.js.errors.NotFoundError:
        return []
    found = await asyncio.gather(*(_entry(bus, subject, type_) for subject in sorted(info.state.subjects or {})))
    return [each for each in found if each is not None]


async def _entry(bus: Bus, subject: str, type_: type[T]) -> tuple[str, str, int, T] | None:
    try:
        last = await retry_jetstream(lambda: bus.jetstream.get_last_msg(f"KV_{streams.LEASES}", subject, direct=True))
    except nats.js.errors.NotFoundError:
        return None
    # A message without data is a marker of deletion or expiry.
    if not last.data:
        return None
    service, _, name = subject.removeprefix(_LEASES).split(".", 2)
    value = bus.undecodable.decode(subject, last.data, type_)
    return None if value is None else (service, name, last.seq or 0, value)


async def _feeds(bus: Bus) -> tuple[list[FeedReport] | None, int]:
    """Return the feeds, and when they were counted (ms)."""
    try:
        found, _ = await list_feeds(bus)
    except BrokerUnavailable:
        raise
    except TickwireError:
        return None, now_ms()
    return found, now_ms()


async def _streams(bus: Bus) -> list[StreamStatus]:
    """Every stream; the partitions of trades and of book deltas as one each."""
    sizes: dict[str, StreamStatus] = {}
    for each in await retry_jetstream(bus.jetstream.streams_info):
        name = each.config.name or ""
        whole, _, number = name.rpartition("-")
        name = whole if whole in PARTITIONED.values() and number.isdecimal() else name
        most = each.config.max_bytes or 0
        found = sizes.get(name) or StreamStatus(stream=name, messages=0, bytes=0, limit=0)
        sizes[name] = StreamStatus(
            stream=name,
            messages=found.messages + each.state.messages,
            bytes=found.bytes + each.state.bytes,
            limit=found.limit + most if found.limit is not None and most > 0 else None,
        )
    return list(sizes.values())


async def _cached(bus: Bus) -> tuple[int | None, int | None, list[str]]:
    try:
        keys, damaged = await inventory(bus)
    except BrokerUnavailable:
        raise
    except TickwireError:
        return None, None, []
    return len(keys), sum(each.rows for each in keys), damaged
