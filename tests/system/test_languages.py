"""Consumers in four languages follow one feed of a real pipeline at once, each as examples/ has it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from support import live
from support.browser import browsing, served
from support.pipeline import Pipeline, pipeline
from support.ports import free_port
from support.processes import running_simulator
from tickwire import broker as embedded_broker
from tickwire import children
from tickwire.broker import WebSocket
from tickwire.client import Key
from tickwire.feeds import Feed, FeedList, FeedsRequest
from tickwire.messages import decode

EXAMPLES = Path(__file__).parents[2] / "examples"
FEED = Feed("trade", "binance", "BTC/USDT")
SOCKET = "stream.binance.com"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def websocket() -> WebSocket:
    """Where the broker takes WebSockets, and the one origin that it takes them from."""
    return WebSocket(free_port(), (f"http://127.0.0.1:{free_port()}",))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory, websocket: WebSocket) -> AsyncIterator[Pipeline]:
    """Every service, with candles of BTC/USDT in the cache."""
    folder = tmp_path_factory.mktemp("languages")
    async with (
        embedded_broker.embedded(folder / "nats", websocket=websocket) as url,
        running_simulator("--live-rate", "100") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer"), lease_ttl_s=10) as running,
    ):
        now = (await exchange.clock())["now"]
        await running.fetch(Key("binance", "BTC/USDT", "1m"), now - 3_600_000)
        yield running


async def feeds_of(line: Pipeline) -> dict[Feed, int]:
    """Feeds and how many are interested."""
    return {
        report.feed: report.subscribers
        async for part in line.bus.request_chunks("streamer.list", FeedsRequest(), lambda data: decode(data, FeedList))
        for report in part.feeds
    }


async def until_wanted_by(line: Pipeline, count: int) -> None:
    """Wait until so many are interested in the feed; asked again, because no message says so to everyone."""
    async with asyncio.timeout(30):
        while (await feeds_of(line)).get(FEED, 0) != count:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def printing(line: Pipeline, *argv: str | Path) -> AsyncIterator[children.Process]:
    """A consumer that prints trades as lines of JSON."""
    env = {**os.environ, "TICKWIRE_NATS_URL": line.bus.url}
    async with children.child(argv, stdout=children.PIPE, stderr=children.PIPE, env=env) as process:
        yield process


async def until_id(process: children.Process, last: int) -> list[dict[str, Any]]:
    """Its trades up to an id."""
    assert process.stdout is not None
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while not found or int(found[-1]["id"]) < last:
            line = await process.stdout.readline()
            assert line, (await process.stderr.read()).decode() if process.stderr else ""
            found.append(json.loads(line))
    return found


def consumers(line: Pipeline) -> dict[str, list[str | Path]]:
    """How each is run."""
    return {
        "python": [sys.executable, EXAMPLES / "python" / "trades.py", "binance", "BTC/USDT"],
        "node": ["node", EXAMPLES / "javascript" / "node.mjs", line.bus.url, "binance", "BTC/USDT"],
        "socket": [sys.executable, "-I", EXAMPLES / "socket" / "trades.py", line.bus.url, "binance", "BTC/USDT"],
    }


@pytest.mark.needs("node", "chromium")
async def test_four_languages_end_with_the_same_trades_through_a_cut_of_the_exchanges_socket(
    line: Pipeline, websocket: WebSocket, tmp_path: Path
) -> None:
    await line.simulator.forget_log()
    origin = websocket.origins[0]
    query = urlencode({"url": websocket.url, "exchange": "binance", "symbol": "BTC/USDT"})
    async with AsyncExitStack() as stack:
        processes = {
            name: await stack.enter_async_context(printing(line, *argv)) for name, argv in consumers(line).items()
        }
        await stack.enter_async_context(served(EXAMPLES / "javascript", int(origin.rsplit(":", 1)[1])))
        page = await stack.enter_async_context(browsing(f"{origin}/browser.html?{query}", tmp_path / "chromium"))
        await page.until("window.seen && window.seen.length > 0")
        assert len(await page.evaluate("window.candles")) == 3
        await until_wanted_by(line, 4)
        async with live.seeing(line.bus, FEED) as seen:
            await line.simulator.fault(SOCKET, "ws_cut", seconds=3)
            await seen.until(lambda: seen.repaired > 100)
            count = len(seen.trades)
            await seen.until(lambda: len(seen.trades) > count + 100)
            first, last = seen.ids[0], seen.ids[-1]
        ends = {name: await until_id(process, last) for name, process in processes.items()}
        await page.until(f"Number(window.seen.at(-1).id) >= {last}")
        ends["browser"] = await page.evaluate("window.seen")
        subscribed = [
            entry for entry in await line.simulator.log() if "btcusdt@aggTrade" in (entry.get("streams") or ())
        ]
    real = [
        {"id": each.id, "timestamp": each.timestamp, "side": each.side, "price": each.price, "amount": each.amount}
        for each in await live.truth(line.simulator, "BTCUSDT", first, last)
    ]
    for name, found in ends.items():
        assert [each for each in found if first <= int(each["id"]) <= last] == real, name
    # Once at the start, and once more on the socket after the cut, however many consumers there are.
    assert [entry["event"] for entry in subscribed].count("subscribe") == 2
    # Those that were ended said goodbye.
    async with asyncio.timeout(30):
        while FEED in await feeds_of(line):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("language", ["python", pytest.param("node", marks=pytest.mark.needs("node")), "socket"])
async def test_an_example_prints_as_many_trades_as_asked_shows_candles_and_releases_its_feed(
    line: Pipeline, language: str
) -> None:
    async with printing(line, *consumers(line)[language], "50") as process:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    ids = [int(json.loads(each)["id"]) for each in out.splitlines()]
    assert ids == list(range(ids[0], ids[0] + 50))
    if language != "python":
        candles = json.loads(err.decode().splitlines()[0].removeprefix("candles: "))
        assert [len(row) for row in candles] == [6, 6, 6]
    await until_wanted_by(line, 0)


@pytest.mark.needs("chromium")
async def test_a_page_of_another_origin_is_refused(line: Pipeline, websocket: WebSocket, tmp_path: Path) -> None:
    query = urlencode({"url": websocket.url, "exchange": "binance", "symbol": "BTC/USDT"})
    async with (
        served(EXAMPLES / "javascript", free_port()) as origin,
        browsing(f"{origin}/browser.html?{query}", tmp_path / "chromium") as page,
    ):
        await page.until("document.getElementById('state')?.textContent.startsWith('no connection')")
        assert await page.evaluate("window.seen.length") == 0


@pytest.mark.needs("node")
async def test_names_and_reading_back_in_javascript_are_those_of_python(line: Pipeline) -> None:
    """And a hole in the sequence is read back before anything later is handed on."""
    program = """
      import { token, Trades } from "./tickwire.mjs";
      const names = ["BTC/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-260327", "\\u00e9\\u20ac/A.B"].map(token);
      const seen = [];
      const tape = { 3: ["c"], 4: ["d"], 6: ["f"] };
      const readBack = async (after) => Object.entries(tape).map(([n, trades]) => ({ sequence: +n, data: { trades } }))
        .filter((each) => each.sequence > after);
      const trades = new Trades(readBack, (some) => seen.push(...some));
      trades.heard(2, 1, { trades: ["b"] });
      trades.heard(6, 4, { trades: ["f"] });
      await trades.heard(7, 6, { trades: ["g"] });
      console.log(JSON.stringify({ names, seen }));
    """
    process = await asyncio.create_subprocess_exec(
        "node",
        "--input-type=module",
        "--eval",
        program,
        cwd=EXAMPLES / "javascript",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    said = json.loads(out)
    assert said["names"] == ["BTC-USDT", "BTC-USDT=3AUSDT", "BTC-USDT=3AUSDT=2D260327", "=C3=A9=E2=82=AC-A=2EB"]
    assert said["seen"] == ["b", "c", "d", "f", "g"]
