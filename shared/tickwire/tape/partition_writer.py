"""The one writer of a partition of the tape: any number of messages in flight, fenced by the sequence of the stream.

| subject | direction | what |
|---|---|---|
| `tape.<kind>.<partition>.…` | publishes | messages, each bound to the stream's sequence before it |
| `$JS.API.STREAM.INFO.<stream>`, `$JS.API.STREAM.MSG.GET.<stream>` | requests | the end of the stream, after a doubt |

The stream accepts a message only after the one that its writer sent before it (`tape/attempts.py`). A new owner begins
with a message of its own, so whatever the former one still sends is refused. What is refused, or not acknowledged, puts
all that is in flight in doubt: the end of the stream is read and compared, and what is not there is sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from nats.js.api import RawStreamMsg, StreamInfo

from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import NO_STREAM, WRONG_SEQUENCE
from tickwire.bus.requests import until_answered
from tickwire.errors import BadRequest, Busy, Fenced
from tickwire.model.instants import next_instant
from tickwire.model.subjects import check_subject
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.process.turns import Turns
from tickwire.tape import handover
from tickwire.tape.attempts import Answer, Attempt, BatchAttempt, SingleAttempt
from tickwire.tape.followers import FOLLOWED_AGAIN_MS, FOLLOWED_S, Followers
from tickwire.tape.pipeline import Done, End, Entry, Pipeline
from tickwire.tape.sequence import OWN_LAST
from tickwire.tape.waiters import Waiters
from tickwire.tape.writer import PUBLISH, Confirm, last_message, message_at
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

MOST, MOST_BYTES = 4096, 16 << 20
"""Messages and bytes that may wait for their acknowledgement."""
ACKNOWLEDGE_MS = 100
"""The acknowledgement of what is in flight is requested this often, of all partitions in one turn of the loop."""
SILENT_S = 2.0
"""Without any acknowledgement for so long, what is in flight is in doubt."""
SENT = 15
"""Units of a turn (`Turns`) for a message that is sent again."""
FIRST_S, LONGEST_S = 0.05, 1.0
"""Delays before the end of the stream is read again."""
_HEADER_BYTES = 400
"""More than the headers of a message have."""


class PartitionWriter:
    """Appends to one stream. Made by `open_partition_writer`."""

    def __init__(self, bus: Bus, stream: str, name: str, pipeline: Pipeline, confirm: Confirm, batches: bool) -> None:
        self.stream = stream
        self._bus = bus
        self._family = f"tape.{stream}"
        """Names the stream where failures of storage are counted."""
        self._name = name
        self._pipeline = pipeline
        self._confirm = confirm
        self._kind: type[Attempt] = BatchAttempt if batches else SingleAttempt
        self._inbox = bus.client.new_inbox()
        self._headers = f"NATS/1.0\r\n{PUBLISH}: {name}\r\n{OWN_LAST}: "
        """What the headers of each message begin with."""
        self._attempts = 0
        self._attempt = self._new_attempt()
        self.lasts: dict[str, int] = {}
        """Sequence of the last message of each opened subject, stored or in flight; 0 if there is none."""
        self.followers = Followers()
        self._waiting = Waiters()
        self._doubted = asyncio.Event()
        self._fenced: Fenced | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._progress_at = 0.0
        self._backoff = Backoff(FIRST_S, LONGEST_S)
        self._unacknowledged = Episode(log, "the tape does not acknowledge", stream=stream)
        self.turns = Turns()
        """Bounds how many messages are sent again in one turn of the loop."""
        self.resent = 0
        """Messages that were sent more than once."""

    # ---- what the owner calls

    async def open(self, subject: str) -> RawStreamMsg | None:
        """Begin to append to a subject; its last stored message. Raises BadRequest, Fenced."""
        check_subject(subject)
        if known := self.lasts.get(subject):
            await self.durable(known)
        last = await last_message(self._bus, self.stream, subject)
        self.lasts.setdefault(subject, (last.seq or 0) if last else 0)
        return last

    def append(self, subject: str, data: bytes, done: Done | None = None) -> int:
        """Send a message on an opened subject; the sequence that it will have. Returns at once.

        `done` is called with that when it is stored. Raises Busy if as many are in flight as may be (`room`), Fenced if
        another instance writes, BadRequest if the broker takes no message of this size.
        """
        if sequence := self.append_if_ready(subject, data, done):
            return sequence
        raise self._fenced or Busy(f"{MOST} messages wait for stream {self.stream}", "wait for room")

    def append_if_ready(self, subject: str, data: bytes, done: Done | None = None) -> int:
        """As `append`, but 0 where that raises Busy or Fenced."""
        pipeline = self._pipeline
        if not self.ready():
            return 0
        if len(data) + _HEADER_BYTES > self._bus.client.max_payload:
            raise BadRequest(f"a message of {len(data)} bytes is too long for the broker", "split it")
        sends = not (pipeline.unsent or self._attempt.ending or self._doubted.is_set())
        entry = pipeline.add(subject, self.lasts[subject], data, done, sends=sends)
        self.lasts[subject] = entry.sequence
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._progress_at = now = loop.time()
            when = now + FOLLOWED_S if self.followers else next_instant(now, ACKNOWLEDGE_MS)
            self._timer = loop.call_at(when, self._tick)
        if sends:
            self._send(entry)
        return entry.sequence

    def ready(self) -> bool:
        """Whether `append` would send a message."""
        pipeline = self._pipeline
        return self._fenced is None and len(pipeline.pending) < MOST and pipeline.bytes < MOST_BYTES

    @property
    def in_flight(self) -> int:
        """Messages that are not known to be stored."""
        return len(self._pipeline.pending)

    @property
    def doubtful(self) -> bool:
        """Whether it is not known what is stored of what is in flight."""
        return self._doubted.is_set()

    @property
    def durable_sequence(self) -> int:
        """The stream has everything of this writer up to this sequence."""
        return self._pipeline.durable

    async def room(self) -> None:
        """Wait until `append` accepts a message. Raises Fenced."""
        while not self.ready():
            await self.durable(self._pipeline.durable + 1)

    async def durable(self, sequence: int | None = None) -> None:
        """Wait until the stream has everything up to a sequence, or all that was appended. Raises Fenced."""
        sequence = self._pipeline.newest if sequence is None else sequence
        if self._fenced is not None:
            raise self._fenced
        if self._pipeline.durable < sequence:
            stored = self._waiting.add(sequence)
            self._request_acknowledgement()
            await stored

    # ---- sending

    def _new_attempt(self) -> Attempt:
        self._attempts += 1
        return self._kind(self._inbox, str(self._attempts), self._pipeline.durable, self._name)

    def _pump(self) -> None:
        """Send what this attempt has not sent; a long queue in several turns of the loop."""
        turns = self.turns
        while turns.left > 0:
            if self._doubted.is_set() or self._attempt.ending or (entry := self._pipeline.next()) is None:
                return
            turns.spend(SENT)
            self._send(entry)
        turns.again(self._pump)

    def _send(self, entry: Entry) -> None:
        headers = f"{self._headers}{entry.previous}\r\nNats-Expected-Last-Sequence: {entry.sequence - 1}\r\n\r\n"
        self._publish(entry.subject, self._attempt.add(), headers, entry.data)

    def _publish(self, subject: str, reply: str, headers: str, data: bytes) -> None:
        size = len(headers)
        frame = b"%b%b\r\n" % (f"HPUB {subject} {reply} {size} {size + len(data)}\r\n{headers}".encode(), data)
        if not self._bus.client.send(frame, urgent=self._attempt.ending):
            self._doubt("there is no connection")

    def _request_acknowledgement(self) -> None:
        """End the batch, which acknowledges all of it; the next one begins when that is there."""
        if self._doubted.is_set() or self._attempt.ending:
            return
        if (reply := self._attempt.end()) is not None:
            # Subscribers of a feed's subject would hear it there.
            self._publish(handover.subject_of(self.stream), reply, "NATS/1.0\r\n\r\n", b"")

    def _tick(self) -> None:
        """One timer for all that is in flight, and to end an idle batch: the stream would forget it."""
        self._timer = None
        loop = asyncio.get_running_loop()
        pending = bool(self._pipeline.pending)
        if pending and loop.time() - self._progress_at > SILENT_S:
            self._progress_at = loop.time()
            self._doubt("the stream does not answer")
        else:
            self._request_acknowledgement()
        if pending:
            when = next_instant(loop.time(), FOLLOWED_AGAIN_MS if self.followers else ACKNOWLEDGE_MS)
            self._timer = loop.call_at(when, self._tick)

    # ---- acknowledgements

    def _take(self, subject: bytes, headers: bytes, data: bytes) -> None:
        attempt = self._attempt
        if self._doubted.is_set() or not attempt.is_of(subject.decode(errors="replace")):
            return  # Of an attempt that is over: the end of the stream says what became of it.
        if headers.startswith(NO_STREAM):
            self._doubt("there is no such stream, or it has no leader")
            return
        answer = attempt.read(data)
        try:
            self._accept(answer)
        except Fenced as error:
            self._fence(error)

    def _accept(self, answer: Answer) -> None:
        if answer.refused:
            self._doubt(answer.refused, answer.code)
            return
        if found := self._pipeline.stored(answer.sequence):
            self._progress(found)
        if answer.ended:
            self._attempt = self._new_attempt()
            self._pump()
        if self._waiting:
            self._request_acknowledgement()

    def _progress(self, found: Sequence[Entry]) -> None:
        self._progress_at = asyncio.get_running_loop().time()
        self._backoff.worked()
        self._unacknowledged.ends()
        self._bus.publisher.worked(self._family)
        self._release(found)

    def _release(self, found: Sequence[Entry]) -> None:
        self.followers.stored(found)
        self._waiting.release(self._pipeline.durable)

    # ---- doubts

    def suspect_loss(self) -> None:
        """The connection was lost, and is back."""
        if self._pipeline.pending:
            self._doubt("the connection was lost")
        self._attempt = self._new_attempt()

    def _doubt(self, why: str, code: int = 0) -> None:
        if self._doubted.is_set():
            return
        self._doubted.set()
        self._unacknowledged.occurs(why=why, in_flight=len(self._pipeline.pending))
        if code != WRONG_SEQUENCE or self._backoff.failures:
            # A store that cannot write refuses the sequence that it says is its last, too.
            self._bus.publisher.failed(self._family, why)

    def _fence(self, error: Fenced) -> None:
        self._fenced = error
        self._doubted.set()
        self._waiting.fail(error)

    async def settle_doubts(self) -> None:
        """After each doubt compare the end of the stream, and send again what is not there; until cancelled.

        Raises Fenced when another instance has taken over.
        """
        while True:
            await self._doubted.wait()
            try:
                if self._fenced is not None:
                    raise self._fenced
                await asyncio.sleep(self._backoff.next())
                found = self._pipeline.compare(await self._read_end())
            except Fenced as error:
                self._fence(error)
                raise
            self.resent += max(0, self._pipeline.sent - self._pipeline.durable)
            self._progress_at = asyncio.get_running_loop().time()
            self._doubted.clear()
            self._attempt = self._new_attempt()
            self._release(found)
            self._pump()
            if self._waiting:
                self._request_acknowledgement()

    async def _read_end(self) -> End:
        info = await until_answered(partial(self._bus.jetstream.stream_info, self.stream), self.stream)
        last = info.state.last_seq
        message = await message_at(self._bus, self.stream, last) if last > self._pipeline.durable else None
        await self._confirm()
        if message is None:
            # Removed by retention; the lease says whose it was.
            return End(last)
        own = (message.headers or {}).get(PUBLISH) == self._name
        return End(last, message.subject, message.data or b"", own)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Receive acknowledgements and settle doubts within the block; all is stored when it is left without error."""
        subscription = await self._bus.client.subscribe_directly(f"{self._inbox}.>", self._take)
        self._bus.resync_callbacks.add(self.suspect_loss)
        try:
            async with lifecycle.unwrapped(), TaskGroup() as group:
                settling = group.create_task(self.settle_doubts())
                try:
                    yield
                    await self.durable()
                finally:
                    settling.cancel()
        finally:
            self._bus.resync_callbacks.discard(self.suspect_loss)
            if self._timer is not None:
                self._timer.cancel()
            self._pipeline.forget()
            await graceful_close.unsubscribe(self._bus.client, subscription)


@asynccontextmanager
async def open_partition_writer(
    bus: Bus, stream: str, confirm: Confirm, *, batches: bool | None = None, turns: Turns | None = None
) -> AsyncIterator[PartitionWriter]:
    """The writer of a stream, for its owner; every former writer is fenced when the block is entered.

    `confirm` raises Fenced if this instance is not the owner. `batches`: None for what the stream allows; without them
    one message is in flight. `turns`: those shared with other work of the loop. The block ends with Fenced when another
    instance has taken over; leaving it waits until all is stored.
    """
    info: StreamInfo = await until_answered(partial(bus.jetstream.stream_info, stream), stream)
    batches = bool(info.config.allow_batched) if batches is None else batches
    name = f"{bus.name} {secrets.token_hex(4)}"
    sequence = await handover.append(bus, stream, name, confirm)
    log.info("the tape has a new owner", stream=stream, sequence=sequence, batches=batches)
    writer = PartitionWriter(bus, stream, name, Pipeline(sequence), confirm, batches)
    writer.turns = turns or writer.turns
    async with writer.running():
        yield writer
