"""Consumers in four languages follow one feed of a real pipeline at once, each with its example of examples/."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from docs.browser import browsing
from docs.documents import EXAMPLES, ROOT, argv, examples
from support import live
from support.pipeline import Pipeline, pipeline
from support.ports import free_port
from support.processes import running_simulator
from support.web import served
from support.wires import wire
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.embedded import WebSocket
from tickwire.model.broker_urls import with_token
from tickwire.model.feeds import Feed, FeedList, FeedsRequest
from tickwire.model.messages import decode
from tickwire.process import children

FEED = Feed("trade", "binance", "BTC/USDT")
TOKEN = "0123456789abcdef"
SOCKET = "stream.binance.com"
pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def websocket() -> WebSocket:
    """Where the broker takes WebSockets, and the one origin that it takes them from."""
    return WebSocket(free_port(), (f"http://127.0.0.1:{free_port()}",))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory, websocket: WebSocket) -> AsyncIterator[Pipeline]:
    """Every service, and nothing in the cache."""
    folder = tmp_path_factory.mktemp("languages")
    async with (
        embedded_broker.embedded(folder / "nats", websocket=websocket, token=TOKEN) as url,
        running_simulator("--live-rate", "100") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer"), lease_ttl_s=10) as running,
    ):
        yield running


async def feeds_of(line: Pipeline) -> dict[Feed, int]:
    """Feeds and how many are interested."""
    return {
        report.feed: report.subscribers
        async for part in line.bus.request_chunks("streamer.list", FeedsRequest(), lambda data: decode(data, FeedList))
        for report in part.feeds
    }


@asynccontextmanager
async def withdrawing(line: Pipeline) -> AsyncIterator[None]:
    """Within the block subscribers withdraw their interests: none ends by its time to live.

    But those of browsers: a page that is closed withdraws its interest if it can, otherwise that expires.
    """
    standing: set[str] = set()
    expired: list[str] = []

    async def take(message: Msg) -> None:
        is_browser = ".browser=2D" in message.subject
        if "Nats-Marker-Reason" in (message.headers or {}) and message.subject in standing and not is_browser:
            expired.append(message.subject)
        if message.data:
            standing.add(message.subject)
        else:
            standing.discard(message.subject)

    subscription = await line.bus.subscribe_ordered(
        "$KV.INTEREST.>", f"KV_{streams.INTEREST}", take, policy=DeliverPolicy.NEW
    )
    yield
    await until_wanted_by(line, 0)
    await subscription.unsubscribe()
    assert expired == []


async def until_wanted_by(line: Pipeline, count: int) -> None:
    """Wait until so many are interested in the feed; asked again, because no message says so to everyone."""
    async with asyncio.timeout(100):
        while (await feeds_of(line)).get(FEED, 0) != count:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def printing(line: Pipeline, *argv: str | Path, url: str | None = None) -> AsyncIterator[children.Process]:
    """A consumer that prints trades as lines of JSON."""
    broker = url or line.env["TICKWIRE_NATS_URL"]
    env = {**os.environ, "TICKWIRE_NATS_URL": broker, "NATS_URL": broker}
    # The folder that their paths in examples/README.md begin at.
    async with children.child(argv, stdout=children.PIPE, stderr=children.PIPE, env=env, cwd=ROOT) as process:
        yield process


async def until_id(process: children.Process, last: int) -> list[dict[str, Any]]:
    """Its trades up to an id."""
    assert process.stdout is not None
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(100):
        while not found or int(found[-1]["id"]) < last:
            line = await process.stdout.readline()
            assert line, (await process.stderr.read()).decode() if process.stderr else ""
            found.append(json.loads(line))
    return found


def consumer(name: str) -> list[str]:
    """How it is run, by examples/README.md."""
    path = {"python": "python/trades.py", "node": "javascript/node.mjs", "socket": "socket/trades.py"}[name]
    program, *arguments = argv(examples()[EXAMPLES / path])
    # Isolated: it needs no package.
    return [program, "-I", *arguments] if name == "socket" else [program, *arguments]


def page_of(origin: str, websocket: WebSocket) -> str:
    """The page's URL."""
    query = urlencode({"exchange": "binance", "symbol": "BTC/USDT"})
    return f"{origin}/browser.html?{query}#{with_token(websocket.url, TOKEN)}"


@pytest.mark.needs("node", "chromium")
async def test_four_languages_print_the_same_trades_through_a_cut_of_the_exchanges_socket(
    line: Pipeline, websocket: WebSocket, tmp_path: Path
) -> None:
    await line.simulator.forget_log()
    origin = websocket.origins[0]
    async with withdrawing(line), AsyncExitStack() as stack:
        processes = {
            name: await stack.enter_async_context(printing(line, *consumer(name)))
            for name in ("python", "node", "socket")
        }
        await stack.enter_async_context(served(EXAMPLES / "javascript", int(origin.rsplit(":", 1)[1])))
        page = await stack.enter_async_context(browsing(page_of(origin, websocket), tmp_path / "chromium"))
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
        # The trades of the Python client name their market, too.
        assert {(each.pop("exchange"), each.pop("symbol")) for each in ends["python"]} == {("binance", "BTC/USDT")}
        await page.until(f"Number(window.seen.at(-1).id) >= {last}")
        ends["browser"] = await page.evaluate("window.seen")
        subscribed = [
            entry for entry in await line.simulator.log() if "btcusdt@aggTrade" in (entry.get("streams") or ())
        ]
        # Each withdraws its interest when it is ended.
        await page.evaluate("location.replace('about:blank')")
        await until_wanted_by(line, 3)
        for left, process in enumerate(reversed(processes.values())):
            process.send_signal(signal.SIGINT)
            await until_wanted_by(line, 2 - left)
    real = [
        {"id": each.id, "timestamp": each.timestamp, "side": each.side, "price": each.price, "amount": each.amount}
        for each in await live.truth(line.simulator, "BTCUSDT", first, last)
    ]
    for name, found in ends.items():
        assert [each for each in found if first <= int(each["id"]) <= last] == real, name
    # Once at the start, and once more on the socket after the cut, however many consumers there are.
    assert [entry["event"] for entry in subscribed].count("subscribe") == 2


