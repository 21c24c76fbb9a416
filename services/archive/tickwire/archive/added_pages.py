"""Takes trades that did not come over the tape: history by REST, and files that a venue publishes.

| subject | direction | what |
|---|---|---|
| `archive.write.<p>` | answers | TradePage -> PageWritten, once the page is durable |
| `archive.close.<p>` | answers | CloseRequest -> Certificate, once the pages of the day are merged |

Only the owner of stream TRADES-<p> answers, one request after the other. Each page is a file that has a digest of its
content in its name, and whose rows are merged by id: who is not sure that a page is stored, sends it again
(docs/decisions/0049).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, timedelta
from functools import partial
from typing import Any

from nats.aio.msg import Msg

from tickwire.archive.day_closing import DayClosing
from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files.added import day_of, write_page
from tickwire.archive_files.layout import ArchivedFeed, FeedDay, date_of
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, answer, may_answer
from tickwire.errors import BadRequest, Busy, Fenced
from tickwire.model import subjects
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archive_writing import CloseRequest, PageWritten, TradePage
from tickwire.model.times import now_ms

Confirm = Callable[[], Coroutine[Any, Any, None]]


class AddedPages:
    """The pages of one stream's feeds, for one owner."""

    def __init__(
        self, bus: Bus, feeds: StreamFeeds, storage: Storage, closing: DayClosing, metrics: ArchiveMetrics
    ) -> None:
        self._bus = bus
        self._feeds = feeds
        self._storage = storage
        self._closing = closing
        self._metrics = metrics
        self._partition = feeds.stream.rpartition("-")[2]

    @asynccontextmanager
    async def answered(self, confirm: Confirm, keep_days: int | None) -> AsyncIterator[None]:
        """Answer requests within the block. `confirm` raises Fenced if another owner archives the stream.

        Days before the last `keep_days` are refused: they would be removed again.
        """
        endpoints: list[Endpoint[Any]] = [
            Endpoint(subjects.archive_write(self._partition), TradePage, partial(self._write, confirm, keep_days)),
            Endpoint(subjects.archive_close(self._partition), CloseRequest, partial(self._close, confirm)),
        ]
        async with AsyncExitStack() as stack:
            # Nothing but trades is added.
            for each in endpoints if self._feeds.kind == "trade" else ():
                await stack.enter_async_context(self._bus.subscribed(each.subject, partial(self._received, each)))
            yield

    async def _received(self, endpoint: Endpoint[Any], message: Msg) -> None:
        if message.reply and may_answer(message):
            publish = self._bus.client.publish
            call = Call(message.subject, message.reply, message.headers or {}, message.data, publish)
            await answer(endpoint, call, self._metrics.of_requests)

    async def _write(self, confirm: Confirm, keep_days: int | None, page: TradePage, _call: Call) -> PageWritten:
        day = day_of(page)
        self._check(day)
        if keep_days is not None and day.date < date_of(now_ms()) - timedelta(days=keep_days):
            raise BadRequest(f"{day} is older than the archive keeps", "raise archive.keep_days")
        check = self._storage.from_thread(confirm)
        try:
            await self._storage.run(partial(write_page, self._feeds.root, page, check))
        except Fenced as error:
            raise _busy() from error
        self._closing.days.added(day, now_ms())
        self._metrics.added.labels(page.source).inc(len(page.trades))
        return PageWritten(rows=len(page.trades))

    async def _close(self, confirm: Confirm, request: CloseRequest, _call: Call) -> Certificate:
        try:
            asked = date.fromisoformat(request.date)
        except ValueError as error:
            raise BadRequest(f"{request.date[:40]!r} is not a day", "such as 2026-03-27") from error
        day = ArchivedFeed(request.kind, request.exchange, request.symbol).on(asked)
        self._check(day)
        try:
            return await self._closing.close(day, confirm)
        except Fenced as error:
            raise _busy() from error

    def _check(self, day: FeedDay) -> None:
        """Raise BadRequest if the day is of another stream, or has not ended."""
        if not self._feeds.has(day.feed):
            raise BadRequest(f"{day.feed} is not of {self._feeds.stream}", "ask the partition of the feed")
        if day.span.until > now_ms():
            raise BadRequest(f"{day} has not ended", "only days that have ended are added to")


def _busy() -> Busy:
    return Busy("the stream has, or may have, another owner", "send it again")
