"""Reads a stream in order with a durable consumer; messages are acknowledged once their points are durable.

A durable consumer redelivers messages that were lost, or held by an instance that died, after later ones. Here order
matters, and acknowledging a message acknowledges all before it. So the consumer is recreated behind the last
acknowledged message whenever another instance starts, or the consumer's own numbering shows a missing message.
"""

from __future__ import annotations

import asyncio
from functools import partial

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import broker_backoff
from tickwire.bus.pull import fetch
from tickwire.bus.requests import NO_STREAM, cancellable, until_answered
from tickwire.observe import logs
from tickwire.observe.episodes import Episode

log = logs.get(__name__)

WAIT_S = 1.0
ACK_WAIT_S = 60.0
_DURABLE = "sink"
BATCH_BYTES = 4 << 20
"""Bytes requested at once: a message has a hundred bytes or a million, and a whole batch is in memory."""
FIRST_BATCH = 32
"""Messages requested before their size is known."""


def next_limit(asked: int, came: int, size: int) -> int:
    """How many messages to request next, after `came` of `asked` had `size` bytes. Pure."""
    fitting = max(1, BATCH_BYTES * came // max(size, 1)) if came else asked
    # Grows slowly: the next messages may be larger.
    return min(fitting, 2 * asked) if came == asked else min(fitting, asked)


class StreamReader:
    """Reads all messages of `stream`. With `optional` it may be deleted, which ends the reading."""

    def __init__(self, bus: Bus, stream: str, *, optional: bool = False) -> None:
        self.stream = stream
        self.gone = False
        """Whether the stream was found deleted, though it was optional."""
        self._optional = optional
        self._bus = bus
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._expected = 1
        """The consumer sequence of the next message."""
        self.created = 0
        """When the stream was created, ms; 0 until it was opened."""
        self.last_sequence = 0
        """The last sequence seen of the stream."""
        self.full = False
        """Whether the last batch had as many messages as requested, so that more may follow."""
        self._asked = FIRST_BATCH
        self._backoff = broker_backoff()
        self._unreadable = Episode(log, "the stream cannot be read", stream=stream)
        self._unconfirmed = Episode(log, "cannot acknowledge messages", stream=stream)

    async def batch(self, limit: int) -> list[Msg]:
        """The next messages in order, at most `limit` and about BATCH_BYTES; none if none come within WAIT_S."""
        try:
            if self._subscription is None:
                self._subscription = await self._opened()
            self._asked = min(limit, self._asked)
            found = await cancellable(fetch(self._subscription, self._asked, WAIT_S))
        except TimeoutError:
            return []
        except nats.errors.Error as error:
            await self.aclose()
            if self._optional and isinstance(error, nats.js.errors.NotFoundError) and error.err_code == NO_STREAM:
                self._unreadable.ends()
                log.info("the stream was deleted", stream=self.stream)
                self.gone = True
                return []
            # The broker is unavailable, or has lost the consumer.
            self._unreadable.occurs(error=repr(error))
            await asyncio.sleep(self._backoff.next())
            return []
        self._unreadable.ends()
        self._backoff.worked()
        numbers = [message.metadata.sequence.consumer for message in found]
        if numbers != list(range(self._expected, self._expected + len(found))):
            log.info("messages were lost on the way, reading them again", stream=self.stream)
            await self.aclose()
            # Possibly they were more than this process may buffer.
            self._asked = max(1, self._asked // 4)
            return []
        self._expected += len(found)
        self.last_sequence = max([self.last_sequence, *(message.metadata.sequence.stream for message in found)])
        self.full = len(found) == self._asked
        self._asked = next_limit(self._asked, len(found), sum(len(message.data) for message in found))
        return found

    async def acknowledge(self, last: Msg) -> None:
        """Acknowledge a message and all before it. If that fails they are read again."""
        try:
            await cancellable(last.ack_sync())
        except nats.errors.Error as error:
            self._unconfirmed.occurs(error=repr(error))
            await self.aclose()
        else:
            self._unconfirmed.ends()

    def trouble(self) -> str | None:
        """Why the stream cannot be read at present; None if it can."""
        return f"stream {self.stream} cannot be read" if self._unreadable.lasts else None

    async def pending(self) -> int:
        """How many messages are not acknowledged, by the broker's count. Raises nats-py's errors."""
        info = await self._bus.jetstream.consumer_info(self.stream, _DURABLE)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def first_sequence(self) -> int:
        """The sequence of the oldest message; of the next one if the stream is empty. Waits for the broker."""
        read = partial(self._bus.jetstream.stream_info, self.stream)
        return max((await until_answered(read, f"stream {self.stream}")).state.first_seq, 1)

    async def aclose(self) -> None:
        """Unsubscribe; the next batch subscribes again, behind the last acknowledged message.

        Messages that were delivered and not read would delay the end of the connection.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await graceful_close.unsubscribe(self._bus.client, subscription)

    async def _opened(self) -> JetStreamContext.PullSubscription:
        jetstream = self._bus.jetstream
        start = 1
        stream = await jetstream.stream_info(self.stream)
        self.created = streams.created_ms(stream)
        self.last_sequence = stream.state.last_seq
        try:
            info = await jetstream.consumer_info(self.stream, _DURABLE)
            start = (info.ack_floor.stream_seq if info.ack_floor else 0) + 1
            await jetstream.delete_consumer(self.stream, _DURABLE)
        except nats.js.errors.NotFoundError:
            pass
        config = ConsumerConfig(
            durable_name=_DURABLE,
            ack_policy=AckPolicy.ALL,
            ack_wait=ACK_WAIT_S,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            max_ack_pending=-1,
        )
        await jetstream.add_consumer(self.stream, config)
        self._expected = 1
        return await jetstream.pull_subscribe_bind(durable=_DURABLE, stream=self.stream)
