"""The cache: candles in plain CSV files, each partition written by one process, readable by anyone over the bus.

| subject | here | what |
|---|---|---|
| `cache.get` | answered | candles of a key, in chunks |
| `cache.coverage` | answered | the coverage of a key; empty for an unknown one |
| `cache.list` | answered | the coverage of every key, in chunks |
| `cache.verify`, `cache.repair` | answered | a key's files checked; damaged ones moved aside |
| `cache.compare` | answered | a key compared with archived trades, in chunks |
| `cache.partition.<p>.<endpoint>` | answered by the owner, requested by others | see forwarding.py |
| `ohlcv.<p>.>` (stream OHLCV) | read | see partition.py |
| `md.stored.<exchange>.<token>.<timeframe>` | published | see partition.py |
| `md.rejected.<exchange>.<token>.<timeframe>` | published | see partition.py |
| `fetcher.fetch` | requested | audits, see standing_audit.py, archive_audit.py |
| `archive.days`, `archive.bars` | requested | see archive_comparison.py |
| `md.archived.trade.<exchange>.<token>` | subscribed | see archive_audit.py |
| `$KV.LEASES.cache.>` | leases | the owner of each partition |

Any instance answers any request; one that does not own the key's partition forwards it to the owner.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from prometheus_client.core import Metric

from tickwire.bus import stream_depth, streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease, Leases, open_leases
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.cache import folder_owner, key_endpoints
from tickwire.cache.archive_audit import ArchiveAudit
from tickwire.cache.audit_index import AuditIndexes
from tickwire.cache.disk import as_storage_error
from tickwire.cache.forwarding import ForwardedRequests, forward
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition
from tickwire.cache.standing_audit import StandingAudit
from tickwire.errors import Fenced, NoSuchService, RequestTimeout, TickwireError
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import CacheList, Coverage, ListRequest
from tickwire.model.subjects import Key
from tickwire.observe import disk_space, logs
from tickwire.observe.metrics import Metrics, gauge
from tickwire.process import lifecycle
from tickwire.settings import Settings
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

SERVICE = "cache"
PATIENCE_S = 10.0
"""How long a request waits for its partition to have an owner; a takeover takes about one lease TTL."""


async def serve_cache(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Run one instance of the cache until `stop`.

    Raises StorageError when the cache folder cannot be used, ConfigError when it belongs to another broker. If the
    broker was replaced while this process ran, waits until the folder is given to the new one.
    """
    _probe_folder(settings)
    mine = await folder_owner.identity(bus.jetstream)
    if metrics.served_before and not settings.cache.adopt:
        await lifecycle.until_stopped(stop, folder_owner.given(settings.cache_dir, mine, metrics.ready))
        if stop.is_set():
            return
    async with (
        folder_owner.held(settings.cache_dir, mine, adopt=settings.cache.adopt),
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        stream_depth.observed(bus, streams.OHLCV, metrics),
        disk_space.observed(settings.cache_dir, metrics),
        TaskGroup() as tasks,
    ):
        cache = Cache(bus, leases, settings, stop, tasks, metrics)
        with metrics.reading(cache.measured), metrics.ready.checked("storage", cache.trouble):
            async with (
                serve(bus, SERVICE, cache.endpoints(), instance=instance, metrics=metrics),
                TaskGroup() as holding,
            ):
                log.info("serving", folder=str(settings.cache_dir), partitions=settings.cache.partitions)
                if settings.cache.audit:
                    holding.create_task(cache.audit.run())
                    holding.create_task(cache.archive_audit.run())
                for partition in cache.partitions:
                    number, own = partition.number, partial(cache.own, partition)
                    holding.create_task(leases.hold(str(number), own, stop, partition=number))
    log.info("cache has stopped")


def _probe_folder(settings: Settings) -> None:
    """Raise StorageError at once if nothing can be stored."""
    probe = settings.cache_dir / f".probe-{os.getpid()}"
    with as_storage_error(f"write to the cache folder {settings.cache_dir}"):
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()


