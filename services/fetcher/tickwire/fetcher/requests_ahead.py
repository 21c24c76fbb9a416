"""Sends requests before their pager makes them, so that pages travel side by side.

The pagers remain the only ones that decide: each takes its replies in its own order, one after another, whatever order
they arrive in. What is proven and published is therefore the same as with one request at a time. A request is sent
ahead if the pagers expect to make it when every answer is a full page without a hole. If one of them makes another
request instead, what was sent ahead is dropped, and only one request at a time is sent until expectations come true
again. Each that comes true allows one more: at most as many requests are made in vain as were of use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice

from tickwire.errors import TickwireError
from tickwire.fetcher.page_rows import OtherGrid
from tickwire.fetcher.paging_types import PageRequest, Reply

Fetch = Callable[[PageRequest], Awaitable[Reply]]
"""Sends a request and returns the reply. Raises TickwireError, OtherGrid."""


class RequestsAhead:
    """The requests of one job to the exchange. Made by `sending_ahead`."""

    def __init__(self, fetch: Fetch, most: Callable[[], int]) -> None:
        self._fetch = fetch
        self._most = most
        """How many requests may be on their way or answered and not yet taken at the same time."""
        self._sent: dict[PageRequest, asyncio.Task[Reply | TickwireError | OtherGrid]] = {}
        self._dropped: set[asyncio.Task[Reply | TickwireError | OtherGrid]] = set()
        self._next: PageRequest | None = None
        """The request that is expected to be the next."""
        self._came_true = 0
        """Expectations in a row that came true."""

    async def reply(self, request: PageRequest, following: Iterable[PageRequest] = ()) -> Reply:
        """Return the reply to `request`, and send some of those that are expected to follow. Raises as `fetch` does."""
        self._came_true = self._came_true + 1 if request == self._next else 0
        if not self._came_true:
            self._drop()
        task = self._sent.pop(request, None) or self._send(request)
        self._send_ahead(iter(following))
        outcome = await task
        if isinstance(outcome, Exception):
            # What follows is not sent ahead to an exchange that may be away.
            self._next = None
            raise outcome
        return outcome

    def _send_ahead(self, following: Iterator[PageRequest]) -> None:
        allowed = min(self._came_true, self._most() - 1)
        requests = list(islice(following, max(allowed, len(self._sent), 1)))
        self._next = requests[0] if requests else None
        if not self._sent.keys() <= set(requests):
            # The reply before this one changed what is expected.
            self._drop()
            self._came_true = allowed = 0
        for request in requests[:allowed]:
            if request not in self._sent:
                self._sent[request] = self._send(request)

    def _send(self, request: PageRequest) -> asyncio.Task[Reply | TickwireError | OtherGrid]:
        return asyncio.create_task(self._outcome(request))

    async def _outcome(self, request: PageRequest) -> Reply | TickwireError | OtherGrid:
        """The reply to a request, or its error, which is raised when the pager comes to the request."""
        try:
            return await self._fetch(request)
        except (TickwireError, OtherGrid) as error:
            return error

    def _drop(self) -> None:
        for task in self._sent.values():
            task.cancel()
            self._dropped.add(task)
            task.add_done_callback(self._dropped.discard)
        self._sent.clear()

    async def end(self) -> None:
        """Cancel what is on its way, and wait until it has ended."""
        self._drop()
        if self._dropped:
            await asyncio.wait(self._dropped)


@asynccontextmanager
async def sending_ahead(fetch: Fetch, most: Callable[[], int]) -> AsyncIterator[RequestsAhead]:
    """Send requests of one job within the block, at most `most()` at the same time; at its end none is left."""
    ahead = RequestsAhead(fetch, most)
    try:
        yield ahead
    finally:
        await ahead.end()
