"""`tickwire status` and `tickwire log`: what runs, and how much it says."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import nats.js.errors
from msgspec import Struct
from nats.aio.msg import Msg
from rich.console import Group, RenderableType
from rich.live import Live

from tickwire import logs, messages, streams, subjects
from tickwire.bus import Bus
from tickwire.cli import render
from tickwire.cli.connection import connected, now_ms, settings_of
from tickwire.cli.feeds import WATCH_S, listed
from tickwire.cli.inventory import inventory
from tickwire.cli.services import CONTROL_LOG
from tickwire.errors import BadRequest, NoSuchService, TickwireError
from tickwire.feeds import Feed, FeedReport
from tickwire.lifecycle import Exit, until_stopped
from tickwire.messages import FetchRequest, Job, LeaseHolder, LogLevel

logger = logs.get(__name__)

GATHER_S = 0.4
"""How long answers are waited for: every instance answers by itself."""
JOBS_SHOWN = 20
LEASES_SHOWN = 4
_LEASES = f"$KV.{streams.LEASES}."


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

    `jobs` are the first of those that wait or run, `jobs_waiting` says how many there are.
    """

    nats_url: str
    services: list[ServiceStatus]
    leases: list[LeaseStatus]
    streams: list[StreamStatus]
    jobs_waiting: int
    jobs: list[Job] = msgspec.field(default_factory=list)
    feeds: list[FeedReport] | None = None
    keys: int | None = None
    rows: int | None = None
    damaged: list[str] = msgspec.field(default_factory=list)


async def status(stop: asyncio.Event, config: Path | None, watching: bool, json: bool) -> int:
    """Print what runs on the broker, once or each second."""
    async with connected(settings_of(config)) as bus:
        if watching:
            await until_stopped(stop, _watch(bus, json))
            return Exit.OK
        found = await gathered(bus)
    if json:
        render.as_json(found)
    else:
        render.out().print(_rendered(found))
        for line in found.damaged:
            render.say(line)
    return Exit.OK


async def _watch(bus: Bus, json: bool) -> None:
    """The whole state each second, until cancelled."""
    console = render.out()
    before: dict[Feed, int] = {}
    on_terminal = console.is_terminal and not json
    with Live(console=console, auto_refresh=False, screen=True) if on_terminal else nullcontext() as live:
        while True:
            found = await gathered(bus)
            feeds = found.feeds or []
            paces = {each.feed: (each.messages - before[each.feed]) / WATCH_S for each in feeds if each.feed in before}
            before = {each.feed: each.messages for each in feeds}
            if json:
                print(msgspec.json.encode(found).decode(), flush=True)
            elif live is not None:
                live.update(_rendered(found, paces), refresh=True)
            else:
                console.print(_rendered(found, paces))
            await asyncio.sleep(WATCH_S)


async def gathered(bus: Bus) -> Status:
    """Ask everybody at once."""
    async with asyncio.TaskGroup() as group:
        services = group.create_task(_services(bus))
        leases = group.create_task(_leases(bus))
        filled = group.create_task(_streams(bus))
        cached = group.create_task(_cached(bus))
        feeds = group.create_task(_feeds(bus))
        jobs = group.create_task(_jobs(bus))
    keys, rows, damaged = cached.result()
    return Status(
        nats_url=bus.url,
        services=services.result(),
        leases=leases.result(),
        streams=filled.result(),
        jobs_waiting=next((each.messages for each in filled.result() if each.stream == streams.JOBS), 0),
        jobs=jobs.result(),
        feeds=feeds.result(),
        keys=keys,
        rows=rows,
        damaged=damaged,
    )


async def answers(bus: Bus, subject: str, data: bytes = b"") -> list[bytes]:
    """All that is answered to one request within a short while."""
    found: list[bytes] = []

    async def take(message: Msg) -> None:
        if (message.headers or {}).get("Status") != "503":
            found.append(message.data)

    inbox = bus.client.new_inbox()
    subscription = await bus.subscribe(inbox, take)
    await bus.client.publish(subject, data, reply=inbox)
    await asyncio.sleep(GATHER_S)
    await subscription.unsubscribe()
    return found


async def _services(bus: Bus) -> list[ServiceStatus]:
    found = []
    for data in await answers(bus, "$SRV.STATS"):
        stats: dict[str, Any] = msgspec.json.decode(data)
        endpoints = stats.get("endpoints") or []
        found.append(
            ServiceStatus(
                service=stats["name"],
                instance=(stats.get("metadata") or {}).get("instance", stats["id"]),
                version=stats["version"],
                started=stats["started"],
                requests=sum(each.get("num_requests", 0) for each in endpoints),
                errors=sum(each.get("num_errors", 0) for each in endpoints),
            )
        )
    return sorted(found, key=lambda each: (each.service, each.instance))


async def _leases(bus: Bus) -> list[LeaseStatus]:
    try:
        info = await bus.jetstream.stream_info(f"KV_{streams.LEASES}", subjects_filter=f"{_LEASES}*.lease.>")
    except nats.js.errors.NotFoundError:
        return []
    found = await asyncio.gather(*(_lease(bus, subject) for subject in sorted(info.state.subjects or {})))
    return [each for each in found if each is not None]


