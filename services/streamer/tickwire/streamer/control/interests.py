"""The interests in feeds: bucket INTEREST, one key for each feed and subscriber, followed by every instance.

An interest that is not renewed within its TTL expires at the broker, whose marker reaches all instances at once. So the
interests of a client that is killed end, too. Entries that the broker fails to expire are withdrawn here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import EXPECTED
from tickwire.bus.requests import PUBLISH_RETRY_S
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.model import messages, timeframes
from tickwire.model.feeds import Feed, StartRequest, StopRequest
from tickwire.model.subjects import check_subject, name_token
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.turns import Turns
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.interest_expiry import InterestExpiry
from tickwire.tape.waiters import Waiters
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

_PREFIX = f"$KV.{streams.INTEREST}."
_ACK_S = 5.0
_RETRY_S = 0.2
_MOST_TTL_S = 86_400
_TOMBSTONE_S = 60
"""How long the marker of a withdrawal is kept, for instances that were disconnected. That of an interest without TTL is
kept for good: a broker that is killed later would bring the interest back, for ever."""
NAMED = 50
"""Names of subscribers in a report, which bound its size."""
_EXPIRY_S = 1.0
"""Pause between two looks for entries that should have expired."""
_WITHDRAWN = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}


class Interests:
    """The interests of all subscribers. A market is a feed without timeframe."""

    def __init__(self, bus: Bus, settings: StreamerSettings, turns: Turns) -> None:
        self._bus = bus
        self._turns = turns
        self._settings = settings
        self._on_change: Callable[[Feed], None] = lambda market: None
        self._of: dict[Feed, dict[str, StartRequest]] = {}
        self._timeframes: dict[tuple[str, str], set[str]] = {}
        """Those of candles that have subscribers, by exchange and symbol."""
        self._feeds: dict[str, Feed] = {}
        self._expiry = InterestExpiry()
        self._seen = 0
        self._unseen = Waiters()

    def follow(self, on_change: Callable[[Feed], None]) -> None:
        """Call `on_change(market)` for each market that is wanted now, then after each change of its interests."""
        self._on_change = on_change
        for market in self.markets():
            on_change(market)

    # ---- the demand

    def feeds(self) -> list[Feed]:
        """Every feed with a subscriber."""
        return list(self._of)

    def markets(self) -> set[Feed]:
        """Every market with a subscriber."""
        return {market for feed in self._of for market in _markets(feed)}

    def subscribers(self, feed: Feed) -> int:
        """The number of subscribers of a feed; each candle feed of a symbol counts as one of its trades."""
        direct = len(self._of.get(feed, ()))
        return direct + len(self.timeframes(feed)) if feed.kind == "trade" else direct

    def subscriber_names(self, feed: Feed) -> list[str]:
        """The first names of those who want a feed itself, in order."""
        return sorted(each.subscriber for each in self._of.get(feed, {}).values())[:NAMED]

    def timeframes(self, market: Feed) -> frozenset[str]:
        """The timeframes of a symbol's candles that have subscribers."""
        return frozenset(self._timeframes.get((market.exchange, market.symbol), ()))

    def wanted(self, market: Feed) -> bool:
        """Whether a market has a subscriber."""
        if market.kind == "candle":
            return bool(self.timeframes(market))
        return self.subscribers(market) > 0

    def demand(self, market: Feed) -> Demand:
        """The combined demand of a market's subscribers."""
        asked = self._of.get(market, {})
        depths = [each.depth for each in asked.values() if each.depth is not None]
        cadences = [each.cadence_ms for each in asked.values() if each.cadence_ms is not None]
        delta_subscribers = frozenset(subject for subject, each in asked.items() if each.deltas)
        return Demand(
            depth=max(depths, default=self._settings.depth),
            cadence_ms=min(cadences, default=self._settings.cadence_ms),
            deltas=bool(delta_subscribers),
            timeframes=self.timeframes(market) if market.kind == "candle" else frozenset(),
            delta_subscribers=delta_subscribers,
        )

    # ---- changes

    async def register(self, request: StartRequest) -> None:
        """Register or renew an interest, and wait until this instance knows it. Raises BrokerUnavailable."""
        headers = {} if request.ttl_s is None else {"Nats-TTL": f"{request.ttl_s}s"}
        await self._put(_subject(request.feed, request.subscriber), messages.encode(request), headers)

    async def withdraw(self, request: StopRequest) -> None:
        """Withdraw an interest, if there is one, and wait until this instance knows it. Raises BrokerUnavailable."""
        subject = _subject(request.feed, request.subscriber)
        known = self._of.get(request.feed, {}).get(subject)
        keep = known is not None and known.ttl_s is None
        await self._put(subject, b"", _WITHDRAWN if keep else _WITHDRAWN | {"Nats-TTL": f"{_TOMBSTONE_S}s"})

    async def _put(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(PUBLISH_RETRY_S):
                sequence = await self._published(subject, data, headers)
                if self._seen < sequence:
                    await self._unseen.add(sequence)
        except TimeoutError as error:
            raise BrokerUnavailable("the broker did not confirm the change of an interest", "ask again") from error

    async def _published(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        while True:
            try:
                ack = await self._bus.publisher.publish(subject, data, headers=headers, timeout_s=_ACK_S)
            except nats.errors.Error as error:
                log.debug("interest not registered yet", error=repr(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return ack.seq

    async def expire(self) -> None:
        """Withdraw entries that the broker should have expired, until cancelled."""
        self._bus.resync_callbacks.add(self._expiry.restart)
        try:
            while True:
                await asyncio.sleep(_EXPIRY_S)
                if not self._bus.lost.is_set():
                    for subject, sequence in self._expiry.overdue():
                        await self._withdraw_overdue(subject, sequence)
        finally:
            self._bus.resync_callbacks.discard(self._expiry.restart)

    async def _withdraw_overdue(self, subject: str, sequence: int) -> None:
        """Withdraw an entry unless it was renewed or withdrawn meanwhile; every instance tries, and one succeeds."""
        headers = _WITHDRAWN | {"Nats-TTL": f"{_TOMBSTONE_S}s", EXPECTED: str(sequence)}
        try:
            await self._bus.publisher.publish(subject, b"", headers=headers, timeout_s=_ACK_S)
        except nats.errors.Error as error:
            log.debug("overdue interest not withdrawn", subject=subject, error=repr(error))
        else:
            log.info("overdue interest withdrawn", subject=subject)

    # ---- the bucket

    async def observe(self, message: Msg) -> None:
        """Apply one entry of the bucket."""
        await self._turns.step()
        headers = message.headers or {}
        place = message.metadata.sequence
        sequence = place.stream if place else 0
        try:
            if "KV-Operation" in headers or "Nats-Marker-Reason" in headers:
                self._expiry.ended(message.subject)
                self._forget(message.subject)
            else:
                self._learn(message.subject, message.data, sequence)
        finally:
            self._seen = max(self._seen, sequence)
            self._unseen.release(self._seen)

    def _learn(self, subject: str, data: bytes, sequence: int) -> None:
        request = messages.decode(data, StartRequest)
        feed = request.feed
        if _subject(feed, request.subscriber) != subject:
            raise BadRequest("an interest under the name of another one", "register it by streamer.start")
        if feed.timeframe is not None and not timeframes.understood([feed.timeframe]):
            raise BadRequest(f"{feed.timeframe!r} is not a timeframe", "register it by streamer.start")
        self._expiry.renewed(subject, sequence, request.ttl_s)
        self._feeds[subject] = feed
        known = self._of.setdefault(feed, {})
        if feed.timeframe is not None:
            self._timeframes.setdefault((feed.exchange, feed.symbol), set()).add(feed.timeframe)
        if known.get(subject) != request:
            known[subject] = request
            self._changed(feed)

    def _forget(self, subject: str) -> None:
        feed = self._feeds.pop(subject, None)
        if feed is None:
            return
        known = self._of[feed]
        del known[subject]
        if not known:
            del self._of[feed]
            if feed.timeframe is not None:
                of_symbol = self._timeframes[feed.exchange, feed.symbol]
                of_symbol.discard(feed.timeframe)
                if not of_symbol:
                    del self._timeframes[feed.exchange, feed.symbol]
        self._changed(feed)

    def _changed(self, feed: Feed) -> None:
        for market in _markets(feed):
            self._on_change(market)


def check(request: StartRequest | StopRequest) -> None:
    """Check a request as far as the exchange is not needed. Raises BadRequest and UnsupportedTimeframe."""
    if isinstance(request, StartRequest) and request.timeframe is not None:
        timeframes.parse(request.timeframe)
    check_subject(_subject(request.feed, request.subscriber))
    if isinstance(request, StopRequest):
        return
    if request.ttl_s is not None and not 1 <= request.ttl_s <= _MOST_TTL_S:
        raise BadRequest(f"ttl_s is {request.ttl_s}", f"give 1 to {_MOST_TTL_S} seconds, or leave it out")
    if request.kind != "book" and (request.depth is not None or request.cadence_ms is not None or request.deltas):
        raise BadRequest("depth, cadence_ms and deltas are for books", "leave them out")
    if request.depth is not None and not 1 <= request.depth <= 1000:
        raise BadRequest(f"depth is {request.depth}", "give 1 to 1000 levels")
    if request.cadence_ms is not None and not 0 <= request.cadence_ms <= 60_000:
        raise BadRequest(f"cadence_ms is {request.cadence_ms}", "give 0 to 60000 ms")


def _markets(feed: Feed) -> list[Feed]:
    """The markets that an interest in a feed concerns: candles are built from trades."""
    return [feed.market, Feed("trade", feed.exchange, feed.symbol)] if feed.kind == "candle" else [feed.market]


def _subject(feed: Feed, subscriber: str) -> str:
    return f"{_PREFIX}{feed.path}.{name_token(subscriber)}"


@asynccontextmanager
async def open_interests(bus: Bus, settings: StreamerSettings, turns: Turns | None = None) -> AsyncIterator[Interests]:
    """Read the bucket within the block, and apply few entries in each turn of the loop."""
    interests = Interests(bus, settings, turns or Turns())
    subscription = await bus.subscribe_ordered(
        f"{_PREFIX}>", f"KV_{streams.INTEREST}", interests.observe, policy=DeliverPolicy.LAST_PER_SUBJECT
    )
    try:
        async with lifecycle.unwrapped(), TaskGroup() as group:
            expiring = group.create_task(interests.expire())
            yield interests
            expiring.cancel()
    finally:
        await graceful_close.unsubscribe(bus.client, subscription)
