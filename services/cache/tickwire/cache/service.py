"""The cache: candles in plain CSV files, written by exactly one process a partition, read by anyone over the bus.

| subject | here | what |
|---|---|---|
| `cache.get` | answered | candles of a key, in chunks |
| `cache.coverage` | answered | what is known of a key; of an unknown one, nothing |
| `cache.list` | answered | the coverage of every key, in chunks |
| `cache.verify`, `cache.repair` | answered | a key's files checked; damaged ones moved aside |
| `cache.partition.<p>.<endpoint>` | answered by the owner, asked by the others | a request handed on |
| `ohlcv.<p>.>` (stream OHLCV) | read | see partition.py |
| `md.stored.<exchange>.<token>.<timeframe>` | published | see partition.py |
| `md.rejected.<exchange>.<token>.<timeframe>` | published | see partition.py |
| `$KV.LEASES.cache.>` | leases | who owns which partition |

Any instance answers any request. One that does not own the key's partition hands the request on with the original
reply subject; the owner says at once that it has it, and then answers the asker directly.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.msg import Msg
from prometheus_client.core import Metric

from tickwire.bus import graceful_close, security, stream_depth, streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease, Leases, open_leases
from tickwire.bus.service import Call, Endpoint, answer, may_answer, serve
from tickwire.cache import folder_owner, replies
from tickwire.cache.disk import explained
from tickwire.cache.key_reader import Reading
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition, first_of
from tickwire.cache.store import Store
from tickwire.errors import BadRequest, Fenced, NoSuchService, NotCached, RequestTimeout, StorageError, TickwireError
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import CacheList, CandlesRequest, Coverage, KeyRequest, ListRequest, Repair, Verification
from tickwire.model.ranges import Range, clip
from tickwire.model.subjects import Key, check_subject
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics, gauge
from tickwire.process import lifecycle
from tickwire.settings import Settings

log = logs.get(__name__)

SERVICE = "cache"
PATIENCE_S = 10.0
"""How long a request waits for its partition to have an owner; a takeover takes about one lease TTL."""
HANDSHAKE_S = 0.5
"""How long an owner may take to say that it has a request, before it counts as gone."""
REPLY_TO = "Tickwire-Reply-To"
EXPIRES = "Tickwire-Expires"
"""When (ms) the asker gave up on a handshake, by its own clock: all that owners of earlier versions go by."""
CONFIRMS = "Tickwire-Confirms"
"""The asker says, when an owner takes a request, whether it still waits for that: an owner that was suspended must not
answer a second time. No clocks are compared, which may differ from machine to machine."""
VERIFIED_RANGES = 20_000
"""Verified ranges in one reply, about 600 KB of JSON; the broker's limit for a message is 1 MiB."""