async def _lease(bus: Bus, subject: str) -> LeaseStatus | None:
    """A lease, None where it was given up, has expired, or is none."""
    try:
        last = await bus.jetstream.get_last_msg(f"KV_{streams.LEASES}", subject, direct=True)
    except nats.js.errors.NotFoundError:
        return None
    # Without data it is a marker.
    if not last.data:
        return None
    service, _, lease = subject.removeprefix(_LEASES).split(".", 2)
    try:
        holder = messages.decode(last.data, LeaseHolder)
    except BadRequest as error:
        logger.warning("not a lease", subject=subject, error=str(error))
        return None
    return LeaseStatus(service=service, lease=lease, holder=holder.holder, since=holder.since)


async def _feeds(bus: Bus) -> list[FeedReport] | None:
    try:
        found, _ = await listed(bus)
    except TickwireError:
        return None
    return found


async def _jobs(bus: Bus) -> list[Job]:
    """The first jobs that wait or run, by their last message."""
    found: list[Job] = []
    sequence = 0
    try:
        while len(found) < JOBS_SHOWN:
            queued = await bus.jetstream.get_msg(streams.JOBS, sequence + 1, subject=">", next=True)
            sequence = queued.seq or sequence + 1
            request = messages.decode(queued.data or b"", FetchRequest)
            last = await bus.jetstream.get_last_msg(streams.JOB_RESULTS, subjects.job(str(request.id)), direct=True)
            found.append(messages.decode(last.data or b"", Job))
    except nats.js.errors.NotFoundError:
        # The end of the queue, or a broker without one.
        return found
    return found


async def _streams(bus: Bus) -> list[StreamStatus]:
    return [
        StreamStatus(stream=each.config.name or "", messages=each.state.messages, bytes=each.state.bytes)
        for each in await bus.jetstream.streams_info()
    ]


async def _cached(bus: Bus) -> tuple[int | None, int | None, list[str]]:
    try:
        keys, damaged = await inventory(bus)
    except TickwireError:
        return None, None, []
    return len(keys), sum(each.rows for each in keys), damaged


def _rendered(found: Status, paces: Mapping[Feed, float] | None = None) -> RenderableType:
    """The state in one screen: what is there first, details below."""
    cached = "nobody answers; start one with `tickwire up` or `tickwire service cache`"
    if found.keys is not None:
        cached = f"{render.plural(found.keys, 'key')}, {render.plural(found.rows or 0, 'candle')}"
    lines: list[RenderableType] = [
        f"broker  {found.nats_url}",
        f"cache   {cached}",
        f"jobs    {found.jobs_waiting:,} waiting or running",
        f"feeds   {'no streamer answers' if found.feeds is None else f'{len(found.feeds):,}'}",
    ]
    if found.services:
        held = Counter(lease.holder for lease in found.leases)
        table = render.table(
            "", ("service", "instance", "started", "leases", "requests", "errors"), ("leases", "requests", "errors")
        )
        for each in found.services:
            started = each.started.replace("T", " ")[:19]
            numbers = (held[each.instance], each.requests, each.errors)
            table.add_row(each.service, each.instance, started, *(f"{number:,}" for number in numbers))
        lines += ["", table]
    else:
        lines += ["", "no service is running; start all with `tickwire up`"]
    if found.leases:
        table = render.table("", ("leases of", "holder", "number", "since", "which"), ("number",))
        holders = sorted({(each.service, each.holder) for each in found.leases})
        for service, holder in holders:
            own = [each for each in found.leases if (each.service, each.holder) == (service, holder)]
            since = render.moment(max(each.since for each in own) // 1000 * 1000)
            names = ", ".join(each.lease for each in own[:LEASES_SHOWN])
            rest = f" and {len(own) - LEASES_SHOWN} more" if len(own) > LEASES_SHOWN else ""
            table.add_row(service, holder, f"{len(own):,}", since, names + rest)
        lines += ["", table]
    if found.jobs:
        table = render.table("", ("job", "key", "state", "instance", "fetched", "retries"), ("fetched", "retries"))
        for job in found.jobs:
            table.add_row(
                job.id, " ".join(job.key), job.state, job.instance or "-", f"{job.rows_fetched:,}", f"{job.retries:,}"
            )
        lines += ["", table]
    if found.feeds:
        lines += ["", render.feed_table(found.feeds, now_ms(), paces)]
    if found.streams:
        table = render.table("", ("stream", "messages", "size"), ("messages", "size"))
        for stream in found.streams:
            table.add_row(stream.stream, f"{stream.messages:,}", render.size(stream.bytes))
        lines += ["", table]
    return Group(*lines)


async def log(stop: asyncio.Event, config: Path | None, level: str, logger: str) -> int:
    """Set the level of a logger in every running service."""
    wanted = msgspec.convert({"level": level, "logger": logger}, LogLevel)
    began = time.monotonic()
    async with connected(settings_of(config)) as bus:
        confirmed = await answers(bus, CONTROL_LOG, messages.encode(wanted))
    if not confirmed:
        raise NoSuchService(
            f"no service confirmed the level within {time.monotonic() - began:.1f} s", "start all with `tickwire up`"
        )
    print(f"{logger} is at {level} in {render.plural(len(confirmed), 'service process', 'service processes')}")
    return Exit.OK
