"""Every stream and bucket, declared in one place, idempotently: whoever connects first makes them.

File storage throughout: memory streams are gone after a broker restart, and measured no faster.
"""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    SubjectTransform,
)
from nats.js.errors import BadRequestError, NotFoundError

OHLCV = "OHLCV"
JOBS = "JOBS"
JOB_RESULTS = "JOB_RESULTS"
LEASES = "LEASES"

_MIB = 1 << 20
_ALREADY_EXISTS = 10058
"""JetStream's error code for a stream of this name with another configuration."""


def declared(partitions: int, lease_ttl_s: float) -> list[StreamConfig]:
    """All streams, for so many cache partitions and this lease TTL in seconds."""
    return [
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
            max_bytes=1024 * _MIB,
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
            duplicate_window=120,
        ),
        # The newest message of each job, so that its result can still be read an hour later.
        StreamConfig(
            name=JOB_RESULTS,
            subjects=["md.job.*"],
            storage=StorageType.FILE,
            max_msgs_per_subject=1,
            max_age=3600,
            max_bytes=64 * _MIB,
            allow_direct=True,
        ),
        # The KV bucket of leases and live instances: an entry not renewed within the TTL expires, and the
        # marker that the expiry leaves wakes the watchers.
        StreamConfig(
            name=f"KV_{LEASES}",
            subjects=[f"$KV.{LEASES}.>"],
            storage=StorageType.FILE,
            max_msgs_per_subject=1,
            max_age=lease_ttl_s,
            max_bytes=64 * _MIB,
            discard=DiscardPolicy.NEW,
            allow_rollup_hdrs=True,
            deny_delete=True,
            allow_direct=True,
            allow_msg_ttl=True,
            subject_delete_marker_ttl=max(lease_ttl_s, 1),
        ),
    ]


async def declare(jetstream: JetStreamContext, partitions: int, lease_ttl_s: float) -> None:
    """Make or update every stream. Safe to call from any number of processes at once."""
    for config in declared(partitions, lease_ttl_s):
        try:
            await jetstream.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _ALREADY_EXISTS:
                raise
            await jetstream.update_stream(config)


async def created(jetstream: JetStreamContext, stream: str) -> int:
    """When a stream was made, ms: its identity, because sequences start again when a broker is wiped.

    Raises nats.js.errors.NotFoundError when there is no such stream.
    """
    info = await jetstream.stream_info(stream)
    made = info.created
    if made is None:
        raise NotFoundError(description=f"stream {stream} has no creation time")
    return int(made.timestamp() * 1000)
