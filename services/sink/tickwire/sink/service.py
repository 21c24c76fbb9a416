"""The sink: what is on the tape, into an InfluxDB, each once however often it has to be written.

| subject | | |
|---|---|---|
| `sink.report` | answers | SinkRequest -> SinkReport: whether it is the active one, and what it wrote |
| `tape.trade.>` | consumes | Trades; stream TRADES, durable consumer `sink`, acknowledged once the database took them |
| `tape.book.>`, `tape.candle.>` | consumes | Book, Candle; stream SINK, which sources BOOKS and CANDLES, likewise |
| `$KV.SINK.>` | reads, publishes | SinkTotals, SinkPosition: how far each feed of trades is written, and stream SINK |

One instance, which holds the lease `influxdb`, writes; others stand by. After a batch is in the database, its feeds'
totals are stored, and then it is acknowledged: after a crash anywhere between, what comes again makes the same points.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress
from functools import partial

import stamina.instrumentation
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
from tickwire.sink.batch_points import Built
from tickwire.sink.influx import Influx, open_influx
from tickwire.sink.metrics import SinkMetrics
from tickwire.sink.offsets import Ledger
from tickwire.sink.reader import Reader
from tickwire.sink.retention import Held

log = logs.get(__name__)

SERVICE = "sink"
LEASE = "influxdb"
TAKEN = 500
"""Messages read at once."""


async def serve_sink(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`. The batch in hand is let go: whoever writes next reads it again. Raises ConfigError."""
    # Retries are logged where they are made, once; stamina would log each.
    stamina.instrumentation.set_on_retry_hooks([])
    async with open_influx(settings.sink, SinkMetrics(metrics.registry)) as influx:
        await influx.check()
        await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
        sink = Sink(bus, settings.sink, influx, instance)
        endpoint = Endpoint("sink.report", SinkRequest, sink.report)
        async with (
            broker_unchanged(bus, streams.names_of_sink(settings.sink), metrics),
            open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
            # Each instance answers for itself.
            serve(bus, SERVICE, [endpoint], instance=instance, queue=instance, metrics=metrics),
            lifecycle.unwrapped(),
        ):
            log.info("serving", database=settings.sink.url)
            with metrics.reading(sink.measured), metrics.ready.checked("consumers", sink.trouble):
                await leases.hold(LEASE, sink.write, stop)


