"""The sink: writes the tape into an InfluxDB, each message exactly once in effect.

| subject | | |
|---|---|---|
| `sink.report` | answers | SinkRequest -> SinkReport: whether it is active, and what it wrote |
| `tape.trade.>` | consumes | Trades; streams TRADES-<p>, durable consumer `sink`, acknowledged once written |
| `tape.book.>`, `tape.candle.>` | consumes | Book, Candle; stream SINK, which sources BOOKS and CANDLES, likewise |
| `$KV.SINK.>` | reads, publishes | SinkTotals, SinkPosition: how far each feed of trades is written, and stream SINK |

The instance that holds the lease `influxdb` writes; others stand by. Once a batch is in the database, the totals of its
feeds are stored, then it is acknowledged: after a crash in between, redelivered messages give the same points.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial

from nats.aio.msg import Msg
from prometheus_client.core import Metric

from tickwire.bus import streams
from tickwire.bus.broker_identity import broker_unchanged
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease, open_leases
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.bus.stream_depth import StreamDepth
from tickwire.errors import BadRequest, Fenced
from tickwire.model.messages import SinkReport, SinkRequest, SinkTotals
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics, counter, gauge
from tickwire.process import lifecycle
from tickwire.settings import Settings, SinkSettings
from tickwire.sink import batch_points
from tickwire.sink.batch_points import BatchPoints
from tickwire.sink.databases import Database, open_database
from tickwire.sink.metrics import SinkMetrics
from tickwire.sink.reader import StreamReader
from tickwire.sink.retention import Retention
from tickwire.sink.trade_streams import TradeStreams
from tickwire.tape.layout import layout_of
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

SERVICE = "sink"
LEASE = "influxdb"
BATCH_MESSAGES = 500
"""Most messages in one batch."""
FORMER_S = 0.2
"""How often it is asked whether the tape of an earlier version is written."""


async def serve_sink(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`. An unfinished batch is dropped: the next writer reads it again. Raises ConfigError."""
    async with open_database(settings.sink, SinkMetrics(metrics.registry)) as database:
        await database.check()
        await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
        sink = Sink(bus, settings.sink, database, instance)
        endpoint = Endpoint("sink.report", SinkRequest, sink.report)
        async with (
            broker_unchanged(bus, streams.names_of_sink(settings.sink), metrics),
            open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
            # Each instance answers by itself.
            serve(bus, SERVICE, [endpoint], instance=instance, queue=instance, metrics=metrics),
            lifecycle.unwrapped(),
        ):
            log.info("serving", database=settings.sink.place)
            with metrics.reading(sink.measured), metrics.ready.checked("consumers", sink.trouble):
                await leases.hold(LEASE, sink.write, stop)


