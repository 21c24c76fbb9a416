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
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec
import stamina.instrumentation
from nats.aio.msg import Msg
from prometheus_client.core import Metric

from tickwire import lifecycle, logs, messages, streams
from tickwire.backlog import Backlog
from tickwire.bus import Bus
from tickwire.chain import expected_of, skips
from tickwire.config import Settings, SinkSettings
from tickwire.errors import BadRequest, Fenced
from tickwire.feeds import Book, Candle, Feed, Gap, Trades, feed_of
from tickwire.leases import Lease, open_leases
from tickwire.messages import SinkReport, SinkRequest, SinkTotals
from tickwire.metrics import Metrics, counter, gauge
from tickwire.serving import Call, Endpoint, serve
from tickwire.sink import points, totals
from tickwire.sink.held import Held
from tickwire.sink.influx import Influx, open_influx
from tickwire.sink.ledger import Ledger
from tickwire.sink.metrics import SinkMetrics
from tickwire.sink.reader import Reader

log = logs.get(__name__)

SERVICE = "sink"
LEASE = "influxdb"
TAKEN = 500
"""Messages read at once."""
TURN = 32
"""Messages after which the event loop turns: a book takes some 50 us."""


async def serve_sink(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`. The batch in hand is let go: whoever writes next reads it again. Raises ConfigError."""
    # Retries are logged where they are made, once; stamina would log each.
    stamina.instrumentation.set_on_retry_hooks([])
    async with open_influx(settings.sink, SinkMetrics(metrics.registry)) as influx:
        await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
        sink = Sink(bus, settings.sink, influx, instance)
        endpoint = Endpoint("sink.report", SinkRequest, sink.report)
        async with (
            open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
            # Each instance answers for itself.
            serve(bus, SERVICE, [endpoint], instance=instance, queue=instance, metrics=metrics),
            lifecycle.unwrapped(),
        ):
            log.info("serving", database=settings.sink.url)
            with metrics.reading(sink.measured):
                await leases.hold(LEASE, sink.write, stop)


class Sink:
    """Writes what the tape says, while it holds the lease."""

    def __init__(self, bus: Bus, settings: SinkSettings, influx: Influx, instance: str) -> None:
        self._bus = bus
        self._settings = settings
        self._influx = influx
        self._instance = instance
        self._active = False
        self._trades = self._points = self._missed = 0
        self._pending = Backlog("tickwire_sink_pending_messages", "Messages that are not in the database yet")

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
        yield from self._pending.measured()

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
        try:
            async with lifecycle.unwrapped(), asyncio.TaskGroup() as beside:
                # While the database is away, what waits for it grows: the writers do not see that.
                watching = [beside.create_task(self._pending.watch(each.stream, each.waiting)) for each, _ in work]
                for first in opening:
                    await lifecycle.until_stopped(lease.release, first())
                async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
                    for _, write in work:
                        group.create_task(write(lease.release))
                for each in watching:
                    each.cancel()
        except* Fenced as fenced:
            # The lease is given up, and asked for again like anybody else.
            log.warning("fenced", error=str(lifecycle.leaf(fenced)))
        finally:
            self._active = False

    async def _write_trades(self, reader: Reader, stop: asyncio.Event) -> None:
        ledger = Ledger(self._bus, SinkTotals)
        async with aclosing(reader):
            while not stop.is_set():
                if found := await reader.batch(TAKEN):
                    await lifecycle.until_stopped(stop, self._write_batch(reader, ledger, found))
                    await self._gather(found, stop)

    async def _write_batch(self, reader: Reader, ledger: Ledger[SinkTotals], found: Sequence[Msg]) -> None:
        lines: list[str] = []
        touched: set[str] = set()
        trades = 0
        async for message in _in_turns(found):
            sequence = message.metadata.sequence.stream
            try:
                feed = feed_of(message.subject.removeprefix("tape."))
            except BadRequest as error:
                # No feed has this subject, so there is no place in one to speak of.
                lines.append(self._unread(message, error, {"stream": reader.stream}))
                continue
            before, hole = self._begun(reader, await ledger.of(feed.path))
            if hole or feed.path in ledger.unread:
                ledger.unread.discard(feed.path)
                lines.append(self._hole(message, hole or "what was written of it before is not known", _tags(feed)))
            if sequence <= before.sequence:
                # Written in an earlier life.
                continue
            try:
                said = messages.decode(message.data, Trades)
                if said.feed != feed:
                    raise BadRequest(f"trades of {said.feed} on the subject of {feed}", "see docs/asyncapi.json")
            except BadRequest as error:
                lines.append(self._unread(message, error, _tags(feed)))
                ledger.keep(feed.path, msgspec.structs.replace(before, sequence=sequence))
            else:
                lines += self._lost(message, said, before.sequence, sequence)
                if totals.begins_anew(before, said):
                    log.warning(
                        "volume deltas begin anew: an earlier version took contracts for base currency", **feed.fields
                    )
                made, after = points.of_trades(said, sequence, before)
                lines += made
                trades += len(said.trades)
                ledger.keep(feed.path, after)
            touched.add(feed.path)
        await self._send(lines)
        await ledger.save(touched)
        await reader.done(found[-1])
        self._trades += trades

    def _lost(self, message: Msg, said: Trades, last: int, sequence: int) -> list[str]:
        """A gap where the tape let go of messages before they were read."""
        if not skips(expected_of(message.headers), last):
            return []
        self._missed += 1
        log.error("the tape was shorter than the outage", subject=message.subject, after=last, before=sequence)
        until = said.trades[0].timestamp if said.trades else None
        lost = Gap(since=None, until=until, reason="no longer on the tape when it could be written")
        return [points.of_gap(lost, {"exchange": said.exchange, "symbol": said.symbol}, said.received, sequence)]

    def _unread(self, message: Msg, error: BadRequest, tags: dict[str, str]) -> str:
        """A gap in place of a message that cannot be read."""
        self._bus.undecodable.skip(message.subject, message.data, error)
        return self._hole(message, "a message of the tape cannot be read", tags)

    def _hole(self, message: Msg, reason: str, tags: dict[str, str]) -> str:
        """A gap of unknown bounds, in place of a message or before it."""
        self._missed += 1
        at = int(message.metadata.timestamp.timestamp() * 1000)
        lost = Gap(since=None, until=None, reason=reason)
        return points.of_gap(lost, tags, at, message.metadata.sequence.stream)

    def _begun(self, reader: Reader, before: SinkTotals) -> tuple[SinkTotals, str]:
        """Totals as far as they speak of the stream that is read, and else why a gap is before its next message."""
        if before.stream in (0, reader.made) and reader.reaches(before.sequence):
            return msgspec.structs.replace(before, stream=reader.made), ""
        return msgspec.structs.replace(before, stream=reader.made, sequence=0), "the tape was made anew"

    async def _write_states(self, reader: Reader, held: Held, stop: asyncio.Event) -> None:
        async with aclosing(reader):
            while not stop.is_set():
                found = await reader.batch(TAKEN)
                await lifecycle.until_stopped(stop, self._write_held(reader, held, found))
                await self._gather(found, stop)

    async def _write_held(self, reader: Reader, held: Held, found: Sequence[Msg]) -> None:
        lost = await held.lost(found)
        self._missed += len(lost)
        made = [self._state(message) async for message in _in_turns(found)]
        await self._send([*lost, *(line for line in made if line is not None)])
        if found or lost:
            await held.save()
        if found:
            await reader.done(found[-1])

    async def _gather(self, found: Sequence[Msg], stop: asyncio.Event) -> None:
        """Let the next batch gather where the last was no full one: a request for each message costs most of all."""
        if 0 < len(found) < TAKEN:
            await lifecycle.pause(stop, self._settings.gather_ms / 1000)

    def _state(self, message: Msg) -> str | None:
        """The point of a book or a candle; none of what is held from when more was wanted."""
        kind = message.subject.split(".")[1]
        if kind not in self._settings.kinds:
            return None
        sequence = message.metadata.sequence.stream
        try:
            feed = feed_of(message.subject.removeprefix("tape."))
            said: Candle | Book = (
                messages.decode(message.data, Candle) if kind == "candle" else messages.decode(message.data, Book)
            )
            if (said.exchange, said.symbol) != (feed.exchange, feed.symbol):
                raise BadRequest(f"{said.exchange} {said.symbol} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            return self._unread(message, error, {"stream": streams.SINK})
        return points.of_candle(said) if isinstance(said, Candle) else points.of_book(said, sequence)

    async def _send(self, lines: Sequence[str]) -> None:
        for start in range(0, len(lines), self._settings.batch):
            taken = await self._influx.write(lines[start : start + self._settings.batch])
            self._points += taken
            log.debug("written", points=taken)


def _tags(feed: Feed) -> dict[str, str]:
    return {"exchange": feed.exchange, "symbol": feed.symbol}


async def _in_turns(found: Sequence[Msg]) -> AsyncIterator[Msg]:
    """Messages one after another; the loop turns now and then between them."""
    for number, message in enumerate(found):
        if number % TURN == TURN - 1:
            await asyncio.sleep(0)
        yield message