async def serve_cache(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Be one instance of the cache until `stop`.

    Raises StorageError when the cache folder cannot be used, ConfigError when it belongs to another broker. Where it is
    the broker that became another one while this process was at work, the folder is waited for.
    """
    _probe_folder(settings)
    mine = await folder_owner.identity(bus.jetstream)
    if metrics.again and not settings.cache.adopt:
        await lifecycle.until_stopped(stop, folder_owner.given(settings.cache_dir, mine, metrics.ready))
        if stop.is_set():
            return
    async with (
        folder_owner.held(settings.cache_dir, mine, adopt=settings.cache.adopt),
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        stream_depth.observed(bus, streams.OHLCV, metrics),
        asyncio.TaskGroup() as tasks,
    ):
        cache = Cache(bus, leases, settings, stop, tasks, metrics)
        with metrics.reading(cache.measured), metrics.ready.checked("storage", cache.trouble):
            async with (
                serve(bus, SERVICE, cache.endpoints(), instance=instance, metrics=metrics),
                asyncio.TaskGroup() as holding,
            ):
                log.info("serving", folder=str(settings.cache_dir), partitions=settings.cache.partitions)
                for partition in cache.partitions:
                    number, own = partition.number, partial(cache.own, partition)
                    holding.create_task(leases.hold(str(number), own, stop, partition=number))
    log.info("cache has stopped")


def _probe_folder(settings: Settings) -> None:
    """Fail at once, in one line, where nothing could ever be stored."""
    probe = settings.cache_dir / f".probe-{os.getpid()}"
    with explained(f"write to the cache folder {settings.cache_dir}"):
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()


class Cache:
    """One instance: its partitions, and the requests it answers or hands on."""

    def __init__(
        self,
        bus: Bus,
        leases: Leases,
        settings: Settings,
        stop: asyncio.Event,
        tasks: asyncio.TaskGroup,
        metrics: Metrics,
    ) -> None:
        self.bus = bus
        self.leases = leases
        self.stop = stop
        count = settings.cache.partitions
        counts = CacheMetrics(metrics.registry)
        self.partitions = [Partition(bus, settings.cache_dir, number, count, counts) for number in range(count)]
        self._tasks = tasks
        self._metrics = metrics

    def endpoints(self) -> list[Endpoint[Any]]:
        """What the service answers."""
        return [
            *(self._routed(name, request) for name, (request, _) in _OF_KEY.items()),
            Endpoint("cache.list", ListRequest, self._list),
        ]

    def measured(self) -> list[Metric]:
        """How much waits to be stored, and whether it can be."""
        queued = sum(partition.queued for partition in self.partitions)
        troubled = sum(partition.trouble is not None for partition in self.partitions)
        return [
            gauge("tickwire_cache_queued_bytes", "Pages taken from the stream and not applied yet", queued),
            gauge("tickwire_cache_troubled_partitions", "Partitions that cannot be stored at present", troubled),
        ]

    def trouble(self) -> str | None:
        """Why a partition cannot be stored at present, if so."""
        return next((str(each.trouble) for each in self.partitions if each.trouble is not None), None)

    async def own(self, partition: Partition, lease: Lease) -> None:
        """Hold a partition: apply its pages, and answer what is handed on."""
        async with self._taking_over_requests(partition):
            await partition.own(lease)

    # -- answering -----------------------------------------------------------------------------------------------

    def _routed(self, name: str, request: type[Any]) -> Endpoint[Any]:
        return Endpoint(f"cache.{name}", request, partial(self._route, name))

    async def _route(self, name: str, request: Any, call: Call) -> Struct | None:
        """Answer here where the partition is ours, else hand the request to its owner."""
        if not call.reply_to:
            return None
        key: Key = request.key
        partition = self.partitions[subjects.partition_of(key, len(self.partitions))]
        async for _ in self._tries(partition):
            if partition.owned:
                try:
                    return await _OF_KEY[name][1](partition, request, call)
                except Fenced:
                    continue
            if not partition.owned and await self._hand_on(f"cache.partition.{partition.number}.{name}", call):
                return None
        raise self._nobody(partition)

    async def _hand_on(self, subject: str, call: Call) -> bool:
        expires = int((time.time() + HANDSHAKE_S) * 1000)
        headers = {REPLY_TO: call.reply_to, EXPIRES: str(expires), CONFIRMS: "1"}
        try:
            taken = await self.bus.client.request(subject, call.data, timeout=HANDSHAKE_S, headers=headers)
            if taken.reply:
                await taken.respond(b"")
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return False
        return True

    async def _list(self, request: ListRequest, call: Call) -> None:
        """The listings of all partitions, each from its owner."""
        parts = await asyncio.gather(*(self._listing(partition, request) for partition in self.partitions))
        keys = sorted((coverage for part in parts for coverage in part.keys), key=lambda coverage: coverage.key)
        damaged = sorted(note for part in parts for note in part.damaged)
        await _reply_list(keys, damaged, call)

    async def _listing(self, partition: Partition, request: ListRequest) -> CacheList:
        async for _ in self._tries(partition):
            try:
                if partition.owned:
                    return await _listed(partition, request)
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
        raise self._nobody(partition)

    async def _tries(self, partition: Partition) -> AsyncIterator[None]:
        """Once, and again whenever the partition's owner may have changed, for PATIENCE_S at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            yield
            if loop.time() >= deadline or (self.stop.is_set() and len(self.leases.members) == 1):
                return
            await first_of(0.1, partition.changed.wait(), self.leases.changed())

    def _nobody(self, partition: Partition) -> TickwireError:
        return RequestTimeout(
            f"partition {partition.number} of the cache has no owner that answers",
            "the cache is starting or stopping, or its folder cannot be used: see its log and try again",
        )

    # -- what the other instances hand on ------------------------------------------------------------------------

    @asynccontextmanager
    async def _taking_over_requests(self, partition: Partition) -> AsyncIterator[None]:
        handed = await self.bus.subscribe(f"cache.partition.{partition.number}.*", partial(self._handed, partition))
        try:
            yield
        finally:
            await graceful_close.unsubscribe(self.bus.client, handed)

    async def _handed(self, partition: Partition, message: Msg) -> None:
        """Answer what another instance hands on. Raises BadRequest."""
        headers = message.headers or {}
        name = message.subject.rsplit(".", 1)[1]
        publish = self.bus.client.publish
        if not message.reply or not may_answer(message):
            return
        if name == "list":
            call = Call(message.subject, message.reply, headers, message.data, publish)
            endpoint: Endpoint[Any] = Endpoint(message.subject, ListRequest, partial(self._list_part, partition))
        elif name in _OF_KEY and REPLY_TO in headers and not security.is_ours(headers[REPLY_TO]):
            check_subject(headers[REPLY_TO])
            if CONFIRMS not in headers:
                # An asker of an earlier version.
                expires = messages.header_int(headers, EXPIRES)
                if expires is None or expires < time.time() * 1000:
                    return
            call = Call(message.subject, headers[REPLY_TO], headers, message.data, publish)
            self._tasks.create_task(self._answer_handed(message, self._routed(name, _OF_KEY[name][0]), call))
            return
        else:
            return
        self._tasks.create_task(answer(endpoint, call, self._metrics))

    async def _answer_handed(self, message: Msg, endpoint: Endpoint[Any], call: Call) -> None:
        if await self._still_waited_for(message):
            await answer(endpoint, call, self._metrics)

    async def _still_waited_for(self, message: Msg) -> bool:
        """Tell the asker that its request is taken; whether it wanted that."""
        try:
            if CONFIRMS in (message.headers or {}):
                await self.bus.client.request(message.reply, b"", timeout=HANDSHAKE_S)
            else:
                await message.respond(b"")
        except (nats.errors.Error, nats.errors.TimeoutError):
            return False
        return True

    async def _list_part(self, partition: Partition, request: ListRequest, call: Call) -> None:
        listing = await _listed(partition, request)
        await _reply_list(listing.keys, listing.damaged, call)


# -- what an owner answers ---------------------------------------------------------------------------------------


async def _get(partition: Partition, request: CandlesRequest, call: Call) -> None:
    if request.since is not None and request.until is not None and request.since > request.until:
        raise BadRequest(f"since {request.since} is after until {request.until}", "swap them")
    key = request.key
    store = await _flushed(partition, [key])
    convert = replies.as_columns if request.format == "columns" else replies.as_rows
    # Taken in the partition's own thread, so beside no splice; read in another, so that no splice has to wait.
    with await partition.run(lambda: store.reading(key)) as reading:
        chunks = reading.messages(request.since, request.until, request.limit, convert, last=request.last)
        # One at a time: a range of years is not held in memory, nor converted at once.
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            await call.reply(chunk)


async def _coverage(partition: Partition, request: KeyRequest, _call: Call) -> Coverage:
    key = request.key
    store = await _flushed(partition, [key])
    if partition.trouble is not None:
        # Whoever asks what is missing is about to fetch it, and it could not be stored.
        raise partition.trouble
    part = request.since is not None or request.until is not None
    try:
        reading, coverage = await partition.run(lambda: (store.reading(key) if part else None, store.coverage(key)))
    except NotCached:
        return Coverage(exchange=key.exchange, symbol=key.symbol, timeframe=key.timeframe)
    if reading is not None:
        coverage = await asyncio.to_thread(_within, reading, coverage, request)
    if len(coverage.verified) > VERIFIED_RANGES:
        raise replies.too_many_ranges(coverage)
    return coverage


def _within(reading: Reading, whole: Coverage, request: KeyRequest) -> Coverage:
    """The coverage of a part of a key: `rows`, `holes` and `verified` of that part alone. Closes the reading."""
    ends = [whole.verified[-1].until] if whole.verified else []
    ends += [whole.last + 1] if whole.last is not None else []
    since = 0 if request.since is None else request.since
    until = max([since, *ends]) if request.until is None else request.until
    verified = clip(whole.verified, Range(since, until))
    rows = whole.rows
    with reading:
        if whole.first is not None and whole.last is not None and (since > whole.first or until <= whole.last):
            rows = sum(piece.count(b"\n") for piece in reading.pieces(since, until))
    grid = timeframes.grid(whole.timeframe, whole.opens_at)
    holes = max(0, sum(grid.count(*each) for each in verified) - rows)
    return msgspec.structs.replace(whole, verified=verified, rows=rows, holes=holes)


async def _verify(partition: Partition, request: KeyRequest, _call: Call) -> Verification:
    store = await _flushed(partition, [request.key])
    return await partition.run(lambda: store.verify(request.key))


async def _repair(partition: Partition, request: KeyRequest, _call: Call) -> Repair:
    store = await _flushed(partition, [request.key])
    return await partition.run(lambda: store.repair(request.key))


async def _listed(partition: Partition, request: ListRequest) -> CacheList:
    store = await _flushed(partition, None)
    keys, damaged = await partition.run(lambda: store.listing(request.exchange))
    return CacheList(keys=keys, damaged=damaged)


async def _reply_list(keys: list[Coverage], damaged: list[str], call: Call) -> None:
    chunks = replies.as_list(keys, damaged)
    # Thousands of keys with thousands of ranges each take seconds.
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        await call.reply(chunk)


async def _flushed(partition: Partition, keys: Sequence[Key] | None) -> Store:
    """The partition's store, with what waits for these keys (or for all) spliced in where the disk lets it."""
    store = await partition.ready()
    with suppress(StorageError):
        await partition.flush(store.waiting if keys is None else keys)
    return store


_Handle = Callable[[Partition, Any, Call], Awaitable[Struct | None]]
_OF_KEY: dict[str, tuple[type[Any], _Handle]] = {
    "get": (CandlesRequest, _get),
    "coverage": (KeyRequest, _coverage),
    "verify": (KeyRequest, _verify),
    "repair": (KeyRequest, _repair),
}
"""The endpoints about one key: what is asked, and how its owner answers."""
