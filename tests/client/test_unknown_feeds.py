"""Replays of feeds and times of which nothing is known: named, never an empty result."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.written_tape import BEGINS_LATE, FEEDS, trade, write
from support.processes import environment, tickwire
from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get
from tickwire.client import BadRequest, Gap, NotArchived, connect, connect_sync
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed
from tickwire.model.messages import ReplayStatus
from tickwire.model.nearest import CUTOFF, markets_like, nearest
from tickwire.model.times import now_ms
from tickwire.tape.markets import taped_markets

pytestmark = pytest.mark.actors

NOTHING = "nothing is known of the feed from then on"
MISSPELT = [
    ("binanse", "BTC/USDT", "on the tape are binance BTC/USDT"),
    ("binance", "btc/usdt", "on the tape are binance BTC/USDT"),
    ("okx", "BTC/USDT", "on the tape are okx BTC/USDT:USDT"),
    ("kraken", "DOGE/JPY", "on the tape are kraken ETH/USD"),
    ("deribit", "X", "on the tape are feeds of binance, kraken, okx"),
]


async def test_a_replay_of_a_feed_that_was_never_taped_names_the_nearest(bus: Bus) -> None:
    start = now_ms()
    for market in FEEDS:
        await write(bus, market, [[trade(1, start)]])
    assert await taped_markets(bus, "binance") == set(FEEDS)
    async with connect(bus.url) as client, asyncio.timeout(60):
        for exchange, symbol, named in MISSPELT:
            with pytest.raises(NotArchived, match=f"trade {exchange} {symbol} is not on the tape, and no archive"):
                [each async for each in client.replay(exchange, symbol, start - 1)]
            with pytest.raises(NotArchived) as refused:
                [each async for each in client.replay([FEEDS[0], (exchange, symbol)], start - 1)]
            assert named in refused.value.remedy

    def read() -> None:
        with connect_sync(bus.url) as client:
            list(client.replay("binanse", "BTC/USDT", start - 1))

    with pytest.raises(NotArchived, match="binanse BTC/USDT is not on the tape"):
        await asyncio.to_thread(read)


async def test_all_streams_are_asked_at_once_for_their_markets(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer costs its time limit once, not one after the other."""
    monkeypatch.setattr("tickwire.tape.markets.ANSWER_S", 60.0)
    for market in FEEDS:
        await write(bus, market, [[trade(1, now_ms())]])
    all_asked = asyncio.Barrier(8)

    async def held(*args: Any) -> Any:
        await all_asked.wait()
        return await direct_get(*args)

    monkeypatch.setattr("tickwire.tape.markets.direct_get", held)
    async with asyncio.timeout(60):
        assert await taped_markets(bus, "binance") == set(FEEDS)


async def test_a_replay_of_nothing_says_that_nothing_was_taped_yet(bus: Bus) -> None:
    async with connect(bus.url) as client, asyncio.timeout(60):
        with pytest.raises(NotArchived, match="is not on the tape") as refused:
            [each async for each in client.replay("binance", "BTC/USDT", "1h")]
    assert refused.value.remedy == "start it with `tickwire start trade binance BTC/USDT`"


async def test_the_command_names_a_feed_that_was_never_taped(bus: Bus, tmp_path: Path) -> None:
    await write(bus, FEEDS[0], [[trade(1, now_ms())]])
    states: list[ReplayStatus] = []
    with pytest.raises(NotArchived):
        await publish_replay(bus, Replay("x", [Feed("trade", "binanse", "BTC/USDT")], 0, None, 1), states.append)
    assert states[-1].state == "failed"
    assert "binanse BTC/USDT" in states[-1].message
    env = environment(tmp_path, TICKWIRE_NATS_URL=bus.url)
    ended = await tickwire(env, "replay", "past", "binance,binanse", "BTC/USDT", "--since", "1h", "--speed", "max")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == (
        "tickwire: trade binanse BTC/USDT is not on the tape, and no archive answers; on the tape are binance BTC/USDT"
    )
    # What is known of another range is known to be missing.
    partly = await tickwire(env, "replay", "past", "binance", "BTC/USDT", "--since", "1h", "--speed", "max")
    assert (partly.code, partly.out) == (3, "")
    assert "tickwire: replay past: 1 trade in 1 message, 1 gap, up to " in partly.err


@pytest.mark.parametrize("market", FEEDS)
async def test_a_time_of_which_nothing_is_known_is_a_gap(bus: Bus, market: tuple[str, str]) -> None:
    """Also after the last message of the tape: the feed was not followed then, which is not the same as no trades."""
    start = now_ms() - 3_600_000
    await write(bus, market, [[trade(1, start)], [trade(2, start + 1000)]])
    spans = [
        (start + 60_000, start + 90_000, Gap(since=start + 60_000, until=start + 90_000, reason=NOTHING)),
        (start - 9000, start - 1000, Gap(since=start - 9000, until=start, reason=BEGINS_LATE)),
    ]
    async with connect(bus.url) as client, asyncio.timeout(60):
        for since, until, gap in spans:
            assert [each async for each in client.replay(*market, since, until)] == [gap]
            published = Replay("x", [Feed("trade", *market)], since, until, math.inf)
            status = await publish_replay(bus, published, lambda _: None)
            assert (status.state, status.trades, status.gaps) == ("ended", 0, 1)
        before = now_ms()
        (last,) = [each async for each in client.replay(*market, start + 60_000)]
        assert isinstance(last, Gap)
        assert (last.since, last.reason) == (start + 60_000, NOTHING)
        assert last.until is not None
        assert before <= last.until <= now_ms()
        # Between two messages, of which the later one names the one before, nothing was traded.
        assert [each async for each in client.replay(*market, start + 1, start + 999)] == []


async def test_trades_from_a_time_in_the_future_are_refused(bus: Bus) -> None:
    async with connect(bus.url) as client:
        with pytest.raises(BadRequest, match="is in the future"):
            client.trades("binance", "BTC/USDT", since=now_ms() + 3_600_000)
        with pytest.raises(BadRequest, match="since is missing"):
            client.replay("binance", "BTC/USDT", since=None)  # type: ignore[call-overload]
        # Clocks differ.
        client.trades("binance", "BTC/USDT", since=now_ms() + 1000)


names = st.text("abcXYZ/:", min_size=1, max_size=8)


@given(name=names, known=st.lists(names, max_size=8))
def test_the_nearest_names_are_known_and_a_name_in_another_case_is_the_first(name: str, known: list[str]) -> None:
    near = nearest(name, known, 3)
    assert set(near) <= set(known)
    assert len({each.casefold() for each in near}) == len(near) <= 3
    same = [each for each in known if each.casefold() == name.casefold()]
    if same:
        assert near[0] in same
    assert nearest(name, known, 3, cutoff=CUTOFF) == near


@given(exchange=names, symbol=names, known=st.lists(st.tuples(names, names), max_size=12))
def test_some_market_is_named_wherever_one_is_known(exchange: str, symbol: str, known: list[tuple[str, str]]) -> None:
    named = markets_like(exchange, symbol, known)
    assert bool(named) == bool(known)
    assert not known or any(each in named for each, _ in known)
