"""Ways of storing messages in streams of nats-server, for `benchmarks/broker.py`, without anything of tickwire's own.

`Confirmed` is how a feed with one message in flight is fenced, `Pipelined` and `Batched` how a whole stream is. Each
checks that all its messages were stored: its `finish` raises AssertionError otherwise.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from nats.aio.client import Client
from nats.aio.msg import Msg

WINDOW = 2000
"""Messages without an acknowledgement, of all streams."""
FLOW = 100
"""A batch is acknowledged after so many messages."""
START, APPEND, COMMIT = 0, 1, 2
"""Operations of a fast-ingest batch (nats-architecture-and-design, ADR-50)."""


class Writing(Protocol):
    """One way of storing messages. `number` is that of a subject."""

    async def write(self, number: int) -> None:
        """Store a message on a subject; may return before it is stored."""

    async def finish(self) -> None:
        """Wait until all are stored."""


def subject(number: int, streams: int) -> str:
    """Return the subject of a number; subjects are spread over the streams."""
    return f"bench.{number % streams}.M{number:04}-USDT"


class Acks:
    """One subscription for all acknowledgements, those without error counted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.inbox = client.new_inbox()
        self.waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.room = asyncio.Semaphore(WINDOW)
        self.stored = self.sent = 0
        self.errors: list[str] = []
        self.all = asyncio.Event()
        self.finishing = False

    async def open(self) -> None:
        """Subscribe."""
        await self.client.subscribe(f"{self.inbox}.>", cb=self._take)

    async def _take(self, message: Msg) -> None:
        ack = json.loads(message.data) if message.data else {"error": "nobody stores it"}
        if "error" in ack:
            self.errors.append(str(ack["error"]))
        waiting = self.waiting.pop(message.subject, None)
        if waiting is not None:
            waiting.set_result(ack)
        self.acknowledged(1)

    def acknowledged(self, count: int) -> None:
        """Count messages."""
        self.stored += count
        for _ in range(count):
            self.room.release()
        if self.finishing and self.stored >= self.sent:
            self.all.set()

    async def finish(self) -> None:
        """Wait until all are acknowledged."""
        self.finishing = True
        async with asyncio.timeout(60):
            if self.stored < self.sent:
                await self.all.wait()
        assert not self.errors, self.errors[:3]


class Confirmed:
    """One message of each subject in flight, bound to the sequence of the subject's last one."""

    def __init__(self, client: Client, streams: int, payload: bytes, subjects: int) -> None:
        self._acks = Acks(client)
        self._streams = streams
        self._payload = payload
        self._last = [0] * subjects
        self._turns = [asyncio.Lock() for _ in range(subjects)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    async def write(self, number: int) -> None:
        """See `Writing`."""
        task = asyncio.create_task(self._store(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, number: int) -> None:
        acks = self._acks
        if not acks.stored and not acks.sent:
            await acks.open()
        async with self._turns[number]:
            self._count += 1
            acks.sent += 1
            reply = f"{acks.inbox}.{self._count}"
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            acks.waiting[reply] = answer
            headers = {
                "Nats-Expected-Last-Subject-Sequence": str(self._last[number]),
                "Tickwire-Publish": f"streamer-{secrets.token_hex(4)} {self._count}",
            }
            await acks.client.publish(subject(number, self._streams), self._payload, reply=reply, headers=headers)
            self._last[number] = (await answer).get("seq", 0)

    async def finish(self) -> None:
        """See `Writing`."""
        while self._tasks:
            await asyncio.gather(*self._tasks)
        await self._acks.finish()


class Pipelined:
    """Any number in flight, each bound to the predicted sequence of its stream; plain acknowledgements."""

    def __init__(self, client: Client, streams: int, payload: bytes) -> None:
        self.acks = Acks(client)
        self.streams = streams
        self.payload = payload
        self.last = [0] * streams

    async def write(self, number: int) -> None:
        """See `Writing`."""
        acks, stream = self.acks, number % self.streams
        if not acks.sent:
            await acks.open()
        await acks.room.acquire()
        acks.sent += 1
        await acks.client.publish(
            subject(number, self.streams), self.payload, reply=self.reply(stream), headers=self.fence(stream)
        )
        self.last[stream] += 1

    def fence(self, stream: int) -> dict[str, str]:
        """Return the headers of the next message of a stream."""
        return {"Nats-Expected-Last-Sequence": str(self.last[stream])}

    def reply(self, stream: int) -> str:
        """Return the reply subject of the next message of a stream."""
        return f"{self.acks.inbox}.{self.acks.sent}"

    async def finish(self) -> None:
        """See `Writing`."""
        await self.acks.finish()


class BatchAcks(Acks):
    """Acknowledgements of batches: each is of all messages up to its own."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.reached: dict[str, int] = {}

    async def _take(self, message: Msg) -> None:
        ack = json.loads(message.data)
        if "error" in ack or ack.get("type") in ("err", "gap"):
            self.errors.append(str(ack))
        batch = message.subject.split(".")[2]
        # A flow acknowledgement has `seq`, that of the commit `count`.
        reached = int(ack["count"] if "count" in ack else ack.get("seq", 0))
        done = reached - self.reached.get(batch, 0)
        if done > 0:
            self.reached[batch] = reached
            self.acknowledged(done)


class Batched(Pipelined):
    """One fast-ingest batch for each stream, fenced in the same way."""

    def __init__(self, client: Client, streams: int, payload: bytes) -> None:
        super().__init__(client, streams, payload)
        self.acks: Acks = BatchAcks(client)
        self._ids: Sequence[str] = [secrets.token_hex(8) for _ in range(streams)]

    def reply(self, stream: int, operation: int | None = None) -> str:
        """See `Pipelined`."""
        number = self.last[stream] + 1
        chosen = operation if operation is not None else START if number == 1 else APPEND
        return f"{self.acks.inbox}.{self._ids[stream]}.{FLOW}.fail.{number}.{chosen}.$FI"

    async def finish(self) -> None:
        """Store a last message of each stream, which ends its batch."""
        for stream in range(self.streams):
            self.acks.sent += 1
            await self.acks.client.publish(
                subject(stream, self.streams), self.payload, self.reply(stream, COMMIT), self.fence(stream)
            )
        await self.acks.finish()
