"""Live feeds in tests: what is on the tape, what a consumer saw, and what the exchange says is true."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from nats.aio.msg import Msg

from support.hearing import Changing, Heard, hearing, reports
from support.processes import SimulatorProcess
from tape.places import place_of
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Event, Feed, FeedReport, Gap, StartRequest, Status, StopRequest, Trade, Trades


class Seen(Changing):
    """What a trade feed said, live or on the tape, and whether the broker's chain of sequences broke."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Trades] = []
        self.trades: list[Trade] = []
        self.gaps: list[Gap] = []
        self.sequences: list[int] = []
        self._ids: list[int] = []
        self.places: list[int] = []
        """The sequence of each trade's message."""
        self.broken: list[tuple[int, int]] = []
        self.repaired = 0

    async def take(self, message: Msg) -> None:
        """Keep one message: a live one has its sequence in headers, one of the tape in its metadata."""
        if message.headers and "Nats-Sequence" in message.headers:
            sequence, before = (int(message.headers[name]) for name in ("Nats-Sequence", "Nats-Last-Sequence"))
            if self.sequences and before != self.sequences[-1]:
                self.broken.append((self.sequences[-1], before))
        else:
            sequence = message.metadata.sequence.stream
        self.sequences.append(sequence)
        said = messages.decode(message.data, Trades)
        self.messages.append(said)
        self.trades += said.trades
        self.places += [sequence] * len(said.trades)
        self.repaired += len(said.trades) if said.source == "rest" else 0
        if said.gap is not None:
            self.gaps.append(said.gap)
        self.changed()

    @property
    def ids(self) -> list[int]:
        """The ids of the trades, in the order of arrival; each is read once, however often a wait looks at them."""
        self._ids += [int(trade.id or -1) for trade in self.trades[len(self._ids) :]]
        return self._ids


@asynccontextmanager
async def seeing(bus: Bus, feed: Feed) -> AsyncIterator[Seen]:
    """Subscribe to a trade feed as any NATS client would."""
    seen = Seen()
    subscription = await bus.client.subscribe(feed.public, cb=seen.take)
    await bus.client.flush()
    yield seen
    if bus.client.is_connected:
        await subscription.unsubscribe()


async def on_tape(bus: Bus, feed: Feed) -> Seen:
    """Everything that stream TRADES holds of a feed, in order."""
    seen = Seen()
    last = await bus.jetstream.get_last_msg(*place_of(feed))
    subscription = await bus.subscribe_ordered(place_of(feed).subject, place_of(feed).stream, seen.take)
    await seen.until(lambda: seen.sequences[-1:] >= [last.seq or 0])
    await subscription.unsubscribe()
    return seen


async def start(bus: Bus, feed: Feed, subscriber: str = "", ttl_s: int | None = None) -> FeedReport:
    """Ask for a feed; a subscriber of its own where none is named."""
    request = StartRequest(**feed._asdict(), subscriber=subscriber or secrets.token_hex(4), ttl_s=ttl_s)
    return await bus.request("streamer.start", request, FeedReport, timeout_s=60)


async def stop(bus: Bus, feed: Feed, subscriber: str) -> FeedReport:
    """Withdraw an interest."""
    request = StopRequest(**feed._asdict(), subscriber=subscriber)
    return await bus.request("streamer.stop", request, FeedReport, timeout_s=60)


async def owned_by(bus: Bus, feed: Feed, instance: str, timeout_s: float = 100) -> None:
    """Wait until `streamer.list` names an instance as the owner of a feed that is live."""
    async with asyncio.timeout(timeout_s):
        while (feed, instance, "live") not in [(each.feed, each.owner, each.state) for each in await reports(bus)]:
            await asyncio.sleep(0.05)


def statuses(bus: Bus, feed: Feed) -> AbstractAsyncContextManager[Heard[Status]]:
    """Follow `md.status` of a feed."""
    return hearing(bus, feed.status.replace("tape.", "md.", 1), Status)


async def status(heard: Heard[Status], event: Event, count: int = 1) -> Status:
    """Wait for the `count`-th status of a kind."""
    await heard.until_said(lambda said: [each.event for each in said].count(event) >= count)
    return [each for each in heard.said if each.event == event][count - 1]


async def truth(simulator: SimulatorProcess, symbol: str, first: int, last: int) -> list[Trade]:
    """The exchange's own aggregate trades from `first` to `last`, both included."""
    found: list[Trade] = []
    while first <= last:
        page = await simulator.truth("aggregates", symbol=symbol, fromId=first, limit=min(1000, last - first + 1))
        assert page, f"the exchange knows no aggregate trade {first}"
        for each in page:
            number, at, side = str(each["id"]), each["timestamp"], each["side"]
            price, amount = float(each["price"]), float(each["amount"])
            found.append(Trade(id=number, timestamp=at, side=side, price=price, amount=amount))
        first = page[-1]["id"] + 1
    return found


async def assert_every_trade_once(bus: Bus, simulator: SimulatorProcess, feed: Feed, market_id: str) -> Seen:
    """The tape of a feed has each trade of the exchange exactly once, in order, from its first to its last."""
    tape = await on_tape(bus, feed)
    assert tape.ids, "there is no trade on the tape"
    assert tape.gaps == []
    assert tape.ids == list(range(tape.ids[0], tape.ids[-1] + 1))
    assert tape.trades == await truth(simulator, market_id, tape.ids[0], tape.ids[-1])
    return tape


async def assert_received(received: list[Trade], tape: Seen) -> None:
    """A consumer has, or is about to have, the tape's last trade, and each one before it since its first, once."""
    async with asyncio.timeout(100):
        while int(received[-1].id or 0) < tape.ids[-1]:
            await asyncio.sleep(0.05)
    ids = [int(trade.id or 0) for trade in received]
    assert ids == list(range(ids[0], ids[-1] + 1))
