"""Every stream and bucket, declared in one place, idempotently: whoever connects first makes them.

File storage throughout: memory streams are gone after a broker restart, and measured no faster.
"""

from __future__ import annotations

from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
    StreamSource,
    SubjectTransform,
)
from nats.js.errors import APIError, NotFoundError

from tickwire.bus import foreign_stores
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import ConfigError, StorageError
from tickwire.model.feeds import BOOK_VALID_S
from tickwire.settings import Settings, SinkSettings, TapeSettings

OHLCV = "OHLCV"
JOBS = "JOBS"
JOB_RESULTS = "JOB_RESULTS"
LEASES = "LEASES"
INTEREST = "INTEREST"
TRADES = "TRADES"
BOOKS = "BOOKS"
BOOK_DELTAS = "BOOK_DELTAS"
TICKERS = "TICKERS"
CANDLES = "CANDLES"
STATUS = "STATUS"
SINK = "SINK"

HELD = {"book": BOOKS, "candle": CANDLES}
"""What stream SINK holds for a database, by kind, and where it has it from."""
JOBS_WAITING = 10_000
"""Fetch jobs of one exchange that may wait; with more, a request is refused before it is queued."""
SOURCED = 8
"""Messages kept of a book or candle: the broker takes up to a second to connect a stream that sources them."""

_MIB = 1 << 20
_RETENTION = TapeSettings()
_ALREADY_EXISTS = 10058
"""JetStream's error code for a stream of this name with another configuration."""
_NO_PEERS = (10005, 10074)
"""JetStream's error codes for more replicas than there are servers, in a cluster and without one."""
_NO_ROOM = 10047
"""JetStream's error code for storage that is not there to be reserved."""


def _sizes(section: type[TapeSettings | SinkSettings]) -> dict[str, int]:
    """The settings that are sizes of streams, and the least that each may be."""
    fields = section.model_fields.items()
    return {name: each.metadata[0].ge for name, each in fields if name.endswith("_bytes")}


SIZES, HELD_SIZES = _sizes(TapeSettings), _sizes(SinkSettings)


def declared(partitions: int, lease_ttl_s: float, tape: TapeSettings, replicas: int = 1) -> list[StreamConfig]:
    """All streams, for so many cache partitions, this lease TTL in seconds and this retention of the tape.

    Each is kept by `replicas` servers of a cluster.
    """
    configs = [
        # Pages on their way to the cache. The partition's owner purges what it has applied, so a full stream
        # means that no cache runs: then publishing fails, and nothing is lost.
        StreamConfig(
            name=OHLCV,
            subjects=["tape.ohlcv.*.*.*"],
            subject_transform=SubjectTransform(
                src="tape.ohlcv.*.*.*",
                dest=f"ohlcv.{{{{partition({partitions},1,2,3)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}",
            ),
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_bytes=tape.ohlcv_bytes,
            duplicate_window=120,
            allow_direct=True,
        ),
        # Fetch jobs, each handed to one fetcher and gone when it is done.
        StreamConfig(
            name=JOBS,
            subjects=["jobs.fetch.*"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_bytes=64 * _MIB,
            max_msgs_per_subject=JOBS_WAITING,
            discard_new_per_subject=True,
            duplicate_window=120,
        ),
        # The newest message of each job, so that its result can still be read an hour later; and which are cancelled,
        # for a fetcher that takes one of them later.
        StreamConfig(
            name=JOB_RESULTS,
            subjects=["md.job.*", "jobs.cancel.*"],
            storage=StorageType.FILE,
            max_msgs_per_subject=1,
            max_age=3600,
            max_bytes=64 * _MIB,
            allow_direct=True,
        ),
        # The KV bucket of leases and live instances: an entry not renewed within the TTL expires, and the
        # marker that the expiry leaves wakes the watchers.
        _bucket(LEASES).evolve(max_age=lease_ttl_s, allow_msg_ttl=True, subject_delete_marker_ttl=max(lease_ttl_s, 1)),
        # The KV bucket of interests in feeds; each has the TTL its subscriber asked for, or none.
        _bucket(INTEREST).evolve(allow_msg_ttl=True, subject_delete_marker_ttl=max(lease_ttl_s, 1)),
        # The tape: one writer per subject, held to it by the expected sequence; republished to be read by all.
        _tape(TRADES, "trade", 2, max_age=tape.trades_age_s, max_bytes=tape.trades_bytes),
        _tape(BOOK_DELTAS, "book_delta", 2, max_age=tape.deltas_age_s, max_bytes=tape.deltas_bytes),
        # The newest of each, so that a late joiner has the present state at once; and a few before it, so that a
        # stream that sources these, a little behind, has them all. A book that nobody repeats is nobody's.
        _tape(BOOKS, "book", 2, max_msgs_per_subject=SOURCED, max_age=BOOK_VALID_S, max_bytes=tape.books_bytes),
        _tape(TICKERS, "ticker", 2, max_msgs_per_subject=1, max_bytes=tape.tickers_bytes),
        _tape(CANDLES, "candle", 3, max_msgs_per_subject=SOURCED, max_bytes=tape.candles_bytes),
        _tape(STATUS, "status", 3, max_msgs_per_subject=1, max_bytes=64 * _MIB),
    ]
    return [config.evolve(num_replicas=replicas) for config in configs]


def _bucket(name: str) -> StreamConfig:
    """A KV bucket, as NATS' clients would make it."""
    return StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        storage=StorageType.FILE,
        max_msgs_per_subject=1,
        max_bytes=64 * _MIB,
        discard=DiscardPolicy.NEW,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
    )


