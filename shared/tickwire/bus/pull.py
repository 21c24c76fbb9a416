"""Messages of a pull consumer, by what nats-py 2.16 keeps of it.

nats-py's own `fetch` drops what it has received when an error follows, for instance 503 for a consumer that another
instance has removed: the broker delivers it again only after the consumer's ack wait. It also makes two tasks for each
message, and one request more where none waits. Upstream: no issue found.
"""

from __future__ import annotations

import asyncio

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.client import JetStreamContext

_NO_MORE = frozenset({"404", "408", "409"})
"""Statuses that end a request for messages: none waits, its time is over, the consumer changed."""


async def fetch(consumer: JetStreamContext.PullSubscription, most: int, wait_s: float) -> list[Msg]:
    """Messages of a pull consumer, at least one: those received already and those that wait, else the first to come.

    Raises nats.errors.TimeoutError if none comes within `wait_s`, nats.js.errors.APIError if the broker refuses: with
    status 503 for a consumer that does not exist. If messages were received, they are returned instead.
    """
    inbox, found = consumer._sub, list[Msg]()
    queue = inbox._pending_queue
    while len(found) < most and not queue.empty():
        # A status here is the end of an earlier request.
        if not _status_of(message := _received(inbox)):
            found.append(message)
    if len(found) == most:
        return found
    request: dict[str, object] = {"batch": most - len(found), "no_wait": True}
    if not found:
        # Then it is answered when the first message comes. It ends at the broker before it ends here.
        request["expires"] = int(0.9e9 * wait_s)
    await consumer._nc.publish(consumer._nms, msgspec.json.encode(request), consumer._deliver)
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    while len(found) < most:
        try:
            message = await inbox.next_msg(until - loop.time()) if queue.empty() else _received(inbox)
        except TimeoutError:
            break
        if not (status := _status_of(message)):
            found.append(message)
        elif found or status in _NO_MORE:
            break
        else:
            raise nats.js.errors.APIError.from_msg(message)
    if not found:
        raise nats.errors.TimeoutError
    return found


def _received(inbox: Subscription) -> Msg:
    """The next message that waits in a subscription without a callback: `next_msg` makes two tasks for it."""
    message: Msg = inbox._pending_queue.get_nowait()
    inbox._pending_size -= len(message.data)
    inbox._pending_queue.task_done()
    return message


def _status_of(message: Msg) -> str | None:
    return (message.headers or {}).get("Status")
