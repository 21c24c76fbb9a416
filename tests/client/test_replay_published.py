"""Replays on subjects of their own, as any program subscribes to them."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from client.written_tape import BEGINS_LATE, FEEDS, trade, write
from support.commands import command
from support.hearing import Changing
from support.processes import environment, tickwire
from tape.places import place_of
from tickwire.bus.connection import Bus
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.errors import Busy
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trades
from tickwire.model.messages import ReplayStatus
from tickwire.model.times import now_ms

pytestmark = pytest.mark.actors

ONE, OTHER = (Feed("trade", *market) for market in FEEDS[:2])


class Heard(Changing):
    """What was published on a replay's subjects."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Msg] = []
        self.states: list[ReplayStatus] = []

    async def take(self, message: Msg) -> None:
        if message.subject.endswith(".status"):
            self.states.append(messages.decode(message.data, ReplayStatus))
        else:
            self.messages.append(message)
        self.changed()

    @property
    def trades(self) -> list[tuple[str, str | None]]:
        """The exchange and the id of each trade."""
        found = [messages.decode(each.data, Trades) for each in self.messages]
        return [(each.exchange, trade.id) for each in found for trade in each.trades]


@asynccontextmanager
async def hearing(bus: Bus) -> AsyncIterator[Heard]:
    """A plain subscriber of all replays."""
    heard = Heard()
    async with bus.subscribed("replay.>", heard.take):
        await bus.client.flush()
        yield heard


def quiet(status: ReplayStatus) -> None:
    """Report nothing."""


async def stored(bus: Bus, feed: Feed) -> list[bytes]:
    """The payloads that the tape has of a feed."""
    stream, subject = place_of(feed)
    found, sequence = [], 1
    last = await bus.jetstream.get_last_msg(stream, subject)
    while sequence <= (last.seq or 0):
        message = await bus.jetstream.get_msg(stream, sequence, next=True, subject=subject)
        found.append(message.data or b"")
        sequence = (message.seq or 0) + 1
    return found


async def test_a_replay_has_the_payloads_of_the_tape_in_the_order_of_the_clock(bus: Bus) -> None:
    start = now_ms()
    await write(bus, FEEDS[0], [[trade(1, start), trade(2, start + 40)], [trade(3, start + 60)]])
    await write(bus, FEEDS[1], [[trade(1, start + 30)], [trade(2, start + 60)]], Gap(since=None, until=start + 50))
    async with hearing(bus) as heard:
        status = await publish_replay(bus, Replay("day", [ONE, OTHER], start - 1, None, math.inf), quiet)
        await heard.until(lambda: heard.states[-1:] == [status])
    subjects = ["replay.day.md.trade.binance.BTC-USDT", "replay.day.md.trade.kraken.ETH-USD"]
    # A message is published when its last trade has happened.
    assert [each.subject for each in heard.messages] == [subjects[at] for at in (1, 0, 0, 1)]
    headers = [each.headers or {} for each in heard.messages]
    assert [each["Tickwire-Number"] for each in headers] == ["1", "2", "3", "4"]
    taped = {subject: await stored(bus, feed) for subject, feed in zip(subjects, (ONE, OTHER), strict=True)}
    for subject, expected in taped.items():
        first, *rest = [each.data for each in heard.messages if each.subject == subject]
        assert rest == expected[1:]
        # The tape begins within the range, which the first message states.
        gap = messages.decode(first, Trades).gap
        assert gap is not None
        assert gap.reason == BEGINS_LATE
    assert (status.state, status.messages, status.trades, status.position) == ("ended", 4, 5, start + 60)
    assert [each.state for each in heard.states] == ["starting", "running", "ended"]


