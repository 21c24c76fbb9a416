"""The streams besides the tape: pages for the cache, fetch jobs and their results, KV buckets."""

from __future__ import annotations

from nats.js.api import DiscardPolicy, RePublish, RetentionPolicy, StorageType, StreamConfig, SubjectTransform

from tickwire.settings import TapeSettings

OHLCV = "OHLCV"
HELD_PAGES = "ohlcv.held"
"""What the subjects begin with on which the broker republishes each page that stream OHLCV has accepted."""
JOBS = "JOBS"
JOB_RESULTS = "JOB_RESULTS"
LEASES = "LEASES"
INTEREST = "INTEREST"
JOBS_WAITING = 10_000
"""Fetch jobs of one exchange that may wait; further requests are refused before they are queued."""
_MIB = 1 << 20


def pages(partitions: int, tape: TapeSettings) -> StreamConfig:
    """Pages of candles on their way to the cache.

    The owner of a partition purges the pages that it applied, so a full stream means that no cache runs: then
    publishing fails, and nothing is lost.
    """
    wildcards = "{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}"
    return StreamConfig(
        name=OHLCV,
        subjects=["tape.ohlcv.*.*.*"],
        subject_transform=SubjectTransform(
            src="tape.ohlcv.*.*.*", dest=f"ohlcv.{{{{partition({partitions},1,2,3)}}}}.{wildcards}"
        ),
        # For the archive: pages are purged as soon as they are cached.
        republish=RePublish(
            src="ohlcv.*.*.*.*", dest=f"{HELD_PAGES}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}.{{{{wildcard(4)}}}}"
        ),
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=tape.ohlcv_bytes,
        duplicate_window=120,
        allow_direct=True,
    )


def jobs() -> list[StreamConfig]:
    """The queue of fetch jobs, each delivered to one fetcher and removed when it is done; and their newest messages.

    JOB_RESULTS keeps the newest message of each job for an hour, and the ids of cancelled jobs, for a fetcher that
    takes one of them later.
    """
    queue = StreamConfig(
        name=JOBS,
        subjects=["jobs.fetch.*"],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=64 * _MIB,
        max_msgs_per_subject=JOBS_WAITING,
        discard_new_per_subject=True,
        duplicate_window=120,
    )
    results = StreamConfig(
        name=JOB_RESULTS,
        subjects=["md.job.*", "jobs.cancel.*"],
        storage=StorageType.FILE,
        max_msgs_per_subject=1,
        max_age=3600,
        max_bytes=64 * _MIB,
        allow_direct=True,
    )
    return [queue, results]


def buckets(lease_ttl_s: float) -> list[StreamConfig]:
    """The KV buckets of leases and of interests in feeds.

    A session that is not renewed within the TTL expires, and the marker of the expiry wakes the watchers. Leases have
    no TTL. An interest has the TTL that its subscriber asked for, or none.
    """
    marker_ttl = max(lease_ttl_s, 1)
    leases = bucket(LEASES).evolve(allow_msg_ttl=True, subject_delete_marker_ttl=marker_ttl)
    return [leases, bucket(INTEREST).evolve(allow_msg_ttl=True, subject_delete_marker_ttl=marker_ttl)]


def bucket(name: str) -> StreamConfig:
    """A KV bucket with the configuration that NATS' clients give it."""
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