class Cache:
    """One instance: its partitions, and the requests that it answers or forwards."""

    def __init__(
        self,
        bus: Bus,
        leases: Leases,
        settings: Settings,
        stop: asyncio.Event,
        tasks: TaskGroup,
        metrics: Metrics,
    ) -> None:
        self.bus = bus
        self.leases = leases
        self.stop = stop
        count = settings.cache.partitions
        counts = CacheMetrics(metrics.registry)
        self.partitions = [Partition(bus, settings.cache_dir, number, count, counts) for number in range(count)]
        indexes = AuditIndexes()
        self.audit = StandingAudit(bus, self.partitions, indexes, counts, stop)
        self.archive_audit = ArchiveAudit(bus, self.partitions, indexes, counts, stop)
        self._forwarded = ForwardedRequests(bus, self._endpoint, tasks, metrics)

    def endpoints(self) -> list[Endpoint[Any]]:
        """The endpoints of the service."""
        return [
            *map(self._endpoint, key_endpoints.BY_NAME),
            Endpoint("cache.list", ListRequest, self._list),
        ]

    def measured(self) -> list[Metric]:
        """Gauges: bytes that wait to be stored, partitions that cannot be stored."""
        queued = sum(partition.queued for partition in self.partitions)
        troubled = sum(partition.trouble is not None for partition in self.partitions)
        return [
            gauge("tickwire_cache_queued_bytes", "Pages taken from the stream and not applied yet", queued),
            gauge("tickwire_cache_troubled_partitions", "Partitions that cannot be stored at present", troubled),
        ]

    def trouble(self) -> str | None:
        """Why a partition cannot be stored at present; None if all can."""
        return next((str(each.trouble) for each in self.partitions if each.trouble is not None), None)

    async def own(self, partition: Partition, lease: Lease) -> None:
        """Own a partition: apply its pages, and answer the requests that other instances forward."""
        async with self._forwarded.answered(partition):
            await partition.own(lease)

    # -- answering -----------------------------------------------------------------------------------------------

    def _endpoint(self, name: str) -> Endpoint[Any]:
        return Endpoint(f"cache.{name}", key_endpoints.BY_NAME[name][0], partial(self._route, name))

    async def _route(self, name: str, request: Any, call: Call) -> Struct | None:
        """Answer the request if this instance owns the partition, else forward it to the owner."""
        if not call.reply_to:
            return None
        key: Key = request.key
        # Of what is no timeframe nothing is ever cached, and "not cached" would send people to fetch it.
        timeframes.parse(key.timeframe)
        partition = self.partitions[subjects.partition_of(key, len(self.partitions))]
        async for _ in self._attempts(partition):
            if partition.owned:
                try:
                    return await key_endpoints.BY_NAME[name][1](partition, request, call)
                except Fenced:
                    continue
            if not partition.owned and await forward(self.bus, f"cache.partition.{partition.number}.{name}", call):
                return None
        raise self._no_owner(partition)

    async def _list(self, request: ListRequest, call: Call) -> None:
        """Reply with the listings of all partitions, each from its owner."""
        parts = await asyncio.gather(*(self._listing(partition, request) for partition in self.partitions))
        keys, damaged = await asyncio.to_thread(_in_order, parts)
        await key_endpoints.reply_list(keys, damaged, call)

    async def _listing(self, partition: Partition, request: ListRequest) -> CacheList:
        async for _ in self._attempts(partition):
            try:
                if partition.owned:
                    return await key_endpoints.listed(partition, request)
                keys: list[Coverage] = []
                damaged: list[str] = []
                decode = partial(messages.decode, kind=CacheList)
                subject = f"cache.partition.{partition.number}.list"
                async for chunk in self.bus.request_chunks(subject, request, decode, timeout_s=PATIENCE_S / 4):
                    keys += chunk.keys
                    damaged += chunk.damaged
                return CacheList(keys=keys, damaged=damaged)
            except (Fenced, NoSuchService, RequestTimeout):
                continue
        raise self._no_owner(partition)

    async def _attempts(self, partition: Partition) -> AsyncIterator[None]:
        """Yield once, and again whenever the partition's owner may have changed, for PATIENCE_S at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            yield
            if loop.time() >= deadline or (self.stop.is_set() and len(self.leases.members) == 1):
                return
            await lifecycle.first_of(0.1, partition.changed.wait(), self.leases.changed())

    def _no_owner(self, partition: Partition) -> TickwireError:
        return RequestTimeout(
            f"partition {partition.number} of the cache has no owner that answers",
            "the cache is starting or stopping, or its folder cannot be used: see its log and try again",
        )


def _in_order(parts: Sequence[CacheList]) -> tuple[list[Coverage], list[str]]:
    """The keys and the notes of several listings. Thousands of keys take milliseconds: for a thread."""
    keys = sorted((coverage for part in parts for coverage in part.keys), key=lambda coverage: coverage.key)
    return keys, sorted(note for part in parts for note in part.damaged)
