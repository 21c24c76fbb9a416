"""`tickwire status` and `tickwire log`: what runs, and how much it says."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import nats.js.errors
from msgspec import Struct
from nats.aio.msg import Msg

from tickwire import messages, streams
from tickwire.bus import Bus
from tickwire.cli import render
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.inventory import inventory
from tickwire.cli.services import CONTROL_LOG
from tickwire.errors import NoSuchService, TickwireError
from tickwire.lifecycle import Exit
from tickwire.messages import LeaseHolder, LogLevel

GATHER_S = 0.4
"""How long answers are waited for: every instance answers by itself."""
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
    """What `tickwire status --json` prints. `keys` is absent when no cache answers."""

    nats_url: str
    services: list[ServiceStatus]
    leases: list[LeaseStatus]
    streams: list[StreamStatus]
    jobs_waiting: int
    keys: int | None = None
    rows: int | None = None
    damaged: list[str] = msgspec.field(default_factory=list)


async def status(stop: asyncio.Event, config: Path | None, json: bool) -> int:
    """Print what runs on the broker."""
    async with connected(settings_of(config)) as bus:
        found = await gathered(bus)
    if json:
        render.as_json(found)
    else:
        _print(found)
    return Exit.OK


async def gathered(bus: Bus) -> Status:
    """Ask everybody at once."""
    async with asyncio.TaskGroup() as group:
        services = group.create_task(_services(bus))
        leases = group.create_task(_leases(bus))
        filled = group.create_task(_streams(bus))
        cached = group.create_task(_cached(bus))
    keys, rows, damaged = cached.result()
    return Status(
        nats_url=bus.url,
        services=services.result(),
        leases=leases.result(),
        streams=filled.result(),
        jobs_waiting=next((each.messages for each in filled.result() if each.stream == streams.JOBS), 0),
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
    found = []
    for subject in sorted(info.state.subjects or {}):
        try:
            last = await bus.jetstream.get_last_msg(f"KV_{streams.LEASES}", subject)
        except nats.js.errors.NotFoundError:
            continue
        # Without data it is a marker: given up, or expired.
        if last.data:
            service, _, lease = subject.removeprefix(_LEASES).split(".", 2)
            holder = messages.decode(last.data, LeaseHolder)
            found.append(LeaseStatus(service=service, lease=lease, holder=holder.holder, since=holder.since))
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


def _print(found: Status) -> None:
    out = render.out()
    out.print(f"broker  {found.nats_url}")
    if found.keys is None:
        out.print("cache   nobody answers; start one with `tickwire up` or `tickwire service cache`")
    else:
        out.print(f"cache   {render.plural(found.keys, 'key')}, {render.plural(found.rows or 0, 'candle')}")
    out.print(f"jobs    {found.jobs_waiting:,} waiting or running\n")
    if found.services:
        table = render.table("", ("service", "instance", "started", "requests", "errors"), ("requests", "errors"))
        for each in found.services:
            started = each.started.replace("T", " ")[:19]
            table.add_row(each.service, each.instance, started, f"{each.requests:,}", f"{each.errors:,}")
        out.print(table)
    else:
        out.print("no service is running; start all with `tickwire up`")
    if found.leases:
        out.print()
        table = render.table("", ("lease", "holder", "since"))
        for lease in found.leases:
            table.add_row(f"{lease.service} {lease.lease}", lease.holder, render.moment(lease.since // 1000 * 1000))
        out.print(table)
    if found.streams:
        out.print()
        table = render.table("", ("stream", "messages", "size"), ("messages", "size"))
        for stream in found.streams:
            table.add_row(stream.stream, f"{stream.messages:,}", render.size(stream.bytes))
        out.print(table)
    for line in found.damaged:
        render.say(line)


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
