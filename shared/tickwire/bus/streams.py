"""Every stream and bucket, declared idempotently in one place: the first process that connects makes them.

All use file storage: memory streams are lost at a broker restart, and measured no faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
    StreamSource,
)
from nats.js.errors import APIError, NotFoundError

from tickwire.bus import export_streams, fast_ingest, foreign_stores, tape_streams, work_streams
from tickwire.bus.natspy import server_version
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import ConfigError, StorageError
from tickwire.settings import ArchiveSettings, Settings, SinkSettings, TapeSettings

OHLCV = work_streams.OHLCV
JOBS = work_streams.JOBS
JOB_RESULTS = work_streams.JOB_RESULTS
LEASES = work_streams.LEASES
INTEREST = work_streams.INTEREST
JOBS_WAITING = work_streams.JOBS_WAITING
SINK = "SINK"
ARCHIVE = "ARCHIVE"
TRADES = tape_streams.TRADES
BOOKS = tape_streams.BOOKS
BOOK_DELTAS = tape_streams.BOOK_DELTAS
TICKERS = tape_streams.TICKERS
CANDLES = tape_streams.CANDLES
STATUS = tape_streams.STATUS

HELD = {"book": BOOKS, "candle": CANDLES}
"""The kinds that stream SINK holds for a database, and the stream that it sources each from."""

_MIB = 1 << 20
_RETENTION = TapeSettings()
_ALREADY_EXISTS = 10058
"""JetStream's error code for a stream of this name with another configuration."""
_NO_PEERS = (10005, 10074)
"""JetStream's error codes for more replicas than there are servers, in a cluster and without one."""
_NO_ROOM = 10047
"""JetStream's error code when it cannot reserve the storage."""


def _sizes(section: type[TapeSettings | SinkSettings]) -> dict[str, int]:
    """The settings that are sizes of streams, and the minimum of each."""
    fields = section.model_fields.items()
    return {name: each.metadata[0].ge for name, each in fields if name.endswith("_bytes")}


SIZES, HELD_SIZES, ARCHIVE_SIZES = _sizes(TapeSettings), _sizes(SinkSettings), {"held_bytes": _MIB}


def declared(
    partitions: int,
    lease_ttl_s: float,
    tape: TapeSettings,
    replicas: int = 1,
    *,
    batches: bool = True,
    former: bool = False,
) -> list[StreamConfig]:
    """All streams, for a number of cache partitions, a lease TTL in seconds and a retention of the tape.

    `replicas` servers of a cluster keep each. `batches`: the broker knows fast-ingest batches. `former`: it has the
    tape of a version without partitions, too.
    """
    configs = [
        work_streams.pages(partitions, tape),
        *work_streams.jobs(),
        *work_streams.buckets(lease_ttl_s),
        *tape_streams.of_partitions(tape, batches=batches, former=former),
        *tape_streams.of_the_present(tape),
    ]
    return [config.evolve(num_replicas=replicas) for config in configs]


async def declare(
    jetstream: JetStreamContext,
    partitions: int,
    lease_ttl_s: float,
    tape: TapeSettings = _RETENTION,
    replicas: int = 1,
) -> None:
    """Make or update every stream. Safe to call from any number of processes at once.

    Raises StorageError when the broker has no room, or the store of another broker (`tickwire.bus.foreign_stores`);
    ConfigError when the broker has fewer servers than `replicas`, or a tape with another number of partitions.
    """
    batches = server_version(jetstream) >= fast_ingest.NEEDS
    former = {name: last for name in (TRADES, BOOK_DELTAS) if (last := await _last(jetstream, name)) is not None}
    wanted = declared(partitions, lease_ttl_s, tape, replicas, batches=batches, former=bool(former))
    first = tape_streams.begin_behind(former, wanted)
    smallest = declared(partitions, lease_ttl_s, tape.model_copy(update=SIZES), replicas)
    await _made(jetstream, wanted, f"tape.{', '.join(SIZES)}", _room(smallest), first)


async def declare_for(jetstream: JetStreamContext, settings: Settings) -> None:
    """Make or update every stream according to the settings. Raises as `declare` does."""
    await declare(jetstream, settings.cache.partitions, settings.leases.ttl_s, settings.tape, settings.nats.replicas)


async def forget_former(jetstream: JetStreamContext) -> None:
    """Once the streams of a version without partitions were deleted, let nobody look for them any more."""
    for name in (TRADES, BOOK_DELTAS):
        if await _last(jetstream, name) is not None:
            return
    found = (await retry_jetstream(lambda: jetstream.stream_info(f"{TRADES}-0"))).config
    if (left := tape_streams.without_former(found)) is not None:
        await retry_jetstream(lambda: jetstream.update_stream(left))


def _room(configs: list[StreamConfig]) -> int:
    """The room that streams need on each server that keeps them, MiB."""
    return sum(config.max_bytes or 0 for config in configs) // _MIB


async def _made(
    jetstream: JetStreamContext,
    configs: list[StreamConfig],
    sizes: str,
    smallest: int,
    first: Mapping[str | None, int] = MappingProxyType({}),
) -> None:
    """Make or update streams; a new one begins with sequence 1, or as `first` says.

    Errors name the settings of their sizes, `sizes`, and the MiB that the least of these need, `smallest`.
    """
    for config in configs:
        try:
            await _declare(jetstream, config, first.get(config.name))
        except APIError as error:
            if error.err_code in _NO_PEERS:
                raise ConfigError(
                    f"stream {config.name} cannot be kept {config.num_replicas} times: {error.description}",
                    "lower nats.replicas, or start the cluster's other servers",
                ) from error
            if error.err_code != _NO_ROOM:
                raise
            lower = (
                f", or lower {sizes}: the least of them take {smallest} MiB in all" if _room(configs) > smallest else ""
            )
            raise StorageError(
                f"the broker has no room for {(config.max_bytes or 0) / _MIB:.0f} MiB of stream {config.name}, of "
                f"{_room(configs)} MiB in all",
                f"free space on its disk, or raise max_file_store in its configuration{lower}",
            ) from error


