"""A subscription of a feed, and the feed that somebody watches: what is known of them, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_patches import monotonic_ms
from tickwire.model.feeds import Feed
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.subscriptions.ccxt_state import Placed
from tickwire.streamer.subscriptions.unified_mapper import Mapper

log = logs.get(__name__)

SETTLE_S = 2.0
"""A subscription of which an exchange is known to say nothing counts as made so long after it was sent."""

arming: ContextVar[Part | None] = ContextVar("arming", default=None)
"""The subscription on whose behalf ccxt works in this task, and in those that it starts but for a socket's loops."""


class Part:
    """One subscription of a feed: most have one, a ticker may have its best prices from another."""

    def __init__(self, watched: Watched, name: str) -> None:
        self.watched = watched
        self.name = name
        self.client: Any = None
        """The socket it was last put on."""
        self.request: str | None = None
        """The id of the request that is to be acknowledged."""
        self.unanswered: list[Any] = []
        """What was sent and is to be acknowledged, by word or by data."""
        self.late = 0
        """How often in a row neither came in time."""
        self.is_up: bool | None = None
        self.awaited: set[str] = set()
        """ccxt's names of what it waits for since it was last armed."""
        self.placed: set[Placed] = set()
        """The subscriptions that ccxt was to make for it."""
        self.streams: dict[str, int] = {}
        """Of binance: ccxt's names of the streams that it takes a place for, and how many."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def key(self) -> tuple[Feed, str]:
        """What tells it from all others of its exchange."""
        return self.watched.feed, self.name

    def up(self) -> None:
        """Data flows, or the exchange says that it will."""
        self._answered()
        self.late = 0
        if not self.is_up:
            self.is_up = True
            self.watched.changed("")

    def down(self, reason: str) -> None:
        """Nothing arrives; told once per outage."""
        self._answered()
        if self.is_up is not False:
            self.is_up = False
            self.watched.changed(reason)

    def settles(self) -> None:
        """It was made, and nobody will acknowledge it."""
        self._later(SETTLE_S, self.up)

    def sent(self, message: Any, request: str | None, within_s: float, late: Callable[[], None]) -> None:
        """A message that subscribes it was sent: unless it is acknowledged within so many seconds, it is `late`."""
        self.unanswered.append(message)
        self.request = request
        self._later(within_s, late)

    def end(self) -> None:
        """No timer of it goes off any more."""
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


class Watched:
    """A feed that somebody watches. Calls its sink, and survives what the sink raises."""

    def __init__(self, feed: Feed, sink: FeedSink, admission: Admission) -> None:
        self.feed = feed
        self.parts: list[Part] = []
        self.mapper = Mapper(feed, self.left_out, self._lost, admission)
        self.by_hook = self.by_await = 0
        """Results with something new that came through the result hook, and that only the await had."""
        self.unhooked = False
        """Whether its results pass the hook unseen: then ccxt's cache is looked into with each result."""
        self.last = monotonic_ms()
        """When the last item came, or the feed was subscribed (ms, monotonic)."""
        self.acknowledged = False
        """Whether the exchange is known to acknowledge each subscription."""
        self._sink = sink
        self._admission = admission
        self._told: bool | None = None
        """What the sink was told last: connected, or not."""

    def changed(self, reason: str) -> None:
        """A subscription came up or went down, for this reason."""
        if self._told is not True and all(part.is_up for part in self.parts):
            if self._told is False:
                log.info("subscribed again", **self.feed.fields)
            self._told = True
            self.last = monotonic_ms()
            self._call(self._sink.connected)
        elif self._told is not False and any(part.is_up is False for part in self.parts):
            self._told = False
            self._call(self._sink.disconnected, reason)

    def take(self, client: Any, items: Sequence[Any], received: int) -> None:
        """What a socket said, or an await returned (no socket)."""
        for part in self.parts:
            if not part.is_up and (client is None or part.client is client) and not self._is_of_another(part):
                part.up()
        self.last = monotonic_ms()
        try:
            admitted = self._admission.items(self.feed.kind, items, self.left_out)
            if admitted:
                self._sink.take(admitted, received)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"not taken: {error!r}")

    def _is_of_another(self, part: Part) -> bool:
        """Whether data prove nothing of this subscription: of two, each is acknowledged, where that is done."""
        return len(self.parts) > 1 and self.acknowledged and bool(part.unanswered)

    def look(self, client: Any, result: Any, *, addressed: bool) -> bool:
        """Take what is new in a result of ccxt's; whether anything was. `addressed`: see `Mapper.new`."""
        try:
            items = self.mapper.new(result, addressed=addressed)
        except Exception as error:  # noqa: BLE001
            self.rejected(f"{error!r} over {str(result)[:200]}")
            return False
        if items:
            self.take(client, items, now_ms())
        return bool(items)

    def _lost(self, reason: str) -> None:
        # As after a broken connection: what is missing is fetched.
        for part in self.parts:
            part.down(reason)

    def rejected(self, reason: str) -> None:
        """Something that may have concerned it could not be used."""
        self._call(self._sink.rejected, reason)

    def left_out(self, reason: str) -> None:
        """One of its items could not be used, and is missing."""
        self._call(self._sink.left_out, reason)

    def _call(self, told: Callable[..., None], *arguments: str) -> None:
        try:
            told(*arguments)
        except Exception as error:
            log.exception("a sink failed", **self.feed.fields, error=repr(error))
