"""Sends requests before their pager makes them, so that pages travel side by side.

The pagers remain the only ones that decide: each takes its replies in its own order, one after another, whatever order
they arrive in. What is proven and published is therefore the same as with one request at a time. A request is sent
ahead if the pagers expect to make it when every answer is a full page without a hole. If one of them makes another
request instead, what was sent ahead is dropped, and only one request at a time is sent until expectations come true
again. Each that comes true allows one more: at most as many requests are made in vain as were of use. A request that
was sent ahead and failed is repeated only once its pager makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import TypeAlias

from tickwire.errors import TickwireError
from tickwire.fetcher.calls import FailedAttempt, OnRetry
from tickwire.fetcher.page_rows import OtherGrid
from tickwire.fetcher.paging_types import PageRequest, Reply
from tickwire.model.times import now_ms

Fetch = Callable[[PageRequest, OnRetry], Awaitable[Reply]]
"""Sends a request, repeats it after a failed attempt, and returns the reply. Raises TickwireError, OtherGrid."""
_Outcome: TypeAlias = Reply | FailedAttempt | TickwireError | OtherGrid
"""What became of a request; a FailedAttempt if it was sent ahead and is to be repeated."""


class _AheadFailed(Exception):
    """An attempt of a request that was sent ahead failed."""

    def __init__(self, attempt: FailedAttempt) -> None:
        super().__init__(attempt.reason)
        self.attempt = attempt


async def _give_up(attempt: FailedAttempt) -> None:
    raise _AheadFailed(attempt)


class RequestsAhead:
    """The requests of one job to the exchange. Made by `sending_ahead`."""

    def __init__(self, fetch: Fetch, on_retry: OnRetry, most: Callable[[], int]) -> None:
        self._fetch = fetch
        self._on_retry = on_retry
        self._most = most
        """How many requests may be on their way or answered and not yet taken at the same time."""
        self._sent: dict[PageRequest, asyncio.Task[_Outcome]] = {}
        self._dropped: set[asyncio.Task[_Outcome]] = set()
        self._next: PageRequest | None = None
        """The request that is expected to be the next."""
        self._came_true = 0
        """Expectations in a row that came true."""

    async def reply(self, request: PageRequest, following: Iterable[PageRequest] = ()) -> Reply:
        """Return the reply to `request`, and send some of those that are expected to follow. Raises as `fetch` does."""
        self._came_true = self._came_true + 1 if request == self._next else 0
        if not self._came_true:
            self._drop()
        task = self._sent.pop(request, None) or self._send(request, self._on_retry)
        self._send_ahead(iter(following))
        outcome = await task
        if isinstance(outcome, FailedAttempt):
            await self._on_retry(outcome)
            await asyncio.sleep(max(0, outcome.next_try_at - now_ms()) / 1000)
            outcome = await self._outcome(request, self._on_retry)
        if isinstance(outcome, Exception):
            # What follows is not sent ahead to an exchange that may be away.
            self._next = None
            raise outcome
        assert not isinstance(outcome, FailedAttempt)
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
                self._sent[request] = self._send(request, _give_up)

    def _send(self, request: PageRequest, on_retry: OnRetry) -> asyncio.Task[_Outcome]:
        return asyncio.create_task(self._outcome(request, on_retry))

    async def _outcome(self, request: PageRequest, on_retry: OnRetry) -> _Outcome:
        """The reply to a request, or its error, which is raised when the pager comes to the request."""
        try:
            return await self._fetch(request, on_retry)
        except _AheadFailed as failed:
            return failed.attempt
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
async def sending_ahead(fetch: Fetch, on_retry: OnRetry, most: Callable[[], int]) -> AsyncIterator[RequestsAhead]:
    """Send requests of one job within the block, at most `most()` at the same time; at its end none is left.

    `on_retry` is called with each failed attempt of a request that its pager has made.
    """
    ahead = RequestsAhead(fetch, on_retry, most)
    try:
        yield ahead
    finally:
        await ahead.end()
