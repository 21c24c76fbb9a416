"""Publishes a replay, so that any program in any language can be run against the past.

| subject | direction | what |
|---|---|---|
| `replay.<name>.md.trade.<exchange>.<token>` | publishes | the messages of `md.trade.…`, numbered |
| `replay.<name>.md.book.…`, `.md.ticker.…`, `.md.candle.…` | publishes | books, tickers and closed candles, likewise |
| `replay.<name>.status` | publishes, subscribes | its state; also how replays of one name find each other |

Core NATS: whoever subscribes later has missed what was before, and the broker drops what a slow subscriber does not
take; the numbers show both.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import nats.errors
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.client.merging import AT_ONCE, Merged, merged, paced
from tickwire.client.replay_feeds import DEFAULT_VIEW, BookView
from tickwire.client.replay_messages import PastMessage, any_message_pages
from tickwire.errors import BrokerUnavailable, Busy
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed
from tickwire.model.messages import ReplayStatus
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

CLAIM_S = 0.5
"""How long the replays of one name have to answer a new one."""
STATUS_S = 1.0
TURN = 256
"""So many messages are published in one turn of the loop: some milliseconds."""

Report = Callable[[ReplayStatus], None]


@dataclass(frozen=True)
class Replay:
    """What to publish: feeds in `[since, until)` (ms), `speed` times as fast as it happened. `name` is in subjects.

    Of books, what `view` says.
    """

    name: str
    feeds: Sequence[Feed]
    since: int
    until: int | None
    speed: float
    view: BookView = DEFAULT_VIEW


async def publish_replay(bus: Bus, replay: Replay, report: Report) -> ReplayStatus:
    """Publish a replay to its end; its last status.

    `report` is called as the replay begins and each second. When it is cancelled, it says that it has stopped. Raises
    Busy while another replay of the name runs, BadRequest, and BrokerUnavailable when the connection was lost:
    subscribers may have missed messages.
    """
    feeds = replay.feeds
    pages = [any_message_pages(bus, each, replay.since, replay.until, replay.view) for each in feeds]
    batches = paced(merged(pages), replay.speed)
    starting = ReplayStatus(
        name=subjects.replay_name(replay.name),
        id=secrets.token_hex(8),
        state="starting",
        feeds=[each.public for each in feeds],
        since=replay.since,
        until=replay.until,
        speed=None if math.isinf(replay.speed) else replay.speed,
    )
    run = Run(bus, starting)
    try:
        async with aclosing(batches), run.claimed():
            report(run.status)
            async with lifecycle.unwrapped(), TaskGroup() as group:
                repeating = group.create_task(run.repeat(report))
                disconnects = bus.disconnects
                async for batch in batches:
                    for start in range(0, len(batch.times), TURN):
                        await run.publish(feeds, batch.part(start, start + TURN))
                        # As fast as possible, nothing else would let other tasks run.
                        await asyncio.sleep(0)
                    if bus.disconnects != disconnects:
                        raise BrokerUnavailable(
                            "the connection to the broker was lost: subscribers may have missed messages",
                            "replay it again",
                        )
                repeating.cancel()
    finally:
        if run.status.state != "starting":
            report(run.status)
    return run.status


class Run:
    """A replay that publishes, within the block of `claimed`."""

    def __init__(self, bus: Bus, status: ReplayStatus) -> None:
        self.status = status
        self._bus = bus
        self._subject = subjects.replay_status(status.name)
        self._rival: ReplayStatus | None = None
        self._subjects: dict[Feed, str] = {}

    @asynccontextmanager
    async def claimed(self) -> AsyncIterator[None]:
        """Run within the block, unless another replay of the name runs. Raises Busy.

        Of several that start at once the one with the least id continues.
        """
        async with self._bus.subscribed(self._subject, self._take):
            await self._say()
            await asyncio.sleep(CLAIM_S)
            if self._rival is not None:
                raise Busy(
                    f"a replay named {self.status.name} is {self._rival.state}",
                    "choose another name, or end it with Ctrl-C",
                )
            await self._change(state="running")
            try:
                yield
            except asyncio.CancelledError:
                await self._change(state="stopped")
                raise
            except Exception as error:
                await self._change(state="failed", message=str(lifecycle.leaf(error)))
                raise
            await self._change(state="ended")

    async def publish(self, feeds: Sequence[Feed], batch: Merged[PastMessage]) -> None:
        """Publish messages, whose times are those of the replay (ms)."""
        client, before, done, sent = self._bus.client, self.status, 0, 0
        try:
            for source, message in zip(batch.sources, batch.items, strict=True):
                if message.data is None:
                    done += 1
                    continue
                number = before.messages + sent + 1
                headers = {"Tickwire-Number": str(number), "Tickwire-Sequence": str(message.sequence)}
                subject = self._subject_of(feeds[source])
                if not client.publish_now(subject, message.data, "", headers):
                    await client.publish(subject, message.data, headers=headers)
                done, sent = done + 1, sent + 1
        except nats.errors.Error as error:
            raise BrokerUnavailable(f"a message cannot be published: {error}", "replay it again") from error
        finally:
            published = batch.items[:done]
            reached = batch.times[done - 1] if done else AT_ONCE
            self.status = msgspec.structs.replace(
                before,
                messages=before.messages + sent,
                trades=before.trades + sum(each.trades for each in published),
                gaps=before.gaps + sum(each.gaps for each in published),
                position=reached if reached != AT_ONCE else before.position,
            )

    def _subject_of(self, feed: Feed) -> str:
        subject = self._subjects.get(feed)
        if subject is None:
            subject = self._subjects[feed] = subjects.replayed(self.status.name, feed.public)
        return subject

    async def repeat(self, report: Report) -> None:
        """Publish and report the status each second, until cancelled."""
        while True:
            await asyncio.sleep(STATUS_S)
            await self._say()
            report(self.status)

    async def _change(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
        await self._say()

    async def _say(self) -> None:
        try:
            await self._bus.publish(self._subject, self.status)
        except nats.errors.Error as error:
            # The next one follows, or the replay ends for the same reason.
            log.warning("the status of a replay cannot be published", replay=self.status.name, error=repr(error))

    async def _take(self, message: Msg) -> None:
        """Take the status of another run of this name, or one's own."""
        other = messages.decode(message.data, ReplayStatus)
        own = self.status
        if other.id == own.id or other.state not in ("starting", "running"):
            return
        if own.state == "starting" and (other.state == "running" or other.id < own.id):
            self._rival = other
        elif own.state in ("starting", "running") and other.state == "starting":
            # So that it learns of this one.
            await self._say()
