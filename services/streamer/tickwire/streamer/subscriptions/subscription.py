"""A watched feed and its subscriptions at the exchange: their state, reported to the feed's sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_patches.caches import Placed
from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.model.feeds import Feed
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.subscriptions.acknowledgement import Request
from tickwire.streamer.subscriptions.unified_mapper import Mapper

log = logs.get(__name__)

SETTLE_S = 2.0
"""Where an exchange sends no acknowledgement, a subscription counts as made this long after its message was sent."""

leaving: ContextVar[Subscription | None] = ContextVar("leaving", default=None)
"""The subscription that ccxt ends in this task."""
arming: ContextVar[Subscription | None] = ContextVar("arming", default=None)
"""The subscription for which ccxt works in this task and in those that it starts, except for the loops of a socket."""


def is_wanted() -> bool:
    """Whether what ccxt was to request in this task is still to be requested: not for a feed that ended."""
    subscription = arming.get()
    return leaving.get() is not None or subscription is None or not subscription.is_stopped


class SubscriptionPlaces(Protocol):
    """Follows where subscriptions are made."""

    def moved(self, subscription: Subscription, before: CcxtClient | None, after: CcxtClient | None) -> None:
        """A subscription is made on another socket than before."""

    def took(self, subscription: Subscription, name: str) -> None:
        """A subscription takes places of a stream in ccxt's account of streams per socket."""


