"""Reports of feeds: their state as their owners report it, and the subscribers that every instance knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from tickwire.bus.connection import Bus
from tickwire.bus.leases import Leases
from tickwire.bus.service import Call
from tickwire.errors import Busy, InternalError, NoSuchService, RequestTimeout
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedList, FeedReport, FeedsRequest
from tickwire.observe import logs
from tickwire.process.loop_yield import LoopYield
from tickwire.streamer.control.feed_supervisor import FeedSupervisor, slot_of
from tickwire.streamer.control.interests import Interests

log = logs.get(__name__)

OTHERS_S = 1.0
"""How long another instance may take to report its feeds."""
CHUNK_BYTES = 250_000
"""About half of the broker's limit for a message."""
REPORT_BYTES = 500
"""Of a report at most, without the names of subscribers."""
_NAME_BYTES = 6
"""Of a character at most, as JSON escapes it."""
LONGEST_S = 0.002
"""Time after which a list gives way to the loop: 10,000 feeds took 25 ms of CPU in one turn."""


class Subscribers(NamedTuple):
    """How many subscribers a feed has, and the names of some."""

    total: int
    names: list[str]


class FeedReports:
    """The reports of all instances. Those of this instance, `own`, are read directly."""

    def __init__(
        self, bus: Bus, instance: str, interests: Interests, leases: Leases, own: FeedSupervisor, partitions: int
    ) -> None:
        self._bus = bus
        self._instance = instance
        self._interests = interests
        self._leases = leases
        self._own = own
        self._partitions = partitions

    async def of(self, feed: Feed) -> FeedReport:
        """One feed as its owner reports it."""
        subscribers = self._subscribers(feed)
        # A version before slots owns each feed by itself.
        owner = self._leases.holder(slot_of(feed, self._partitions)) or self._leases.holder(feed.market.path)
        if owner is None or subscribers.total == 0:
            return _unreported(feed, subscribers, owner)
        answer = await self._reported_by(owner, FeedsRequest(exchange=feed.exchange, symbol=feed.symbol))
        known = {report.feed: report for report in answer or ()}
        return _reported(known, feed, subscribers) or _unreported(feed, subscribers, owner)

    async def list_all(self, request: FeedsRequest, call: Call) -> None:
        """`streamer.list`: every wanted feed, and the instances that did not answer."""
        members = sorted(self._leases.members)
        answers = await asyncio.gather(*(self._reported_by(member, request) for member in members))
        silent = [member for member, answer in zip(members, answers, strict=True) if answer is None]
        loop_yield = LoopYield(LONGEST_S)
        owned: dict[Feed, FeedReport] = {}
        for report in chain.from_iterable(answer or () for answer in answers):
            owned[report.feed] = report
            await loop_yield.after_step()
        wanted = {*self._interests.feeds(), *(feed for feed in owned if feed.kind == "trade")}
        found = []
        # Some 10 ms for 10,000: in a thread.
        for feed in await asyncio.to_thread(sorted, wanted, key=_place):
            if request.exchange in (None, feed.exchange) and request.symbol in (None, feed.symbol):
                subscribers = self._subscribers(feed)
                found.append(_reported(owned, feed, subscribers) or _unreported(feed, subscribers, None))
            await loop_yield.after_step()
        await _reply_in_chunks(call, found, silent)

    async def list_own(self, request: FeedsRequest, call: Call) -> None:
        """`streamer.reports.<instance>`: the feeds that this instance owns."""
        await _reply_in_chunks(call, await self._of_own(request), [])

    async def _of_own(self, request: FeedsRequest) -> list[FeedReport]:
        """The feeds that this instance owns, read in several turns of the loop."""
        loop_yield, found = LoopYield(LONGEST_S), list[FeedReport]()
        for report in self._own.reports(request.exchange, request.symbol):
            found.append(report)
            await loop_yield.after_step()
        return found

    def _subscribers(self, feed: Feed) -> Subscribers:
        return Subscribers(self._interests.subscribers(feed), self._interests.subscriber_names(feed))

    async def _reported_by(self, instance: str, request: FeedsRequest) -> list[FeedReport] | None:
        """The feeds that an instance owns; None if it does not answer, or refuses to."""
        if instance == self._instance:
            return await self._of_own(request)
        found: list[FeedReport] = []
        try:
            async with asyncio.timeout(OTHERS_S):
                async for part in self._bus.request_chunks(
                    f"streamer.reports.{instance}", request, _decode, timeout_s=OTHERS_S
                ):
                    found += part.feeds
        except (NoSuchService, RequestTimeout, TimeoutError, Busy, InternalError) as error:
            log.debug("an instance does not report its feeds", other=instance, error=repr(error))
            return None
        return found


async def _reply_in_chunks(call: Call, reports: Sequence[FeedReport], silent: list[str]) -> None:
    chunks = chunked(reports)
    for number, chunk in enumerate(chunks):
        more = number + 1 < len(chunks)
        await call.reply(FeedList(feeds=chunk, silent=silent, chunk=number, more=more))
        await asyncio.sleep(0)


def chunked(reports: Sequence[FeedReport]) -> list[list[FeedReport]]:
    """The reports in chunks of CHUNK_BYTES at most; one empty chunk where there are none."""
    chunks: list[list[FeedReport]] = [[]]
    room = CHUNK_BYTES
    for report in reports:
        size = REPORT_BYTES + sum(_NAME_BYTES * (len(name) + 1) for name in report.subscriber_names)
        if size > room:
            chunks.append([])
            room = CHUNK_BYTES
        chunks[-1].append(report)
        room -= size
    return chunks


def _place(feed: Feed) -> tuple[str, str, str, str]:
    """The place of a feed in a list."""
    return feed.exchange, feed.symbol, feed.kind, feed.timeframe or ""


def _decode(data: bytes) -> FeedList:
    return messages.decode(data, FeedList)


def _unreported(feed: Feed, subscribers: Subscribers, owner: str | None) -> FeedReport:
    """The report of a feed whose owner is unknown or did not answer."""
    return FeedReport(
        kind=feed.kind,
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        state="waiting" if subscribers.total else "stopped",
        owner=owner,
        subscribers=subscribers.total,
        subscriber_names=subscribers.names,
    )


def _reported(owned: Mapping[Feed, FeedReport], feed: Feed, subscribers: Subscribers) -> FeedReport | None:
    """The owner's report of a feed. Candles that are built from trades are only live if the trades are."""
    # An earlier version reports all candles of a market as one.
    report = owned.get(feed) or owned.get(feed.market)
    if report is None:
        return None
    trades = owned.get(Feed("trade", feed.exchange, feed.symbol)) if report.built else None
    state = trades.state if trades is not None and report.state == "live" else report.state
    return msgspec.structs.replace(
        report,
        timeframe=feed.timeframe,
        state=state,
        subscribers=subscribers.total,
        subscriber_names=subscribers.names,
    )
