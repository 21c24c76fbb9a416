"""Adds trades that are not of the tape to the archive, by requests to the owners of its streams.

| subject | direction | what |
|---|---|---|
| `archive.days` | requests | DaysRequest -> ArchivedDays, in chunks |
| `archive.write.<p>` | requests | TradePage -> PageWritten |
| `archive.close.<p>` | requests | CloseRequest -> Certificate |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from datetime import date
from functools import partial
from typing import TypeVar

from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import DAY_MS, begin_of
from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable, Busy, NoSuchService, NotArchived, RequestTimeout, StorageError
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archive_writing import CloseRequest, PageWritten, TradePage
from tickwire.model.messages.archiving import ArchivedDays, DaysRequest
from tickwire.model.ranges import Range, merge, subtract
from tickwire.process.backoff import Backoff
from tickwire.tape.layout import layout_of

ANSWER_S = 30.0
"""Time limit of an answer: an object store may be slow."""
CLOSE_S = 600.0
"""Time limit for closing a day."""
PATIENCE_S = 60.0
"""How long requests are repeated while the archive does not take them: a takeover takes a few seconds."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 5.0
"""Delays before a request is repeated."""
_PASSING = (NoSuchService, RequestTimeout, Busy, StorageError, BrokerUnavailable)

T = TypeVar("T")


class ArchiveWriter:
    """The archive of one feed. Methods raise NoSuchService, RequestTimeout, StorageError, BadRequest."""

    def __init__(self, bus: Bus, feed: Feed) -> None:
        self._bus = bus
        self._feed = feed

    async def days(self, since: int, until: int) -> list[Certificate]:
        """The days of the feed in `[since, until)` (ms); none if nothing of it is archived."""
        return await _patiently(partial(self._days, since, until))

    async def write(self, page: TradePage) -> int:
        """Store a page; how many rows it had. It may be sent again."""
        subject = subjects.archive_write(await self._partition())
        request = partial(self._bus.request, subject, page, PageWritten, timeout_s=ANSWER_S)
        return (await _patiently(request)).rows

    async def close(self, day: str) -> Certificate:
        """Have a day closed with the pages that it got."""
        subject = subjects.archive_close(await self._partition())
        request = CloseRequest(kind=self._feed.kind, exchange=self._feed.exchange, symbol=self._feed.symbol, date=day)
        return await _patiently(partial(self._bus.request, subject, request, Certificate, timeout_s=CLOSE_S))

    async def _days(self, since: int, until: int) -> list[Certificate]:
        feed = self._feed
        request = DaysRequest(kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, since=since, until=until)
        decode = partial(messages.decode, kind=ArchivedDays)
        found: list[Certificate] = []
        try:
            async with aclosing(self._bus.request_chunks("archive.days", request, decode, timeout_s=ANSWER_S)) as parts:
                async for part in parts:
                    found += part.days
        except NotArchived:
            return []
        return found

    async def _partition(self) -> str:
        return (await layout_of(self._bus)).place_of(self._feed).stream.rpartition("-")[2]


async def _patiently(request: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request, which is repeated while the archive restarts, or its storage is away."""
    loop = asyncio.get_running_loop()
    deadline, backoff = loop.time() + PATIENCE_S, Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
    while True:
        try:
            return await request()
        except _PASSING as error:
            wait_s = backoff.next()
            if loop.time() + wait_s > deadline:
                if isinstance(error, NoSuchService):
                    remedy = "set archive.root and run `tickwire up` or `tickwire service archive`"
                    raise NoSuchService("no archive takes trades of this feed", remedy) from error
                raise
        await asyncio.sleep(wait_s)


def span_of(certificate: Certificate) -> Range:
    """The day of a certificate, ms."""
    since = begin_of(date.fromisoformat(certificate.date))
    return Range(since, since + DAY_MS)


def lacking(days: Iterable[Certificate], span: Range) -> list[Range]:
    """What of a range (ms) the archive does not prove to have, by the certificates of its days. Pure."""
    had = merge(
        part for day in days for each in day.watched for part in subtract(each, [gap_times(gap) for gap in day.gaps])
    )
    return subtract(span, had)
