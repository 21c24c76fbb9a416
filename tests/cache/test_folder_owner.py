"""Two brokers and one cache folder: the second one's caches are refused, until the folder is given to it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from support.forked import Running
from support.ports import free_port
from support.processes import TICKWIRE, Service, environment, tickwire
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.cache import folder_owner as cache_folder
from tickwire.cache.fence import BrokerIdentity, Fence
from tickwire.cache.store import Store
from tickwire.errors import CacheFileError, Fenced
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, KeyRequest, Row
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

MINUTE = 60_000
KEY = Key("binance", "BTC/USDT", "1m")
FIRST = 1_700_000_040_000 // MINUTE * MINUTE


@dataclass
class Side:
    """One broker, and a connection to it."""

    bus: Bus
    env: dict[str, str]
    log: Path

    @asynccontextmanager
    async def cache(self) -> AsyncIterator[Running]:
        """A cache process of this broker."""
        async with Service("cache", self.env, log=self.log) as cache:
            yield cache.process

    async def refused(self) -> str:
        """Start a cache process that ends by itself: what it said last."""
        ended = await tickwire(self.env, "service", "cache", timeout_s=60)
        assert ended.code == 2, ended
        assert '"event": "serving"' not in ended.err
        return ended.err.strip().splitlines()[-1]

    async def coverage(self) -> Coverage:
        """What its cache knows of the key, as soon as one answers."""
        ask = KeyRequest(**KEY._asdict())
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.bus.request("cache.coverage", ask, Coverage, timeout_s=15)
                except Exception as error:
                    if "no cache is running" not in str(error):
                        raise
                    await asyncio.sleep(0.05)

    async def store(self, number: int) -> None:
        """Put a page of ten candles on its stream, and wait until it is stored."""
        since = FIRST + number * 10 * MINUTE
        rows: list[Row] = [(since + i * MINUTE, 1.5, 2.5, 0.5, 1.25, float(number)) for i in range(10)]
        page = CandlePage(**KEY._asdict(), since=since, until=since + 10 * MINUTE, rows=rows)
        await self.bus.append(subjects.ohlcv(KEY), messages.encode(page), message_id=str(number))
        async with asyncio.timeout(60):
            while Range(since, page.until) not in [
                Range(max(since, one.since), min(page.until, one.until)) for one in (await self.coverage()).verified
            ]:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def side(folder: Path, name: str) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(embedded.embedded(folder / f"nats-{name}"))
        bus = await stack.enter_async_context(connect(NatsSettings(url=url), name="test"))
        await streams.declare(bus.jetstream, 8, 2.0)
        env = environment(folder, TICKWIRE_NATS_URL=url, TICKWIRE_CACHE_DIR=str(folder / "cache"))
        yield Side(bus, env, folder / f"cache-{name}.log")


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    async with side(tmp_path, "older") as older, side(tmp_path, "newer") as newer:
        yield older, newer


async def test_a_folder_goes_from_one_broker_to_another_and_back_with_its_candles(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    older, newer = sides
    async with older.cache():
        await older.store(0)
        # While the one works, the other's cache is refused, and so is taking the folder.
        line = await newer.refused()
        theirs = await cache_folder.identity(older.bus.jetstream)
        assert f"belongs to another broker ({theirs}" in line
        assert "last used from" in line
        assert line.endswith("or give the folder to this broker: tickwire candles adopt")
        busy = await tickwire(newer.env, "candles", "adopt", "--yes", timeout_s=60)
        assert busy.code == 2
        assert "caches are at work on the folder" in busy.err
        assert (await older.coverage()).rows == 10

    assert "belongs to another broker" in await newer.refused()
    unasked = await tickwire(newer.env, "candles", "adopt")
    assert unasked.code == 2
    assert "add --yes" in unasked.err
    assert "belongs to another broker" in await newer.refused()

    owners: list[tuple[Side, Side]] = [(newer, older), (older, newer), (newer, older)]
    for number, (owner, other) in enumerate(owners, start=1):
        given = await tickwire(owner.env, "candles", "adopt", "--yes", "--json")
        assert given.code == 0, given
        assert json.loads(given.out)["changed"] is True
        assert "belongs to another broker" in await other.refused()
        async with owner.cache():
            found = await owner.coverage()
            assert (found.rows, found.holes) == (number * 10, 0)
            assert found.verified == [Range(FIRST, FIRST + number * 10 * MINUTE)]
            await owner.store(number)
    again = await tickwire(newer.env, "candles", "adopt", "--json")
    assert (again.code, json.loads(again.out)["changed"]) == (0, False)


async def test_a_folder_of_an_earlier_version_belongs_to_its_newest_checkpoints_broker(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    older, newer = sides
    async with older.cache():
        await older.store(0)
    (tmp_path / "cache" / ".broker.json").unlink()
    line = await newer.refused()
    assert f"belongs to another broker ({await cache_folder.identity(older.bus.jetstream)}, last used " in line
    async with older.cache():
        assert (await older.coverage()).rows == 10
    assert (tmp_path / "cache" / ".broker.json").exists()


async def test_two_caches_of_one_broker_share_a_folder_whatever_their_epochs_are(
    sides: tuple[Side, Side],
) -> None:
    older, _ = sides
    async with older.cache(), older.cache():
        await older.store(0)
    async with older.cache():
        await older.store(1)
        assert (await older.coverage()).rows == 20


async def test_a_broker_whose_leases_were_made_anew_is_still_the_same(sides: tuple[Side, Side]) -> None:
    older, _ = sides
    async with older.cache():
        await older.store(0)
    await older.bus.jetstream.delete_stream(f"KV_{streams.LEASES}")
    await streams.declare(older.bus.jetstream, 8, 2.0)
    async with older.cache():
        await older.store(1)
        assert (await older.coverage()).rows == 20


async def test_a_broker_that_lost_its_data_is_refused_unless_the_folder_may_be_adopted(tmp_path: Path) -> None:
    async with side(tmp_path, "one") as before, before.cache():
        await before.store(0)
    shutil.rmtree(tmp_path / "nats-one")
    async with side(tmp_path, "one") as after:
        assert "belongs to another broker" in await after.refused()
        after.env["TICKWIRE_CACHE_ADOPT"] = "true"
        # Two at once, as `up --cache 2` starts them: one takes the folder, and both work on it.
        async with after.cache(), after.cache():
            assert (await after.coverage()).rows == 10
            await after.store(1)
            assert (await after.coverage()).rows == 20


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


@pytest.mark.parametrize("others", [100, 300])
def test_a_store_of_another_broker_is_refused_whichever_of_both_is_older(claims: Path, others: int) -> None:
    mine = Store.open(claims, 0, partitions=1, claim=Fence(200, 9), stream="200")
    (claims / cache_folder.RECORD).write_bytes(messages.encode(BrokerIdentity(generation=others, stream=others)))
    with pytest.raises(CacheFileError, match="belongs to another broker"):
        Store.open(claims, 0, partitions=1, claim=Fence(200, 10), stream="200")
    other = Store.open(claims, 0, partitions=1, claim=Fence(others, 1), stream=str(others))
    # Whoever works on in the belief that it has the folder is fenced.
    page = CandlePage(exchange=KEY.exchange, symbol=KEY.symbol, timeframe="1m", since=0, until=MINUTE, rows=[])
    with pytest.raises(Fenced):
        mine.commit([(1, page)])
    assert other.commit([(1, page)]).stored


async def test_up_goes_on_with_its_own_folder_when_its_broker_lost_everything(tmp_path: Path) -> None:
    async with side(tmp_path, "lost") as before, before.cache():
        await before.store(0)
    env = environment(tmp_path)
    async with children.child([*TICKWIRE, "up"], env=env):
        async with asyncio.timeout(90):
            while True:
                listed = await tickwire(env, "candles", "list", "--json")
                if listed.code == 0:
                    break
        [key] = json.loads(listed.out)["keys"]
        assert (key["symbol"], key["rows"]) == (KEY.symbol, 10)


async def test_up_does_not_take_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    async with side(tmp_path, "one") as before, before.cache():
        await before.store(0)
    env = environment(tmp_path / "elsewhere", TICKWIRE_CACHE_DIR=str(tmp_path / "cache"))
    ended = await tickwire(env, "up")
    assert ended.code == 2
    assert "belongs to another broker" in ended.err
    assert "tickwire candles adopt" in ended.err


async def test_a_cache_whose_broker_was_wiped_says_what_to_do_and_goes_on_once_it_is_done(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as old:
        url = await old.enter_async_context(embedded.embedded(tmp_path / "one"))
        env = environment(tmp_path, TICKWIRE_NATS_URL=url, TICKWIRE_METRICS_PORT=str(port))
        log = tmp_path / "cache.log"
        async with Service("cache", env, log=log) as cache:
            async with connect(NatsSettings(url=url), name="test") as bus:
                await Side(bus, env, log).store(0)
            await old.aclose()
            async with (
                embedded.embedded(tmp_path / "two", port=int(url.rpartition(":")[2])),
                connect(NatsSettings(url=url), name="test") as bus,
            ):
                # As the only reason: a partition that has not stopped yet is another one.
                remedy = "or give the folder to this broker: tickwire candles adopt"
                async with asyncio.timeout(100):
                    while not (
                        "belongs to another broker" in (reason := await unready(port)) and reason.endswith(remedy)
                    ):
                        await asyncio.sleep(0.1)
                given = await tickwire(env, "candles", "adopt", "--yes")
                assert given.code == 0, given
                after = Side(bus, env, log)
                await after.store(1)
                assert (await after.coverage()).rows == 20
                assert cache.process.returncode is None


async def unready(port: int) -> str:
    """Why a process is not ready; empty when it is, or does not answer."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/health/ready") as answer:
            return str((await answer.json()).get("reason") or "")
    except aiohttp.ClientError:
        return ""