def _tape(
    name: str, kind: str, tokens: int, *, max_bytes: int, max_age: float = 0, max_msgs_per_subject: int = -1
) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=[f"tape.{kind}" + ".*" * tokens],
        republish=RePublish(src=f"tape.{kind}.>", dest=f"md.{kind}.>"),
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=max_age,
        max_bytes=max_bytes,
        max_msgs_per_subject=max_msgs_per_subject,
        allow_direct=True,
    )


async def declare(
    jetstream: JetStreamContext,
    partitions: int,
    lease_ttl_s: float,
    tape: TapeSettings = _RETENTION,
    replicas: int = 1,
) -> None:
    """Make or update every stream. Safe to call from any number of processes at once.

    Raises StorageError when the broker has no room for one or a store of another broker
    (`tickwire.bus.foreign_stores`), ConfigError when it has not so many servers.
    """
    wanted = declared(partitions, lease_ttl_s, tape, replicas)
    smallest = declared(partitions, lease_ttl_s, tape.model_copy(update=SIZES), replicas)
    await _made(jetstream, wanted, f"tape.{', '.join(SIZES)}", _room(smallest))


async def declare_for(jetstream: JetStreamContext, settings: Settings) -> None:
    """Make or update every stream as the settings want them. Raises as `declare` does."""
    await declare(jetstream, settings.cache.partitions, settings.leases.ttl_s, settings.tape, settings.nats.replicas)


def _room(configs: list[StreamConfig]) -> int:
    """The room that streams want of each server that keeps them, MiB."""
    return sum(config.max_bytes or 0 for config in configs) // _MIB


async def _made(jetstream: JetStreamContext, configs: list[StreamConfig], sizes: str, smallest: int) -> None:
    """Make or update streams, of the sizes that the settings `sizes` say; with the least of them `smallest` MiB."""
    for config in configs:
        try:
            await _declare(jetstream, config)
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


async def declare_sink(jetstream: JetStreamContext, settings: SinkSettings, replicas: int = 1) -> None:
    """Make or update what a sink needs besides: its totals, and books and candles that wait for its database.

    BOOKS and CANDLES keep only the newest of each; here all of them are kept, as long as the settings say. Of no kind
    that is not to be written, so that a sequence that is missing is something missed. Raises StorageError.
    """
    configs = _of_sink(settings)
    smallest = _room(_of_sink(settings.model_copy(update=HELD_SIZES)))
    await _made(
        jetstream, [each.evolve(num_replicas=replicas) for each in configs], f"sink.{', '.join(HELD_SIZES)}", smallest
    )


def _of_sink(settings: SinkSettings) -> list[StreamConfig]:
    configs = [_bucket(SINK)]
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


async def _declare(jetstream: JetStreamContext, config: StreamConfig) -> None:
    """Make a stream or update it; ask for nothing where it is as it should be, which needs less of a permission."""
    name = config.name
    assert name is not None
    try:
        found = (await retry_jetstream(lambda: jetstream.stream_info(name))).config
    except NotFoundError:
        found = None
    wanted = config.as_dict()
    if not wanted["duplicate_window"]:
        # The server chooses one.
        del wanted["duplicate_window"]
    if found is None:
        await foreign_stores.check_listed(jetstream)
    else:
        foreign_stores.check_unmarked(found)
        if _covers(found.as_dict(), wanted):
            return
    try:
        made = await retry_jetstream(lambda: jetstream.add_stream(config))
        await foreign_stores.check_new(jetstream, made)
    except APIError as error:
        # The room of a stream that is there already is counted twice here.
        if error.err_code not in (_ALREADY_EXISTS, _NO_ROOM):
            raise
        try:
            await retry_jetstream(lambda: jetstream.update_stream(config))
        except NotFoundError:
            raise error from None


def _covers(found: Any, wanted: Any) -> bool:
    """Whether a configuration says all that is wanted; what is empty the server leaves out."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_covers(found.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_covers, found, wanted))
    return bool(found == wanted) or (found is None and not wanted)


def names(settings: Settings) -> list[str]:
    """The streams that every service finds or makes."""
    return _names(declared(settings.cache.partitions, settings.leases.ttl_s, settings.tape))


def names_of_sink(settings: SinkSettings) -> list[str]:
    """The streams that a sink has besides."""
    return _names(_of_sink(settings))


def _names(configs: list[StreamConfig]) -> list[str]:
    return [config.name for config in configs if config.name is not None]


async def read_created_ms(jetstream: JetStreamContext, stream: str) -> int:
    """When a stream was made, ms: its identity, because sequences start again when a broker is wiped.

    Raises nats.js.errors.NotFoundError when there is no such stream.
    """
    return created_ms(await retry_jetstream(lambda: jetstream.stream_info(stream)))


def created_ms(info: StreamInfo) -> int:
    """When a stream was made, ms."""
    if info.created is None:
        raise NotFoundError(description=f"stream {info.config.name} has no creation time")
    return int(info.created.timestamp() * 1000)