class Subscription:
    """One subscription of a feed. Most feeds have one; the best prices of a ticker may need a second one."""

    def __init__(self, watched: WatchedFeed, name: str) -> None:
        self.watched = watched
        self.name = name
        self.places: SubscriptionPlaces | None = None
        """What follows where it is made."""
        self._client: CcxtClient | None = None
        self.request: str | None = None
        """The id of the request that is to be acknowledged."""
        self.unanswered: list[Request] = []
        """The requests that are to be acknowledged, by an answer or by data."""
        self.sent_at = float("-inf")
        """When a request was sent last (time of the loop, s)."""
        self.timeouts = 0
        """How often in a row the acknowledgement did not come in time."""
        self.renewing = False
        """Whether it is being unsubscribed to be made again: what still arrives is of the one before."""
        self.is_stopped = False
        """Whether its feed ended: its requests are not sent again."""
        self.is_up: bool | None = None
        """None until it is acknowledged or lost for the first time."""
        self.awaited: set[str] = set()
        """ccxt's names of the results that are awaited since the last attempt to subscribe."""
        self.placed: set[Placed] = set()
        """The subscriptions that ccxt was to make for it."""
        self.ending: set[Placed] = set()
        """The unsubscriptions of it that ccxt sent."""
        self.streams: dict[str, int] = {}
        """By ccxt's name, the places that it takes in ccxt's account of streams per socket (`take_stream`)."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> tuple[Feed, str]:
        """Unique within an exchange."""
        return self.watched.feed, self.name

    @property
    def client(self) -> CcxtClient | None:
        """The socket it was last made on."""
        return self._client

    @client.setter
    def client(self, client: CcxtClient | None) -> None:
        before, self._client = self._client, client
        if self.places is not None and before is not client:
            self.places.moved(self, before, client)

    def take_stream(self, name: str, count: int) -> None:
        """It takes so many places of a stream in ccxt's account of streams per socket."""
        self.streams[name] = count
        if self.places is not None:
            self.places.took(self, name)

    def inherit(self, kept: Subscription) -> None:
        """Take over what a former subscription of the same feed has at ccxt."""
        self.placed = kept.placed
        for name, count in kept.streams.items():
            self.take_stream(name, count)
        self.client = kept.client

    def up(self) -> None:
        """Data arrives, or the exchange acknowledged the subscription."""
        self._answered()
        self.timeouts = 0
        if not self.is_up:
            self.is_up = True
            self.watched.changed("")

    def down(self, reason: str) -> None:
        """No data arrives. Reported once per outage."""
        self._answered()
        if self.is_up is not False:
            self.is_up = False
            self.watched.changed(reason)

    def settle(self) -> None:
        """It was made and will not be acknowledged: count it as up after SETTLE_S."""
        self._later(SETTLE_S, self.up)

    def sent(self, request: Request, within_s: float, late: Callable[[], None]) -> None:
        """A request to subscribe was sent. `late` is called if it is not acknowledged within so many seconds."""
        self.unanswered.append(request)
        self.request = request.id
        self._later(within_s, late)

    @staticmethod
    def leave() -> None:
        """What ccxt does from here on in this task, and in those that it starts, is for no subscription."""
        arming.set(None)
        leaving.set(None)

    def end(self) -> None:
        """Cancel its timer."""
        self._cancel_timer()

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _answered(self) -> None:
        self._cancel_timer()
        self.request = None
        self.unanswered.clear()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class WatchedFeed:
    """A feed, its subscriptions and its sink. Exceptions of the sink are logged and do not propagate."""

    def __init__(self, feed: Feed, sink: FeedSink, admission: Admission) -> None:
        self.feed = feed
        self.subscriptions: list[Subscription] = []
        self.mapper = Mapper(feed, self.left_out, self._lost, admission)
        self.by_hook = self.by_await = 0
        """Results with new items that came through the result hook, and that only an await returned."""
        self.unhooked = False
        """Whether its results bypass the result hook: then ccxt's cache is read with each result."""
        self.last = monotonic_ms()
        """When the last item came or the feed was subscribed (monotonic, ms)."""
        self.acknowledged = False
        """Whether the exchange is known to acknowledge each subscription."""
        self._sink = sink
        self._admit = admission.of_kind(feed.kind)
        self._reported: bool | None = None
        """What the sink knows: connected, disconnected, or neither yet."""

    def changed(self, reason: str) -> None:
        """Report to the sink that all subscriptions are up, or that one is down for this reason."""
        if self._reported is not True and all(each.is_up for each in self.subscriptions):
            if self._reported is False:
                log.info("subscribed again", **self.feed.fields)
            self._reported = True
            self.last = monotonic_ms()
            self._call(self._sink.connected)
        elif self._reported is not False and any(each.is_up is False for each in self.subscriptions):
            self._reported = False
            self._call(self._sink.disconnected, reason)

    def take(self, client: CcxtClient | None, items: Sequence[Any], received: int) -> None:
        """Pass items to the sink. They came from a socket, or were returned by an await (`client` is None)."""
        for each in self.subscriptions:
            if each.is_up or each.renewing:
                continue
            if (client is None or each.client is client) and not self._may_be_of_another(each):
                each.up()
        self.last = monotonic_ms()
        try:
            admitted = self._admit(items, self.left_out)
            if admitted:
                self._sink.take(admitted, received)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"not taken: {error!r}")

    def _may_be_of_another(self, subscription: Subscription) -> bool:
        """Whether data do not prove a subscription: of two, each is acknowledged where the exchange does that."""
        return len(self.subscriptions) > 1 and self.acknowledged and bool(subscription.unanswered)

    def take_result(self, client: CcxtClient | None, result: object, *, addressed: bool) -> bool:
        """Take the new items of a result of ccxt; return whether there were any. `addressed`: see `Mapper.new`."""
        try:
            items = self.mapper.new(result, addressed=addressed)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"{error!r} over {str(result)[:200]}")
            return False
        if items:
            self.take(client, items, now_ms())
        return bool(items)

    def _lost(self, reason: str) -> None:
        # As after a broken connection: the missing items are fetched.
        for each in self.subscriptions:
            each.down(reason)

    def rejected(self, reason: str) -> None:
        """A message that may concern the feed could not be used."""
        self._call(self._sink.rejected, reason)

    def left_out(self, reason: str) -> None:
        """An item of the feed could not be used, and is missing."""
        self._call(self._sink.left_out, reason)

    def _call(self, callback: Callable[..., None], *arguments: str) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            log.exception("a sink failed", **self.feed.fields, error=repr(error))