class Sink:
    """Writes what the tape says, while it holds the lease."""

    def __init__(self, bus: Bus, settings: SinkSettings, influx: Influx, instance: str) -> None:
        self._bus = bus
        self._settings = settings
        self._influx = influx
        self._instance = instance
        self._active = False
        self._readers: list[Reader] = []
        self._trades = self._points = self._missed = 0
        self._pending = StreamDepth("tickwire_sink_pending_messages", "Messages that are not in the database yet")

    async def report(self, _request: SinkRequest, _call: Call) -> SinkReport:
        """What this instance did since it started."""
        return SinkReport(
            instance=self._instance,
            active=self._active,
            trades=self._trades,
            points=self._points + self._influx.rejected,
            rejected=self._influx.rejected,
            failures=self._influx.failures,
            missed=self._missed,
        )

    def measured(self) -> Iterable[Metric]:
        """What Prometheus is told."""
        yield gauge("tickwire_sink_active", "1 while this instance is the one that writes", float(self._active))
        yield counter("tickwire_sink_trades", "Trades written and acknowledged", self._trades)
        yield counter("tickwire_sink_points", "Points written, of all measurements", self._points)
        yield counter("tickwire_sink_rejected_points", "Points that the database refused", self._influx.rejected)
        yield counter("tickwire_sink_failed_writes", "Writes that the database did not take", self._influx.failures)
        yield counter(
            "tickwire_sink_missed", "Times that messages were let go of before they were written", self._missed
        )
        yield from self._pending.collect()

    def trouble(self) -> str | None:
        """Why nothing is read at present, if so."""
        return next((said for each in self._readers if (said := each.trouble()) is not None), None)

    async def write(self, lease: Lease) -> None:
        """Write until the lease is to be given up."""
        self._active = True
        opening: list[Callable[[], Coroutine[None, None, None]]] = [self._influx.prepare]
        work: list[tuple[Reader, Callable[[asyncio.Event], Coroutine[None, None, None]]]] = []
        if "trade" in self._settings.kinds:
            reader = Reader(self._bus, streams.TRADES)
            work.append((reader, partial(self._write_trades, reader)))
        if set(self._settings.kinds) & streams.HELD.keys():
            reader = Reader(self._bus, streams.SINK)
            held = Held(self._bus, reader)
            # First: what comes while the database is not there yet is to be written too.
            opening.insert(0, held.begin)
            work.append((reader, partial(self._write_states, reader, held)))
        self._readers = [each for each, _ in work]
        try:
            async with lifecycle.unwrapped(), asyncio.TaskGroup() as beside:
                # While the database is away, what waits for it grows: the writers do not see that.
                watching = [beside.create_task(self._pending.watch(each.stream, each.waiting)) for each, _ in work]
                for first in opening:
                    await lifecycle.until_stopped(lease.stop, first())
                async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
                    for _, write in work:
                        group.create_task(write(lease.stop))
                for each in watching:
                    each.cancel()
        except* Fenced as fenced:
            # The lease is given up, and asked for again like anybody else.
            log.warning("fenced", error=str(lifecycle.leaf(fenced)))
        finally:
            self._active = False
            self._readers = []

    async def _write_trades(self, reader: Reader, stop: asyncio.Event) -> None:
        ledger = Ledger(self._bus, SinkTotals)
        async with aclosing(reader):
            while not stop.is_set():
                if found := await reader.batch(TAKEN):
                    await lifecycle.until_stopped(stop, self._write_batch(reader, ledger, found))
                    await self._gather(reader, stop)

    async def _write_batch(self, reader: Reader, ledger: Ledger[SinkTotals], found: Sequence[Msg]) -> None:
        # Acknowledged piece by piece: whoever has to stop, or loses the lease, has not worked in vain.
        for piece in batch_points.pieces(found):
            before: dict[str, SinkTotals] = {}
            for message in piece:
                # Those without a feed are found again when they are built, and counted there.
                with suppress(BadRequest):
                    path = batch_points.feed_in(message).path
                    before[path] = await ledger.of(path)
            unknown = ledger.unread & before.keys()
            ledger.unread -= unknown
            tape = batch_points.Tape(reader.made, reader.reached)
            built = await asyncio.to_thread(batch_points.of_trades, piece, tape, before, unknown)
            self._note(built)
            for path, after in built.totals.items():
                ledger.keep(path, after)
            await self._send(built.lines)
            await ledger.save(built.totals)
            await reader.done(piece[-1])
            self._trades += built.trades

    def _note(self, built: Built) -> None:
        """Say and count what is missing among what was built."""
        for message, error in built.unread:
            self._bus.undecodable.skip(message.subject, message.data, error)
        for skipped in built.skipped:
            log.error("the tape was shorter than the outage", **skipped._asdict())
        for feed in built.anew:
            log.warning("volume deltas begin anew: an earlier version took contracts for base currency", **feed.fields)
        self._missed += built.missed

    async def _write_states(self, reader: Reader, held: Held, stop: asyncio.Event) -> None:
        async with aclosing(reader):
            while not stop.is_set():
                found = await reader.batch(TAKEN)
                await lifecycle.until_stopped(stop, self._write_held(reader, held, found))
                if found:
                    await self._gather(reader, stop)

    async def _write_held(self, reader: Reader, held: Held, found: Sequence[Msg]) -> None:
        # None found is a piece, too: what is missing at the stream's end shows by that.
        for piece in batch_points.pieces(found) if found else [found]:
            lost = await held.lost(piece)
            self._missed += len(lost)
            built = await asyncio.to_thread(batch_points.of_states, piece, self._settings.kinds)
            self._note(built)
            await self._send([*lost, *built.lines])
            if piece or lost:
                await held.save()
            if piece:
                await reader.done(piece[-1])

    async def _gather(self, reader: Reader, stop: asyncio.Event) -> None:
        """Let the next batch gather where the last was no full one: a request for each message costs most of all."""
        if not reader.full:
            await lifecycle.pause(stop, self._settings.gather_ms / 1000)

    async def _send(self, lines: Sequence[str]) -> None:
        for start in range(0, len(lines), self._settings.batch):
            taken = await self._influx.write(lines[start : start + self._settings.batch])
            self._points += taken
            log.debug("written", points=taken)