async def test_messages_at_the_ends_of_the_range_are_cut(bus: Bus) -> None:
    start = now_ms()
    trades = [
        [trade(number, start + number * 10) for number in numbers] for numbers in ((0, 1), (2, 3), (4, 5), (6, 7))
    ]
    await write(bus, FEEDS[0], trades)
    async with hearing(bus) as heard:
        status = await publish_replay(bus, Replay("x", [ONE], start + 10, start + 50, math.inf), quiet)
        await heard.until(lambda: heard.states[-1:] == [status])
    assert [id_ for _, id_ in heard.trades] == ["1", "2", "3", "4"]
    assert [each.data for each in heard.messages][1] == (await stored(bus, ONE))[1]


async def test_a_second_replay_of_a_name_is_refused_while_the_first_one_runs(bus: Bus) -> None:
    start = now_ms()
    await write(bus, FEEDS[0], [[trade(1, start)], [trade(2, start + 3_600_000)]])
    began = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first = group.create_task(publish_replay(bus, Replay("same", [ONE], start, None, 1), lambda _: began.set()))
        await began.wait()
        with pytest.raises(Busy, match="a replay named same is running"):
            await publish_replay(bus, Replay("same", [ONE], start, None, 1), quiet)
        other = await publish_replay(bus, Replay("other", [ONE], start, start + 1, 1), quiet)
        assert other.state == "ended"
        assert not first.done()
        first.cancel()
    # Its name is free again.
    again = await publish_replay(bus, Replay("same", [ONE], start, start + 1, 1), quiet)
    assert again.state == "ended"


async def test_of_replays_of_one_name_that_start_together_one_runs(bus: Bus) -> None:
    start = now_ms()
    await write(bus, FEEDS[0], [[trade(1, start)]])
    ended = await asyncio.gather(
        *(publish_replay(bus, Replay("same", [ONE], start, None, 1), quiet) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, ReplayStatus) for each in ended) == 1
    assert sum(isinstance(each, Busy) for each in ended) == 3


async def test_the_command_publishes_until_the_end_or_ctrl_c(bus: Bus, tmp_path: Path) -> None:
    start = now_ms() - 7_200_000
    await write(bus, FEEDS[0], [[trade(1, start)], [trade(2, start + 3_600_000)]])
    await write(bus, FEEDS[1], [[trade(1, start + 1)]])
    env = environment(tmp_path, TICKWIRE_NATS_URL=bus.url)
    arguments = ("friday", "binance", "BTC/USDT", "--since", str(start))
    async with hearing(bus) as heard:
        begun = now_ms()
        ended = await tickwire(env, "replay", *arguments, "--speed", "max", "--json")
        assert ended.code == 0, ended.err
        status = json.loads(ended.out)
        assert (status["state"], status["trades"], status["speed"]) == ("ended", 2, None)
        # It ends where the present was when it began.
        assert begun <= status["until"] <= now_ms()
        assert "publishing on replay.friday.md.>" in ended.err
        await heard.until(lambda: heard.states[-1].state == "ended")
        assert heard.trades == [("binance", "1"), ("binance", "2")]
        # The second trade is an hour away.
        async with command(tmp_path, env, "replay", *arguments) as running:
            await heard.until(lambda: len(heard.trades) == 3)
            refused = await tickwire(env, "replay", *arguments)
            assert (refused.code, refused.err.count("\n")) == (1, 1)
            assert "a replay named friday is running" in refused.err
            assert await running.stop(signal.SIGINT) == 130
        await heard.until(lambda: heard.states[-1].state == "stopped")
        assert running.lines[-1].startswith("tickwire: replay friday: 1 trade in 1 message, up to ")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("a.b", "binance", "BTC/USDT", "--since", "1h"), "'a.b' is not a name of a replay"),
        (("a", "binance", "BTC/USDT", "--since", "1h", "--speed", "fast"), "--speed fast is not a number above 0"),
        (("a", "binance", "BTC/USDT", "--since", "1h", "--until", "2h"), "--since 1h is not before --until 2h"),
    ],
)
async def test_what_cannot_be_replayed_is_refused_before_a_broker_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], error: str
) -> None:
    ended = await tickwire(environment(tmp_path), "replay", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert error in ended.err
