"""The archive: what is on the tape, in Parquet files, each trade exactly once, each day with a certificate.

| subject | direction | what |
|---|---|---|
| `archive.days` | answers | DaysRequest -> ArchivedDays, in chunks: the days of a feed, from the files |
| `archive.trades`, `archive.rows`, `archive.bars`, `archive.book` | answers | see reads.py |
| `archive.write.<p>`, `archive.close.<p>` | answers | see added_pages.py |
| `tape.trade.<p>.<exchange>.<token>` (streams TRADES-<p>) | reads | see stream_archive.py |
| `tape.book_delta.<p>.<exchange>.<token>` (streams BOOK_DELTAS-<p>) | reads | see stream_archive.py |
| `tape.ticker.<exchange>.<token>` (stream ARCHIVE_TICKERS) | reads | see stream_archive.py |
| `ohlcv.held.<exchange>.<token>.<timeframe>` (stream ARCHIVE_CANDLES) | reads | see stream_archive.py |
| `$KV.ARCHIVE.<stream>` | reads, publishes | how far each stream is archived, see checkpoint.py |
| `md.archived.<kind>.<exchange>.<token>` | publishes | Certificate, see day_closing.py |
| `$KV.LEASES.archive.>` | leases | the owner of each stream |

Each stream of the tape is archived by the instance that holds its lease. Any instance answers any request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from prometheus_client.core import Metric

from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.reads import Reads
from tickwire.archive.stream_archive import StreamArchive
from tickwire.archive_files.root import FolderRoot, Root, open_root
from tickwire.bus import streams
from tickwire.bus.broker_identity import broker_unchanged
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Leases, open_leases
from tickwire.bus.service import Endpoint, serve
from tickwire.bus.stream_depth import StreamDepth
from tickwire.errors import ConfigError, StorageError
from tickwire.model.feeds.layout import archived_streams
from tickwire.model.messages.archived_book import ArchivedBookRequest
from tickwire.model.messages.archived_trades import ArchivedBarsRequest, ArchivedRowsRequest, ArchivedTradesRequest
from tickwire.model.messages.archiving import DaysRequest
from tickwire.observe import disk_space, logs
from tickwire.observe.metrics import Metrics, gauge
from tickwire.process import lifecycle
from tickwire.settings import ArchiveSettings, Settings
from tickwire.tape.layout import layout_of
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

SERVICE = "archive"
CHECK_S = 60.0
"""How often it is checked whether the root takes files: with nothing to write that would not show."""


async def serve_archive(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Run one instance of the archive until `stop`. Raises ConfigError."""
    if settings.archive.root is None:
        raise ConfigError("archive.root is not set", 'name a folder or an object store: archive.root = "archive"')
    root = open_root(settings.archive.root)
    await streams.declare_archive(bus.jetstream, settings.archive, settings.nats.replicas)
    partitions = (await layout_of(bus)).partitions
    names = [name for kind in dict.fromkeys(settings.archive.kinds) for name in archived_streams(kind, partitions)]
    archive = Archive(bus, root, names, settings.archive, ArchiveMetrics(metrics))
    async with (
        broker_unchanged(bus, streams.names_of_archive(settings.archive), metrics),
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        # An object store has no end.
        disk_space.observed(root.folder, metrics) if isinstance(root, FolderRoot) else nullcontext(),
        TaskGroup() as beside,
    ):
        watching = [beside.create_task(archive.watch_root())]
        watching += [beside.create_task(archive.watch_depth(each)) for each in archive.streams]
        with metrics.reading(archive.measured), metrics.ready.checked("storage", archive.trouble):
            reads = Reads(bus, root)
            endpoints: list[Endpoint[Any]] = [
                Endpoint("archive.days", DaysRequest, reads.answer_days, concurrent=4),
                Endpoint("archive.trades", ArchivedTradesRequest, reads.answer_trades, concurrent=4),
                Endpoint("archive.rows", ArchivedRowsRequest, reads.answer_trades, concurrent=2),
                # One at a time: it reads whole days.
                Endpoint("archive.bars", ArchivedBarsRequest, reads.answer_bars, concurrent=1),
                Endpoint("archive.book", ArchivedBookRequest, reads.answer_book, concurrent=2),
            ]
            async with serve(bus, SERVICE, endpoints, instance=instance, metrics=metrics):
                log.info("serving", root=root.url, streams=len(names))
                await archive.hold(leases, stop)
        for each in watching:
            each.cancel()
    log.info("archive has stopped")


class Archive:
    """One instance: the streams that it archives, and the requests that it answers."""

    def __init__(
        self, bus: Bus, root: Root, names: Iterable[str], settings: ArchiveSettings, metrics: ArchiveMetrics
    ) -> None:
        self.streams = [StreamArchive(bus, root, name, settings, metrics) for name in names]
        self._root = root
        self._unreachable: StorageError | None = None
        self._depth = StreamDepth("tickwire_archive_pending_messages", "Messages of the tape that are in no file yet")

    async def hold(self, leases: Leases, stop: asyncio.Event) -> None:
        """Contend for the lease of each stream until `stop`."""
        async with TaskGroup() as group:
            for each in self.streams:
                group.create_task(leases.hold(each.stream, each.own, stop, stream=each.stream))

    def measured(self) -> Iterable[Metric]:
        """Gauges: rows that wait in memory, messages that wait on the tape."""
        waiting = sum(each.waiting for each in self.streams)
        yield gauge("tickwire_archive_waiting_rows", "Rows in memory that are in no file yet", waiting)
        yield from self._depth.collect()

    def trouble(self) -> str | None:
        """Why the root cannot be written at present; None if it can."""
        troubles = [self._unreachable, *(each.trouble for each in self.streams)]
        return next((str(each) for each in troubles if each is not None), None)

    async def watch_root(self) -> None:
        """Check now and then whether the root takes files, and remove what killed checks left, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._root.check)
                await asyncio.to_thread(self._root.sweep, "")
            except StorageError as error:
                if self._unreachable is None:
                    log.warning("the archive's root does not take files", root=self._root.url, reason=str(error))
                self._unreachable = error
            else:
                if self._unreachable is not None:
                    log.info("the archive's root takes files again", root=self._root.url)
                self._unreachable = None
            await asyncio.sleep(CHECK_S if self._unreachable is None else CHECK_S / 10)

    async def watch_depth(self, archive: StreamArchive) -> None:
        """Keep the number of messages that wait of a stream current while it is archived here, until cancelled."""
        while True:
            await archive.owning.wait()
            await lifecycle.until_stopped(archive.released, self._depth.watch(archive.stream, archive.pending))