class Sink:
    """Writes the messages of the tape while it holds the lease."""

    def __init__(self, bus: Bus, settings: SinkSettings, database: Database, instance: str) -> None:
        self._bus = bus
        self._settings = settings
        self._database = database
        self._instance = instance
        self._active = False
        self._readers: list[StreamReader] = []
        self._trades = self._points = self._missed = 0
        self._pending = StreamDepth("tickwire_sink_pending_messages", "Messages that are not in the database yet")

    async def report(self, _request: SinkRequest, _call: Call) -> SinkReport:
        """Counts since this instance started."""
        return SinkReport(
            instance=self._instance,
            active=self._active,
            trades=self._trades,
            points=self._points + self._database.rejected,
            rejected=self._database.rejected,
            failures=self._database.failures,
            missed=self._missed,
        )

    def measured(self) -> Iterable[Metric]:
        """The metrics of the sink."""
        yield gauge("tickwire_sink_active", "1 while this instance is the one that writes", float(self._active))
        yield counter("tickwire_sink_trades", "Trades written and acknowledged", self._trades)
        yield counter("tickwire_sink_points", "Points written, of all measurements", self._points)
        yield counter("tickwire_sink_rejected_points", "Points that the database refused", self._database.rejected)
        yield counter("tickwire_sink_failed_writes", "Writes that the database did not take", self._database.failures)
        yield counter("tickwire_sink_missed", "Times that messages expired before they were written", self._missed)
        yield from self._pending.collect()

    def trouble(self) -> str | None:
        """Why a stream cannot be read at present; None if all can."""
        return next((reason for each in self._readers if (reason := each.trouble()) is not None), None)

    async def write(self, lease: Lease) -> None:
        """Write until `lease.stop`."""
        self._active = True
        opening: list[Callable[[], Coroutine[None, None, None]]] = [self._database.prepare]
        work: list[tuple[StreamReader, Callable[[asyncio.Event], Coroutine[None, None, None]]]] = []
        if "trade" in self._settings.kinds:
            layout = await layout_of(self._bus)
            trades = TradeStreams(self._bus, layout)
            work += [(each, partial(self._write_trades, each, trades)) for each in trades.readers]
        if set(self._settings.kinds) & streams.HELD.keys():
            reader = StreamReader(self._bus, streams.SINK)
            retention = Retention(self._bus, reader)
            # First: messages that come while the database is unavailable are to be written, too.
            opening.insert(0, retention.begin)
            work.append((reader, partial(self._write_states, reader, retention)))
        self._readers = [each for each, _ in work]
        try:
            async with lifecycle.unwrapped(), TaskGroup() as beside:
                # While the database is unavailable the stream grows, which the writers do not see.
                watching = [beside.create_task(self._pending.watch(each.stream, each.pending)) for each, _ in work]
                for first in opening:
                    await lifecycle.until_stopped(lease.stop, first())
                async with lifecycle.unwrapped(), TaskGroup() as group:
                    for _, write in work:
                        group.create_task(write(lease.stop))
                for each in watching:
                    each.cancel()
        except* Fenced as fenced:
            # The lease is released, and requested again.
            log.warning("fenced", error=str(lifecycle.leaf(fenced)))
        finally:
            self._active = False
            self._readers = []

    async def _write_trades(self, reader: StreamReader, trades: TradeStreams, stop: asyncio.Event) -> None:
        async with aclosing(reader):
            while not stop.is_set() and not reader.gone:
                if found := await reader.batch(BATCH_MESSAGES):
                    if reader is not trades.former:
                        await self._write_former(trades, stop)
                    await lifecycle.until_stopped(stop, self._write_trade_batch(reader, trades, found))
                    await self._gather(reader, stop)

    async def _write_former(self, trades: TradeStreams, stop: asyncio.Event) -> None:
        """Wait until the tape of an earlier version is written to its end: its messages come first."""
        while not stop.is_set() and not await trades.former_is_written():
            await lifecycle.pause(stop, FORMER_S)

    async def _write_trade_batch(self, reader: StreamReader, trades: TradeStreams, found: Sequence[Msg]) -> None:
        # Acknowledged in parts, so that little is written again after a stop or the loss of the lease.
        offsets = trades.offsets
        for piece in batch_points.pieces(found):
            before: dict[str, SinkTotals] = {}
            for message in piece:
                # Subjects that name no feed are counted by `of_trades`.
                with suppress(BadRequest):
                    path = batch_points.feed_of_message(message).path
                    before[path] = await offsets.of(path)
            unknown = offsets.unreadable & before.keys()
            offsets.unreadable -= unknown
            built = await asyncio.to_thread(batch_points.of_trades, piece, trades.tape(reader), before, unknown)
            self._note(built)
            for path, after in built.totals.items():
                offsets.set(path, after)
            await self._send(built.lines)
            await offsets.save(built.totals)
            await reader.acknowledge(piece[-1])
            self._trades += built.trades

    def _note(self, built: BatchPoints) -> None:
        """Log and count messages that are missing or unreadable."""
        for message, error in built.unreadable:
            self._bus.undecodable.skip(message.subject, message.data, error)
        for expired in built.expired:
            log.error("messages expired on the tape before they could be written", **expired._asdict())
        for feed in built.cvd_restarted:
            log.warning("volume deltas restart: an earlier version counted contracts as base currency", **feed.fields)
        self._missed += built.missed

    async def _write_states(self, reader: StreamReader, retention: Retention, stop: asyncio.Event) -> None:
        async with aclosing(reader):
            while not stop.is_set():
                found = await reader.batch(BATCH_MESSAGES)
                await lifecycle.until_stopped(stop, self._write_state_batch(reader, retention, found))
                if found:
                    await self._gather(reader, stop)

    async def _write_state_batch(self, reader: StreamReader, retention: Retention, found: Sequence[Msg]) -> None:
        # An empty batch counts as well: it shows messages that expired at the stream's end.
        for piece in batch_points.pieces(found) if found else [found]:
            lost = await retention.gaps_before(piece)
            self._missed += len(lost)
            built = await asyncio.to_thread(batch_points.of_states, piece, self._settings.kinds)
            self._note(built)
            await self._send([*lost, *built.lines])
            if piece or lost:
                await retention.save()
            if piece:
                await reader.acknowledge(piece[-1])

    async def _gather(self, reader: StreamReader, stop: asyncio.Event) -> None:
        """Wait for messages to gather unless the last batch was full: one request per message would cost most."""
        if not reader.full:
            await lifecycle.pause(stop, self._settings.gather_ms / 1000)

    async def _send(self, lines: Sequence[str]) -> None:
        for start in range(0, len(lines), self._settings.batch):
            taken = await self._database.write(lines[start : start + self._settings.batch])
            self._points += taken
            log.debug("written", points=taken)