async def declare_export(jetstream: JetStreamContext, tape: TapeSettings, replicas: int = 1) -> None:
    """Make or update the streams of account EXPORT, as a user of it. Raises StorageError."""
    smallest = _room(export_streams.configs(tape.model_copy(update=SIZES), replicas))
    await _made(jetstream, export_streams.configs(tape, replicas), "tape.trades_bytes, candles_bytes", smallest)


async def declare_sink(jetstream: JetStreamContext, settings: SinkSettings, replicas: int = 1) -> None:
    """Make or update the streams of a sink: its totals, and the books and candles that wait for its database.

    BOOKS and CANDLES keep only the newest of each; stream SINK keeps all of them for `held_age_s`. It holds no kind
    that the sink does not write, so that a missing sequence means a missed message. Raises StorageError.
    """
    configs = _of_sink(settings)
    smallest = _room(_of_sink(settings.model_copy(update=HELD_SIZES)))
    await _made(
        jetstream, [each.evolve(num_replicas=replicas) for each in configs], f"sink.{', '.join(HELD_SIZES)}", smallest
    )


def _of_sink(settings: SinkSettings) -> list[StreamConfig]:
    configs = [work_streams.bucket(SINK)]
    if sources := [StreamSource(name=HELD[kind]) for kind in HELD if kind in settings.kinds]:
        configs.append(
            StreamConfig(
                name=SINK,
                sources=sources,
                storage=StorageType.FILE,
                discard=DiscardPolicy.OLD,
                max_age=settings.held_age_s,
                max_bytes=settings.held_bytes,
                allow_direct=True,
            )
        )
    return configs


async def declare_archive(jetstream: JetStreamContext, settings: ArchiveSettings, replicas: int = 1) -> None:
    """Make or update the streams of an archive: its checkpoints, and what it reads that no other stream keeps for long.

    Raises StorageError.
    """
    smallest = _room(_of_archive(settings.model_copy(update=ARCHIVE_SIZES)))
    configs = [each.evolve(num_replicas=replicas) for each in _of_archive(settings)]
    await _made(jetstream, configs, f"archive.{', '.join(ARCHIVE_SIZES)}", smallest)


def _of_archive(settings: ArchiveSettings) -> list[StreamConfig]:
    return [work_streams.bucket(ARCHIVE), *tape_streams.of_archive(settings)]


async def _last(jetstream: JetStreamContext, name: str) -> int | None:
    """The last sequence of a stream; None if there is no such stream."""
    try:
        return (await retry_jetstream(lambda: jetstream.stream_info(name))).state.last_seq
    except NotFoundError:
        return None


async def _declare(jetstream: JetStreamContext, config: StreamConfig, first: int | None = None) -> None:
    """Make or update a stream; only reads it when it is as it should be, which needs fewer permissions."""
    name = config.name
    assert name is not None
    try:
        found = (await retry_jetstream(lambda: jetstream.stream_info(name))).config
    except NotFoundError:
        found = None
    wanted = config.as_dict()
    if not wanted["duplicate_window"]:
        # The server chooses its own.
        del wanted["duplicate_window"]
    if found is None:
        await foreign_stores.check_listed(jetstream)
    else:
        foreign_stores.check_unmarked(found)
        tape_streams.check_partitions(found, config)
        if _covers(found.as_dict(), wanted):
            return
    try:
        new = config if found is not None or first is None else config.evolve(first_seq=first)
        made = await retry_jetstream(lambda: jetstream.add_stream(new))
        await foreign_stores.check_new(jetstream, made)
    except APIError as error:
        # The server counts the room of an existing stream twice here.
        if error.err_code not in (_ALREADY_EXISTS, _NO_ROOM):
            raise
        if found is None and error.err_code == _ALREADY_EXISTS:
            # Another process made it meanwhile, perhaps according to other settings.
            await _declare(jetstream, config)
            return
        try:
            await retry_jetstream(lambda: jetstream.update_stream(config))
        except NotFoundError:
            raise error from None


def _covers(found: Any, wanted: Any) -> bool:
    """Whether a configuration contains everything that is wanted; the server omits empty values."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_covers(found.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_covers, found, wanted))
    return bool(found == wanted) or (found is None and not wanted)


def names(settings: Settings) -> list[str]:
    """The streams that every service needs."""
    return _names(declared(settings.cache.partitions, settings.leases.ttl_s, settings.tape))


def names_of_sink(settings: SinkSettings) -> list[str]:
    """The streams that a sink needs in addition."""
    return _names(_of_sink(settings))


def names_of_archive(settings: ArchiveSettings) -> list[str]:
    """The streams that an archive needs in addition."""
    return _names(_of_archive(settings))


def _names(configs: list[StreamConfig]) -> list[str]:
    return [config.name for config in configs if config.name is not None]


async def read_created_ms(jetstream: JetStreamContext, stream: str) -> int:
    """The creation time of a stream, ms: its identity, because sequences start again when a broker is wiped.

    Raises nats.js.errors.NotFoundError when there is no such stream.
    """
    return created_ms(await retry_jetstream(lambda: jetstream.stream_info(stream)))


def created_ms(info: StreamInfo) -> int:
    """The creation time of a stream, ms."""
    if info.created is None:
        raise NotFoundError(description=f"stream {info.config.name} has no creation time")
    return int(info.created.timestamp() * 1000)