@pytest.mark.parametrize("language", ["python", pytest.param("node", marks=pytest.mark.needs("node")), "socket"])
async def test_an_example_prints_the_trades_asked_for_and_candles_and_releases_its_feed(
    line: Pipeline, language: str
) -> None:
    async with withdrawing(line), printing(line, *consumer(language), "50") as process:
        async with asyncio.timeout(100):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
    ids = [int(json.loads(each)["id"]) for each in out.splitlines()]
    assert ids == list(range(ids[0], ids[0] + 50))
    if language != "python":
        candles = json.loads(err.decode().splitlines()[0].removeprefix("candles: "))
        assert [len(row) for row in candles] == [6, 6, 6]


@pytest.mark.needs("node")
async def test_what_node_missed_while_its_connection_was_cut_it_reads_back_from_the_tape(line: Pipeline) -> None:
    async with (
        withdrawing(line),
        wire(line.env["TICKWIRE_NATS_URL"]) as relay,
        printing(line, *consumer("node"), url=relay.url) as process,
    ):
        await until_wanted_by(line, 1)
        async with live.seeing(line.bus, FEED) as seen:
            await seen.until(lambda: len(seen.trades) > 50)
            relay.cut()
            count = len(seen.trades)
            await seen.until(lambda: len(seen.trades) > count + 100)
            await relay.mend()
            count = len(seen.trades)
            await seen.until(lambda: len(seen.trades) > count + 300)
            first, last = seen.ids[0], seen.ids[-1]
        found = [int(each["id"]) for each in await until_id(process, last)]
        assert found[0] <= first
        assert found == list(range(found[0], found[-1] + 1))
        process.send_signal(signal.SIGINT)
        await until_wanted_by(line, 0)


@pytest.mark.needs("chromium")
async def test_a_page_of_another_origin_is_refused(line: Pipeline, websocket: WebSocket, tmp_path: Path) -> None:
    async with (
        served(EXAMPLES / "javascript", free_port()) as origin,
        browsing(page_of(origin, websocket), tmp_path / "chromium") as page,
    ):
        await page.until("document.getElementById('state')?.textContent.startsWith('no connection')")
        assert await page.evaluate("window.seen.length") == 0


@pytest.mark.needs("node")
async def test_names_and_reading_back_in_javascript_are_those_of_python(line: Pipeline) -> None:
    """And a hole in the sequence is read back before anything later is handed on, or named where that is too late."""
    program = """
      import { taped, token, Trades } from "./tickwire.mjs";
      const names = ["BTC/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT-260327", "\\u00e9\\u20ac/A.B"].map(token);
      const message = (sequence, before, minute, trades, stream = "TRADES-0") => taped((name) => ({
        "Nats-Stream": stream,
        "Nats-Sequence": `${sequence}`, "Nats-Expected-Last-Subject-Sequence": `${before}`,
        "Nats-Time-Stamp": `2026-01-01T00:0${minute}:00.123456789Z`,
      })[name], { trades });
      let tape = [message(3, 2, 0, ["c"]), message(4, 3, 0, ["d"]), message(6, 4, 0, ["f"])];
      let failures = 1;
      const readBack = async (after) => {
        if (failures-- > 0) throw new Error("no answer");
        return tape.filter((each) => each.sequence > after);
      };
      const seen = [];
      const trades = new Trades(readBack, (some, gap) => seen.push(...some, ...(gap ? [gap.reason] : [])));
      trades.heard(message(2, 1, 0, ["b"]));
      trades.heard(message(6, 4, 0, ["f"]));
      await trades.heard(message(7, 6, 0, ["g"]));
      // What the tape keeps begins later than what was missed.
      tape = [message(20, 12, 1, ["t"])];
      await trades.heard(message(21, 20, 1, ["u"]));
      // The stream was made anew: it counts from 1, and the first two were missed.
      tape = [message(1, 0, 2, ["A"]), message(2, 1, 2, ["B"])];
      await trades.heard(message(3, 2, 2, ["C"]));
      await trades.heard(message(4, 3, 2, ["D"]));
      // The feed goes on in another stream, of which the first message was missed, too.
      const left = [message(5, 4, 3, ["E"])];
      const moved = [message(8, 0, 3, ["F"], "TRADES-1"), message(9, 8, 3, ["G"], "TRADES-1")];
      trades.readBack = async (after, last) =>
        (last.stream === "TRADES-0" ? left : moved).filter((each) => each.sequence > after);
      await trades.heard(message(9, 8, 3, ["G"], "TRADES-1"));
      console.log(JSON.stringify({ names, seen }));
    """
    process = await asyncio.create_subprocess_exec(
        "node",
        "--input-type=module",
        "--eval",
        program,
        cwd=EXAMPLES / "javascript",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said = json.loads(out)
    assert said["names"] == ["BTC-USDT", "BTC-USDT=3AUSDT", "BTC-USDT=3AUSDT=2D260327", "=C3=A9=E2=82=AC-A=2EB"]
    assert said["seen"] == [*"bcdfg", "no longer on the tape", *"tuABCDEFG"]
