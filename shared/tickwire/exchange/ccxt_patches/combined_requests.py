"""Requests to subscribe that wait on one socket are sent in one message, where the venue takes several.

ccxt (4.5.90) sends a message for each subscription, and venues limit the messages of a socket: Binance takes five a
second, so 200 feeds on one socket would be subscribed again only 40 s after it broke.

An answer to a combined message is passed on to ccxt once for each of its requests. If the answer is an error, ccxt does
not get it: the two halves of the message are sent by themselves, until the refused request is alone. If there is no
answer at all, later messages of the socket are half as long.

Upstream: no issue found.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import msgspec
from ccxt.async_support.base.ws.client import json_dumps

from tickwire.exchange.requests import id_field, refuses
from tickwire.observe import logs
from tickwire.venues.profile import Combining

log = logs.get(__name__)


@dataclass(eq=False, slots=True)
class _Request:
    message: Any
    sending: Callable[[object], None]
    is_wanted: Callable[[], bool]
    sent: asyncio.Future[None]
    id_field: str | None
    items: list[Any]
    """What it names; empty if it cannot be combined."""
    others: dict[str, Any]
    """The other fields, without the id: equal ones can be combined."""
    size: int


class CombinedRequests:
    """The requests of one socket.

    A message is sent by `send` every `interval_s`, and after a pause two at once: what ends a subscription, and what
    makes the next one, need not wait. `failed` is called with an error of a message that is
    sent again: nothing waits for it.
    """

    def __init__(
        self,
        form: Combining,
        interval_s: float,
        send: Callable[[Any], Awaitable[object]],
        failed: Callable[[Exception], None],
    ) -> None:
        self._form = form
        self._most = form.items
        self._interval_s = interval_s
        self._send = send
        self._failed = failed
        self._spent_until = float("-inf")
        """Until when the messages sent have used up the rate (time of the loop, s)."""
        self._waiting: deque[_Request] = deque()
        self._again: deque[list[_Request]] = deque()
        """Parts of refused messages, each to be sent by itself before what waits."""
        self._unanswered: dict[str, list[_Request]] = {}
        """The requests of each combined message, by its id."""
        self._sender: asyncio.Task[None] | None = None

    async def send(
        self, message: object, sending: Callable[[object], None], is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        """Send a request when its turn comes, with others if possible.

        `sending` is called before that, with the request as it is to be acknowledged. It is sent again, if that is
        needed, only while `is_wanted()`. Raises what `send` raises.
        """
        request = self._request(message, sending, is_wanted)
        self._shorten_if_unanswered(request)
        self._waiting.append(request)
        self._start()
        await request.sent

    def answers(self, data: str | bytes) -> list[str | bytes]:
        """The answers that a frame stands for: for a combined message one to each request, for its refusal none."""
        text = data if isinstance(data, str) else data.decode(errors="replace")
        if not any(each in text for each in self._unanswered):
            return [data]
        try:
            frame = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return [data]
        name = id_field(frame)
        part = None if name is None else self._unanswered.pop(str(frame[name]), None)
        if part is None:
            return [data]
        if not refuses(frame):
            return [json_dumps({**frame, name: each.message[name]}) for each in part]
        log.info("a combined request was refused: its halves are sent", requests=len(part), answer=text[:200])
        middle = len(part) // 2
        self._again += (part[:middle], part[middle:])
        self._start()
        return []

    def _request(self, message: Any, sending: Callable[[object], None], is_wanted: Callable[[], bool]) -> _Request:
        sent = asyncio.get_running_loop().create_future()
        name, field = id_field(message), self._form.field
        items = message.get(field) if isinstance(message, dict) else None
        # A request that is not of the declared form is sent alone.
        if not isinstance(items, list) or (name is not None) != (self._form.answered == "once"):
            return _Request(message, sending, is_wanted, sent, name, [], {}, 0)
        others = {key: value for key, value in message.items() if key not in (field, name)}
        return _Request(message, sending, is_wanted, sent, name, items, others, len(json_dumps(message).encode()))

    def _shorten_if_unanswered(self, request: _Request) -> None:
        """Send shorter messages from now on, if the last one with this request was not answered."""
        for id_, part in self._unanswered.items():
            if any(each.items == request.items and each.others == request.others for each in part):
                self._most = max(1, len(part) // 2)
                del self._unanswered[id_]
                log.info("a combined request was not answered: shorter ones are sent", most=self._most)
                return

    def _start(self) -> None:
        if self._sender is None or self._sender.done():
            # What it sends belongs to many subscriptions, not to the one that starts it.
            self._sender = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._again or self._waiting:
            await asyncio.sleep(max(0.0, self._spent_until - self._interval_s - clock()))
            part = [each for each in self._next() if _is_due(each)]
            if not part:
                continue
            self._spent_until = max(self._spent_until, clock()) + self._interval_s
            try:
                await self._send(self._combined(part))
            except Exception as error:  # noqa: BLE001
                for each in part:
                    if each.sent.done():
                        self._failed(error)
                    else:
                        each.sent.set_exception(error)
            else:
                for each in part:
                    if not each.sent.done():
                        each.sent.set_result(None)

    def _next(self) -> list[_Request]:
        if self._again:
            return self._again.popleft()
        first = self._waiting.popleft()
        part, count, size = [first], len(first.items), first.size
        while first.items and self._waiting:
            following = self._waiting[0]
            count, size = count + len(following.items), size + following.size
            is_alike = following.items and following.others == first.others
            if not is_alike or count > self._most or size > self._form.size:
                break
            part.append(self._waiting.popleft())
        return part

    def _combined(self, part: list[_Request]) -> Any:
        """One message for all; report each as about to be sent."""
        first = part[0]
        if len(part) == 1:
            first.sending(first.message)
            return first.message
        id_ = {} if first.id_field is None else {first.id_field: first.message[first.id_field]}
        if first.id_field is not None:
            self._unanswered[str(first.message[first.id_field])] = part
        items: list[Any] = []
        for each in part:
            each.sending({**each.message, **id_})
            items += [item for item in each.items if item not in items]
        return {**first.message, self._form.field: items}


def _is_due(request: _Request) -> bool:
    """Whether to send a request: nobody waits for one that is sent again, and it may have been undone since."""
    return not request.sent.cancelled() and (not request.sent.done() or request.is_wanted())
