"""Keeps the ordered consumers of a connection delivering: nats-py 2.16's own care for one is replaced by this.

Tests in tests/bus/test_ordered_consumers.py show what nats-py does by itself:
- It makes a consumer again when heartbeats are missing, every 2 s and without waiting for the broker's answer, so that
  a broker that takes longer never gets to the end; and no more when one attempt raised.
- It compares heartbeats with what arrived only once a message has arrived: the first messages may be missing for ever.
- It confirms flow control when a message arrives, not when the callback has returned. So nothing bounds what waits for
  a callback, and of what is more than 256 MiB each message is dropped and never delivered again.
- A consumer that is reset before its first message begins at the first of the stream.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy, Header

from tickwire.bus.requests import cancellable
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

log = logs.get(__name__)

HEARTBEAT_S = 1.0
SILENT_S = 2.5
"""Without a message or heartbeat for so long, a consumer is made again: two heartbeats are missing."""
CREATE_S = 3.0
"""How long the broker's answer is awaited when a consumer is made: a cluster without a leader loses the request."""
FIRST_AGAIN_S, LONGEST_AGAIN_S = 0.5, 5.0
"""Delays before a consumer is made again, once making it has failed; they are time for one that is made late."""
CHECK_S = 0.25
"""How often it is looked whether the broker is back."""


def watch(consumer: JetStreamContext.PushSubscription) -> None:
    """Make an ordered consumer with a callback again whenever it does not deliver, until it is unsubscribed."""
    given: Any = consumer._sub._jsi
    for task in (given._hbtask, given._fctask):
        task.cancel()
    consumer._sub._jsi = OrderedState(given)


def heard_at(client: Client) -> list[float]:
    """When each ordered consumer that is subscribed last received a message or heartbeat, monotonic s."""
    states = [subscription._jsi for subscription in client._subs.values()]
    return [state.heard for state in states if isinstance(state, OrderedState)]


class OrderedState(JetStreamContext._JSI):
    """What nats-py keeps of an ordered consumer and asks about each of its messages. Runs a task until unsubscribed."""

    def __init__(self, given: JetStreamContext._JSI) -> None:
        self.heard = 0.0
        super().__init__(given._js, given._conn, given._stream, True, given._psub, given._sub, given._ccreq)
        self._made = self.heard
        """When the consumer was last made, monotonic s."""
        self._wrong = asyncio.Event()
        """Set when it delivers something else than the next message, or could not be made."""
        self._failure = ""
        self._failures = Episode(
            log, "a consumer does not deliver", stream=self._stream, subject=self._ccreq.filter_subject
        )
        assert self._sub._cb is not None
        self._callback = self._sub._cb
        self._sub._cb = self._deliver
        # `unsubscribe` cancels it.
        self._hbtask: Any = asyncio.create_task(self._keep_delivering())

    # -- asked by nats-py, for each message and heartbeat ---------------------------------------------------------

    @property
    def _active(self) -> bool:
        return True

    @_active.setter
    def _active(self, value: bool | None) -> None:
        # nats-py sets it at each message and heartbeat.
        self.heard = time.monotonic()

    def get_js_delivered(self) -> int:
        """How many messages the callback has been called with."""
        return self._fciseq - int(self._sub._pending_queue.qsize())

    async def check_for_sequence_mismatch(self, msg: Msg) -> bool | None:
        """Compare a heartbeat, which names the last message that was sent, with the last that arrived."""
        sent = (msg.headers or {}).get(Header.LAST_CONSUMER, "")
        if sent.isdecimal() and int(sent) != self._dseq - 1:
            return await self.reset_ordered_consumer(None)
        return None

    async def reset_ordered_consumer(self, sseq: int | None) -> bool:
        """Have the consumer made again. What comes of it until then is dropped."""
        self._failure = "messages are missing"
        self._wrong.set()
        return True

    # -- private -------------------------------------------------------------------------------------------------

    async def _deliver(self, message: Msg) -> None:
        try:
            await self._callback(message)
        finally:
            if self._fcr and self.get_js_delivered() >= self._fcd:
                reply, self._fcr = self._fcr, None
                await self._conn.publish(reply)

    async def _keep_delivering(self) -> None:
        try:
            backoff = Backoff(FIRST_AGAIN_S, LONGEST_AGAIN_S)
            while not self._conn.is_closed:
                if await self._is_delivering():
                    if self.heard > self._made:
                        backoff.worked()
                        self._failures.ends()
                elif not self._conn.is_connected:
                    await asyncio.sleep(CHECK_S)
                else:
                    if backoff.failures:
                        self._failures.occurs(error=self._failure)
                    await asyncio.sleep(backoff.next())
                    if self._wrong.is_set() or self._left_s() <= 0:
                        await self._make_again()
        except Exception as error:  # noqa: BLE001
            # A bug, which must end the process rather than this task alone.
            await self._conn._error_cb(error)

    async def _is_delivering(self) -> bool:
        """Wait until the consumer does not deliver, or at most until it could be silent; whether it delivers."""
        return not await lifecycle.pause(self._wrong, max(self._left_s(), 0.0)) and self._left_s() > 0

    def _left_s(self) -> float:
        """How long until the consumer counts as silent, s."""
        return max(self.heard, self._made) + SILENT_S - time.monotonic()

    async def _make_again(self) -> None:
        """Make the consumer anew, from the message after the last that arrived, and with an inbox of its own."""
        client, subscription = self._conn, self._sub
        # Without a pause up to the first `await`: neither a message nor a reconnection sees half of it.
        self._wrong.clear()
        number = subscription._id
        self._switch_inbox(subscription)
        config = replace(self._ccreq, deliver_subject=subscription._subject)
        if self._sseq:
            config = replace(config, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._sseq + 1)
        try:
            await client._send_unsubscribe(number)
            await client._send_subscribe(subscription)
            made = await cancellable(self._js._jsm.add_consumer(self._stream, config=config, timeout=CREATE_S))
        except TimeoutError as error:
            # It may be made late, and deliver then.
            self._failure = repr(error)
        except (nats.errors.Error, OSError, RuntimeError) as error:
            # uvloop raises RuntimeError where a socket is closed.
            self._failure = repr(error)
            self._wrong.set()
        else:
            self._failure = "no heartbeat arrives"
            self._psub._consumer = made.name
            self._made = time.monotonic()

    def _switch_inbox(self, subscription: Subscription) -> None:
        """Give a subscription a new number and subject: what still comes of the old consumer is ignored."""
        client = self._conn
        client._remove_sub(subscription._id)
        client._sid += 1
        subscription._id = self._psub._id = client._sid
        subscription._subject = client.new_inbox()
        client._subs[subscription._id] = subscription
        self._cmeta, self._fcr, self._dseq = None, None, 1
