"""What the cache does with pages it cannot store: each is published as rejected, with its place and the reason."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from cache.served import KEY, MINUTE, coverage, page, running, store
from tickwire.bus.connection import Bus
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, RejectedPage
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.actors


async def test_what_is_no_page_is_passed_over(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with running(broker, tmp_path):
        await bus.append(subjects.ohlcv(KEY), b"hello", message_id="1")
        wrong = page(range(3))
        await bus.append(subjects.ohlcv(KEY), messages.encode(msgspec.structs.replace(wrong, until=1)), message_id="2")
        assert [stored.rows for stored in await store(bus, page(range(2)))] == [2]


@pytest.mark.parametrize("key", [KEY, Key("kraken", "BTC/USD", "1h")], ids=str)
async def test_each_page_that_is_passed_over_is_published_with_its_place_and_the_reason(
    bus: Bus, broker: str, tmp_path: Path, key: Key
) -> None:
    told: list[RejectedPage] = []

    async def take(message: Msg) -> None:
        told.append(messages.decode(message.data, RejectedPage))

    await bus.subscribe(subjects.rejected(key), take)
    good = CandlePage(**key._asdict(), since=0, until=7_200_000, rows=[])
    wrong = json.loads(messages.encode(good))
    payloads = [
        b"no page",
        json.dumps({**wrong, "symbol": "X" * 4_096}).encode(),
        json.dumps({**wrong, "symbol": "ETH/USDT"}).encode(),
        json.dumps({**wrong, "until": 10**18}).encode(),
        json.dumps({**wrong, "until": -1}).encode(),
        json.dumps({**wrong, "rows": [[0, None, 1, 1, 1, 1]]}).encode(),
        b'{"a":' * 50_000,
        json.dumps({**wrong, "since": 7_200_000, "until": 0}).encode(),
    ]
    async with running(broker, tmp_path):
        sequences = [
            (await bus.append(subjects.ohlcv(key), data, message_id=str(number))).seq
            for number, data in enumerate(payloads)
        ]
        await store(bus, good)
        async with asyncio.timeout(100):
            while len(told) < len(payloads):
                await asyncio.sleep(0.01)
    assert sorted(each.sequence for each in told) == sequences
    assert {(each.exchange, each.symbol, each.timeframe) for each in told} == {tuple(key)}
    assert all(each.reason for each in told)
    # Of the one that could be read.
    assert [(each.since, each.until) for each in told if each.since is not None] == [(7_200_000, 0)]


async def test_a_page_under_another_keys_subject_is_passed_over(bus: Bus, broker: str, tmp_path: Path) -> None:
    others = [Key("okx", f"C{number}/USDT", "1m") for number in range(8)]
    async with running(broker, tmp_path):
        for other in others:
            await bus.append(subjects.ohlcv(KEY), messages.encode(page([1], other)), message_id=str(other))
        assert await store(bus, page([1, 2]))


async def test_a_page_of_a_time_that_has_not_happened_is_published_as_rejected(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    rejected: asyncio.Queue[RejectedPage] = asyncio.Queue()

    async def take(message: Msg) -> None:
        rejected.put_nowait(messages.decode(message.data, RejectedPage))

    await bus.subscribe(subjects.rejected(KEY), take)
    ahead = (time.time_ns() // 1_000_000 + 365 * 86_400_000) // MINUTE
    async with running(broker, tmp_path / "cache"):
        await store(bus, page(range(5)))
        await bus.append(subjects.ohlcv(KEY), messages.encode(page(range(ahead, ahead + 5))), message_id="ahead")
        async with asyncio.timeout(60):
            said = await rejected.get()
        assert (said.since, said.until) == (ahead * MINUTE, (ahead + 5) * MINUTE)
        assert "not in the past" in said.reason
        # The partition goes on, and knows nothing of it.
        await store(bus, page(range(5, 9)))
        assert (await coverage(bus)).verified == [Range(0, 9 * MINUTE)]
