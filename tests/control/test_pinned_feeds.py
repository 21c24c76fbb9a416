"""Feeds of the configuration run without subscribers, and outlive an absence of the broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from support import live
from support.hearing import reports
from support.pipeline import CONFIG, SHORT_S, pipeline
from support.ports import free_port
from support.processes import environment, running_simulator, tickwire
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.errors import ConfigError
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedList, FeedsRequest
from tickwire.settings import NatsSettings, StreamerSettings
from tickwire.streamer.control import interests as interest
from tickwire.streamer.control import pinned_feeds
from tickwire.streamer.control.interests import open_interests
from tickwire.streamer.control.pinned_feeds import keep_registered, pinned

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

BTC = Feed("trade", "binance", "BTC/USDT")
MINUTE = Feed("candle", "binance", "ETH/USDT", "1m")
PINNED = '[streamer]\nfeeds = ["trade binance BTC/USDT", "candle binance ETH/USDT 1m"]\n'


async def test_pinned_feeds_run_though_nobody_asks_for_them(broker: str, tmp_path: Path) -> None:
    async with (
        running_simulator("--live-rate", "50") as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), CONFIG + PINNED, SHORT_S) as line,
        live.seeing(line.bus, BTC) as bitcoins,
        live.seeing(line.bus, Feed("trade", "binance", "ETH/USDT")) as ethers,
    ):
        await bitcoins.until(lambda: len(bitcoins.trades) > 0)
        await ethers.until(lambda: len(ethers.trades) > 0)
        found = {report.feed: report.subscribers for report in await reports(line.bus)}
        assert found == {BTC: 1, MINUTE: 1, Feed("trade", "binance", "ETH/USDT"): 1}
        request = FeedsRequest(exchange="binance", symbol="ETH/USDT")
        listed = line.bus.request_chunks("streamer.list", request, lambda data: messages.decode(data, FeedList))
        of_ether = {each.feed async for part in listed for each in part.feeds}
        assert of_ether == {MINUTE, Feed("trade", "binance", "ETH/USDT")}


async def test_pinned_feeds_outlive_a_broker_that_is_away_longer_than_patience_and_ttl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that is away for 25 s with a patience of 15 s, sixteen times as fast."""
    monkeypatch.setattr(interest, "PUBLISH_RETRY_S", 1.0)
    monkeypatch.setattr(pinned_feeds, "PINNED_TTL_S", 1)
    port = free_port()
    requests = pinned(StreamerSettings(feeds=["trade binance BTC/USDT"]), "one")
    changes: asyncio.Queue[Feed] = asyncio.Queue()
    renewed = asyncio.Event()

    async def hear(message: Msg) -> None:
        if message.data:
            renewed.set()

    broker = embedded_broker.embedded(tmp_path, port=port)
    async with connect(NatsSettings(url=await broker.__aenter__()), name="test") as bus:
        await streams.declare(bus.jetstream, 8, 2.0)
        async with open_interests(bus, StreamerSettings()) as interests:
            interests.follow(changes.put_nowait)
            keeping = asyncio.create_task(keep_registered(interests, requests, asyncio.Event()))
            async with asyncio.timeout(100):
                assert await changes.get() == BTC
            await broker.__aexit__(None, None, None)
            done, _ = await asyncio.wait({keeping}, timeout=2.5)
            assert not done
            await bus.subscribe("$KV.INTEREST.>", hear)
            async with embedded_broker.embedded(tmp_path, port=port), asyncio.timeout(100):
                await renewed.wait()
                # It may have expired before.
                while not interests.wanted(BTC):
                    await changes.get()
                keeping.cancel()
                await asyncio.wait({keeping})
                assert keeping.cancelled()


def test_many_pinned_feeds_are_renewed_twenty_times_a_second_at_most() -> None:
    for count, ttl_s in ((1, 30), (200, 30), (2000, 300)):
        requests = pinned(StreamerSettings(feeds=[f"trade binance A{n}/USDT" for n in range(count)]), "one")
        assert {each.ttl_s for each in requests} == {ttl_s}
        assert count / (ttl_s / 3) <= 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("trade binance", "write it as `trade binance BTC/USDT`"),
        ("trades binance BTC/USDT", "it is one of trade, book, ticker, candle"),
        ("trade binanse BTC/USDT", "did you mean binance"),
        ("candle binance BTC/USDT", "name it, such as 1m"),
        ("trade binance BTC/USDT 1m", "leave it out"),
        ("candle binance BTC/USDT 1Y", "such as 1m"),
        ("candle okx BTC/USDT 0m", "such as 1m"),
    ],
)
def test_a_line_that_is_no_feed_is_refused_with_what_would_be_right(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        pinned(StreamerSettings(feeds=["trade binance BTC/USDT", line]), "one")
    assert f"streamer.feeds: {line!r}" in raised.value.message
    assert words in raised.value.remedy


async def test_a_streamer_with_such_a_line_ends_in_one_line(broker: str, tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text('[streamer]\nfeeds = ["trade binance"]\n')
    env = environment(tmp_path, TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(file))
    ended = await tickwire(env, "service", "streamer")
    assert ended.code != 0
    line = ended.err.splitlines()[-1]
    assert line.startswith("tickwire: streamer.feeds: 'trade binance' is not a feed; write it as")
