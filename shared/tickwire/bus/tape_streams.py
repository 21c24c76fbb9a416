"""The streams of the tape: partitions of trades and book deltas, and a stream for each kind that keeps the present."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nats.js.api import DiscardPolicy, RePublish, StorageType, StreamConfig, StreamSource

from tickwire.bus.work_streams import HELD_PAGES
from tickwire.errors import ConfigError
from tickwire.model.feeds import BOOK_VALID_S
from tickwire.model.feeds.layout import FORMER_METADATA, HELD, METADATA
from tickwire.settings import ArchiveSettings, TapeSettings

TRADES = "TRADES"
"""What the names of the streams of trades begin with: TRADES-0, TRADES-1, … The whole name in earlier versions."""
BOOKS = "BOOKS"
BOOK_DELTAS = "BOOK_DELTAS"
"""Likewise."""
TICKERS = "TICKERS"
CANDLES = "CANDLES"
STATUS = "STATUS"

SOURCED = 8
"""Messages kept of each book, ticker or candle: the broker takes up to a second to connect a stream that copies
them."""
PARTITION_BYTES = 1 << 20
"""The least room of a partition: a message may be as large as the broker's `max_payload`, by default 1 MiB."""
AFTER_FORMER = 1 << 32
"""How far behind the last sequence of a tape without partitions its partitions begin, so that a position tells which of
them is meant: writers of the earlier version may still append."""
_MIB = 1 << 20


def of_partitions(tape: TapeSettings, *, batches: bool, former: bool) -> list[StreamConfig]:
    """The streams of trades and of book deltas, for a retention.

    `batches`: the broker knows fast-ingest batches. `former`: it has the tape of a version without partitions, too.
    """
    trades = _partitions(TRADES, "trade", tape.partitions, max_age=tape.trades_age_s, max_bytes=tape.trades_bytes)
    deltas = _partitions(
        BOOK_DELTAS, "book_delta", tape.partitions, max_age=tape.deltas_age_s, max_bytes=tape.deltas_bytes
    )
    facts = {METADATA: str(tape.partitions)} | ({FORMER_METADATA: "1"} if former else {})
    configs = [trades[0].evolve(metadata=facts), *trades[1:], *deltas]
    return configs if batches else [config.evolve(allow_batched=None) for config in configs]


def begin_behind(former: Mapping[str, int], configs: Iterable[StreamConfig]) -> dict[str | None, int]:
    """The first sequence of each partition of a kind whose `former` stream, without partitions, ends at a sequence."""
    found = {}
    for config in configs:
        name, _, number = (config.name or "").rpartition("-")
        if number.isdecimal() and name in former:
            found[config.name] = former[name] + AFTER_FORMER
    return found


def without_former(first: StreamConfig) -> StreamConfig | None:
    """The configuration of the first partition without the note of a former tape; None if it has no such note."""
    facts = first.metadata or {}
    if FORMER_METADATA not in facts:
        return None
    return first.evolve(metadata={name: value for name, value in facts.items() if name != FORMER_METADATA})


def check_partitions(found: StreamConfig, wanted: StreamConfig) -> None:
    """Raises ConfigError when the tape has another number of partitions: a market would be in two of them."""
    stated, number = ((each.metadata or {}).get(METADATA) for each in (found, wanted))
    if stated and number and stated != number:
        raise ConfigError(
            f"the broker's tape has {stated} partitions, and tape.partitions is {number}",
            f"set tape.partitions = {stated}; or stop every service and delete the streams {TRADES}-* and "
            f"{BOOK_DELTAS}-*, with what they keep",
        )


def of_the_present(tape: TapeSettings) -> list[StreamConfig]:
    """What the tape has of the present: one writer per subject, fenced by the expected sequence; republished.

    Books, tickers, candles and states keep the newest message of each subject, so that a late joiner has the present
    state at once; all but states a few more, for a stream that copies them a little later. A book that is not repeated
    expires.
    """
    return [
        _tape(BOOKS, "book", 2, max_msgs_per_subject=SOURCED, max_age=BOOK_VALID_S, max_bytes=tape.books_bytes),
        _tape(TICKERS, "ticker", 2, max_msgs_per_subject=SOURCED, max_bytes=tape.tickers_bytes),
        _tape(CANDLES, "candle", 3, max_msgs_per_subject=SOURCED, max_bytes=tape.candles_bytes),
        _tape(STATUS, "status", 3, max_msgs_per_subject=1, max_bytes=64 * _MIB),
    ]


def of_archive(settings: ArchiveSettings) -> list[StreamConfig]:
    """The streams that hold, for the archive, what no other stream keeps for long; of the kinds that are archived.

    Tickers are mirrored: a mirror has the sequences of its origin, so that messages which it could not copy in time
    are seen to be missing. Pages of candles are removed from stream OHLCV once they are cached: the broker republishes
    each when it is stored, and this stream takes that.
    """
    origins = {
        "candle": {"subjects": [f"{HELD_PAGES}.*.*.*"]},
        "ticker": {"mirror": StreamSource(name=TICKERS)},
    }
    return [
        StreamConfig(
            name=HELD[kind],
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=settings.held_age_s,
            max_bytes=settings.held_bytes,
            # Replays read what no file has yet.
            allow_direct=True,
            **origin,  # type: ignore[arg-type]
        )
        for kind, origin in origins.items()
        if kind in settings.kinds
    ]


def _partitions(name: str, kind: str, partitions: int, *, max_age: float, max_bytes: int) -> list[StreamConfig]:
    """The partitions of a kind, which have `max_bytes` in all. Each has a subject for hand-overs between its owners."""
    return [
        StreamConfig(
            name=f"{name}-{number}",
            subjects=[f"tape.{kind}.{number}.*.*", f"tape.handover.{name}-{number}"],
            republish=RePublish(
                src=f"tape.{kind}.{number}.*.*", dest=f"md.{kind}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"
            ),
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=max_age,
            max_bytes=max(max_bytes // partitions, PARTITION_BYTES),
            allow_direct=True,
            allow_batched=True,
        )
        for number in range(partitions)
    ]


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
