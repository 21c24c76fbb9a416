"""What runs on a broker: asked of JetStream, and of every service."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import nats.js.errors
from msgspec import Struct

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream
from tickwire.cli.candles.inventory import inventory
from tickwire.cli.feeds.interests import listed
from tickwire.errors import BadRequest, BrokerUnavailable, TickwireError
from tickwire.model import subjects
from tickwire.model.feeds import FeedReport
from tickwire.model.messages import FetchRequest, Job, LeaseHolder
from tickwire.model.times import Count, now_ms
from tickwire.process.lifecycle import unwrapped

GATHER_S = 0.4
"""How long answers are waited for: every instance answers by itself."""
JOBS_SHOWN = 20
_LEASES = f"$KV.{streams.LEASES}."


class _Answered(Struct, frozen=True):
    num_requests: Count = 0
    num_errors: Count = 0


class _Stats(Struct, frozen=True):
    """What a micro service answers to `$SRV.STATS`, as far as it is shown (ADR-32)."""

    name: str
    id: str
    version: str
    started: str
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    endpoints: list[_Answered] | None = None


class ServiceStatus(Struct, frozen=True, kw_only=True):
    """One running instance of a service."""

    service: str
    instance: str
    version: str
    started: str
    requests: int
    errors: int


class LeaseStatus(Struct, frozen=True, kw_only=True):
    """Who does what alone, since when (ms)."""

    service: str
    lease: str
    holder: str
    since: int


class StreamStatus(Struct, frozen=True, kw_only=True):
    """How full a stream is."""

    stream: str
    messages: int
    bytes: int


class Status(Struct, frozen=True, kw_only=True):
    """What `tickwire status --json` prints. `keys` is absent when no cache answers, `feeds` when no streamer does.

    `jobs` are the first of those that wait or run, `jobs_waiting` says how many there are. `at` is when the feeds were
    counted, ms by this computer's clock.
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
    """What JetStream alone knows, as in `Status`."""

    leases: list[LeaseStatus]
    streams: list[StreamStatus]
    jobs: list[Job]


async def gathered(bus: Bus) -> Status:
    """Ask the broker, then everybody on it. Raises BrokerUnavailable."""
    return await of_services(bus, await of_broker(bus))


async def of_broker(bus: Bus) -> BrokerState:
    """Ask JetStream, again for up to 15 s while a cluster elects a leader. Raises BrokerUnavailable."""
    async with unwrapped(), asyncio.TaskGroup() as group:
        leases = group.create_task(_leases(bus))
        filled = group.create_task(_streams(bus))
        jobs = group.create_task(queued(bus, JOBS_SHOWN))
    return BrokerState(leases=leases.result(), streams=filled.result(), jobs=jobs.result())


async def of_services(bus: Bus, broker: BrokerState) -> Status:
    """Ask every service, and put it together with what the broker said. Raises BrokerUnavailable."""
    async with unwrapped(), asyncio.TaskGroup() as group:
        services = group.create_task(_services(bus))
        cached = group.create_task(_cached(bus))
        feeds = group.create_task(_feeds(bus))
    keys, rows, damaged = cached.result()
    counted, at = feeds.result()
    return Status(
        nats_url=bus.url,
        at=at,
        services=services.result(),
        leases=broker.leases,
        streams=broker.streams,
        jobs_waiting=next((each.messages for each in broker.streams if each.stream == streams.JOBS), 0),
        jobs=broker.jobs,
        feeds=counted,
        keys=keys,
        rows=rows,
        damaged=damaged,
    )


async def _services(bus: Bus) -> list[ServiceStatus]:
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
                )
            )
    return sorted(found, key=lambda each: (each.service, each.instance))


async def _leases(bus: Bus) -> list[LeaseStatus]:
    try:
        info = await retry_jetstream(
            lambda: bus.jetstream.stream_info(f"KV_{streams.LEASES}", subjects_filter=f"{_LEASES}*.lease.>")
        )
    except nats.js.errors.NotFoundError:
        return []
    found = await asyncio.gather(*(_lease(bus, subject) for subject in sorted(info.state.subjects or {})))
    return [each for each in found if each is not None]


async def _lease(bus: Bus, subject: str) -> LeaseStatus | None:
    """A lease, None where it was given up, has expired, or is none."""
    try:
        last = await retry_jetstream(lambda: bus.jetstream.get_last_msg(f"KV_{streams.LEASES}", subject, direct=True))
    except nats.js.errors.NotFoundError:
        return None
    # Without data it is a marker.
    if not last.data:
        return None
    service, _, lease = subject.removeprefix(_LEASES).split(".", 2)
    holder = bus.undecodable.decode(subject, last.data, LeaseHolder)
    if holder is None:
        return None
    return LeaseStatus(service=service, lease=lease, holder=holder.holder, since=holder.since)


async def _feeds(bus: Bus) -> tuple[list[FeedReport] | None, int]:
    """The feeds, and when they were counted, ms."""
    try:
        found, _ = await listed(bus)
    except BrokerUnavailable:
        raise
    except TickwireError:
        return None, now_ms()
    return found, now_ms()


async def queued(bus: Bus, most: int) -> list[Job]:
    """The first jobs that wait or run, by their last words. Raises BrokerUnavailable."""
    found: list[Job] = []
    sequence = 0
    while len(found) < most:
        try:
            queued = await retry_jetstream(
                partial(bus.jetstream.get_msg, streams.JOBS, sequence + 1, subject=">", next=True)
            )
        except nats.js.errors.NotFoundError:
            # The end of the queue, or a broker without one.
            break
        sequence = queued.seq or sequence + 1
        request = bus.undecodable.decode(queued.subject or "", queued.data or b"", FetchRequest)
        if request is None or request.id is None:
            continue
        try:
            found.append(await _job(bus, request.id, request))
        except BadRequest as error:
            # Nobody else's job is hidden by one whose id cannot be.
            bus.undecodable.skip(queued.subject or "", queued.data or b"", error)
    return found


async def _job(bus: Bus, job_id: str, request: FetchRequest) -> Job:
    """A job by its last message; where none is kept, or none that can be read, as it was asked for."""
    subject = subjects.job(job_id)
    try:
        last = await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subject, direct=True))
    except nats.js.errors.NotFoundError:
        found = None
    else:
        found = bus.undecodable.decode(subject, last.data or b"", Job)
    return found or Job(
        id=job_id,
        exchange=request.exchange,
        symbol=request.symbol,
        timeframe=request.timeframe,
        state="queued",
        since=request.since,
        until=now_ms() if request.until is None else request.until,
    )


async def _streams(bus: Bus) -> list[StreamStatus]:
    return [
        StreamStatus(stream=each.config.name or "", messages=each.state.messages, bytes=each.state.bytes)
        for each in await retry_jetstream(bus.jetstream.streams_info)
    ]


async def _cached(bus: Bus) -> tuple[int | None, int | None, list[str]]:
    try:
        keys, damaged = await inventory(bus)
    except BrokerUnavailable:
        raise
    except TickwireError:
        return None, None, []
    return len(keys), sum(each.rows for each in keys), damaged
