"""`tickwire start`, `stop`, `ps` and `watch` against `tickwire up` and a simulated exchange, all real processes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cli.terminal import Lines, on_terminal
from support.commands import Command, command
from support.hearing import reports
from support.processes import TICKWIRE, SimulatorProcess, environment, running_simulator, tickwire
from tickwire.bus.connection import connect
from tickwire.model.feeds import FeedReport
from tickwire.settings import NatsSettings

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

BTC = ("binance", "BTC/USDT")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange with 20 trades a second."""
    async with running_simulator("--live-rate", "20") as process:
        yield process


async def feeds(running: Command) -> dict[str, dict[str, Any]]:
    """What `tickwire ps` lists, by kind, symbol and timeframe."""
    listed = json.loads((await running.run("ps", "--json")).out)["feeds"]
    return {" ".join(filter(None, (each["kind"], each["symbol"], each["timeframe"]))): each for each in listed}


@asynccontextmanager
async def reporting(running: Command) -> AsyncIterator[Callable[[], Awaitable[list[FeedReport]]]]:
    """What `tickwire ps` asks, again and again without a process for each time."""
    async with connect(NatsSettings(url=await running.url()), name="test") as bus:

        async def ask() -> list[FeedReport]:
            await asyncio.sleep(0.05)
            return await reports(bus)

        yield ask


async def nothing_runs(running: Command) -> None:
    """Wait until nobody is interested in anything."""
    async with asyncio.timeout(100), reporting(running) as ask:
        while await ask():
            pass


@asynccontextmanager
async def watching(running: Command, *arguments: str) -> AsyncIterator[tuple[Command, Lines]]:
    """`tickwire watch`, and its lines."""
    async with command(running.folder, running.env, "watch", *arguments) as watch:
        yield watch, Lines(watch)


async def test_what_is_started_runs_until_it_is_stopped(running: Command) -> None:
    """Every combination; and it is said where to listen, and how to stop it."""
    started = await running.run("start", "trade", "binance", "BTC/USDT,ETH/USDT")
    assert started.code == 0, started.err
    assert [line.split()[:3] + line.split()[-1:] for line in started.out.splitlines()[1:]] == [
        ["trade", "binance", "BTC/USDT", "md.trade.binance.BTC-USDT"],
        ["trade", "binance", "ETH/USDT", "md.trade.binance.ETH-USDT"],
    ]
    assert started.err == (
        "tickwire: kept for subscriber cli until stopped; stop with `tickwire stop trade binance BTC/USDT,ETH/USDT`\n"
    )
    again = await running.run("start", "trade", *BTC, "--subscriber", "me", "--json")
    (fact,) = json.loads(again.out)
    assert (again.code, again.err, fact["subject"], fact["subscribers"]) == (0, "", "md.trade.binance.BTC-USDT", 2)

    async with asyncio.timeout(100), reporting(running) as ask:
        while not all(each.state == "live" for each in await ask()):
            pass
    found = await feeds(running)
    assert {name: each["subscribers"] for name, each in found.items()} == {"trade BTC/USDT": 2, "trade ETH/USDT": 1}
    assert [found[name]["subscriber_names"] for name in ("trade BTC/USDT", "trade ETH/USDT")] == [
        ["cli", "me"],
        ["cli"],
    ]
    assert all(each["owner"].startswith("streamer-") for each in found.values())
    table = await running.run("ps")
    assert table.out.splitlines()[0].split()[:4] == ["feed", "state", "owner", "subscribers"]
    assert re.search(r"^trade binance BTC/USDT +live +streamer-\w+ +2 ", table.out, re.M)
    assert re.search(r"^trade binance BTC/USDT .* cli, me *$", table.out, re.M)
    other = await running.run("ps", "okx", "--json")
    assert (other.code, json.loads(other.out)["feeds"]) == (1, [])
    assert other.err == "tickwire: no feed of okx runs; there are feeds of binance\n"
    misspelt = await running.run("ps", "binanse")
    assert (misspelt.code, misspelt.out) == (1, "")
    assert misspelt.err == "tickwire: no feed of binanse runs; did you mean binance?\n"

    wrong = await running.run("stop", "trade", "binanse", "BTC/USDT")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.startswith("tickwire: trade binanse BTC/USDT does not run; running are binance BTC/USDT")
    never = await running.run("stop", "trade", *BTC, "--subscriber", "somebody")
    said = "somebody was no subscriber of trade binance BTC/USDT (wanted by cli, me)"
    assert (never.code, never.err) == (0, f"tickwire: {said}\n")

    left = await running.run("stop", "trade", *BTC)
    said = "cli is no longer a subscriber; the feed continues for 1 other subscriber (see `tickwire ps`)"
    assert (left.code, left.err) == (0, f"tickwire: {said}\n")
    assert (await running.run("stop", "trade", *BTC, "--subscriber", "me")).err == ""
    assert (await running.run("stop", "trade", "binance", "ETH/USDT")).code == 0
    await nothing_runs(running)
    assert "no feed runs; start one" in (await running.run("ps")).err


async def test_an_interest_with_an_end_ends_by_itself(running: Command) -> None:
    started = await running.run("start", "ticker", *BTC, "--ttl", "2")
    assert "for 2 s unless started again" in started.err
    await nothing_runs(running)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("start", "trade", "binanse", "BTC/USDT"), 1, "did you mean binance?"),
        (("start", "trade", "binance", "BTC/USTD"), 1, "BTC/USDT"),
        (("start", "trades", "binance", "BTC/USDT"), 2, "did you mean trade?"),
        (("start", "candle", "binance", "BTC/USDT", "7m"), 2, "5m"),
        (("watch", "trade", "binance", "BTC/USDT,ETH/USDT"), 2, "watch shows one feed"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(
    running: Command, words: tuple[str, ...], code: int, expected: str
) -> None:
    ended = await running.run(*words)
    assert (ended.code, ended.out) == (code, "")
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("tickwire: ")
    assert expected in ended.err


async def test_one_bad_name_among_good_ones_stops_only_itself(running: Command) -> None:
    ended = await running.run("start", "trade", "binance", "BTC/USDT,BTC/USTD", "--ttl", "1")
    assert ended.code == 1
    assert "md.trade.binance.BTC-USDT" in ended.out
    assert "BTC/USTD" in ended.err
    await nothing_runs(running)


async def test_without_a_streamer_it_is_said_how_to_start_one(tmp_path: Path, broker: str) -> None:
    env = environment(tmp_path, TICKWIRE_NATS_URL=broker, TICKWIRE_NATS_PATIENCE_S="1")
    commands = (("start", "trade", *BTC), ("stop", "trade", *BTC), ("watch", "trade", *BTC), ("ps",))
    for ended in await asyncio.gather(*(tickwire(env, *words) for words in commands)):
        assert (ended.code, ended.out) == (1, "")
        # What it waits for is said at once, how to start it at the end.
        *waiting, last = ended.err.splitlines()
        assert len(waiting) <= 1
        assert "start it with `tickwire service streamer`" in last


async def test_every_trade_is_shown_once_though_the_socket_is_cut(running: Command, exchange: SimulatorProcess) -> None:
    """As on the bus; those that the streamer fetched by REST are marked, and what happened is said."""
    async with watching(running, "trade", *BTC, "--json") as (watch, lines):
        await lines.until('"id".*"source":"live"')
        await exchange.fault("", "ws_cut", seconds=1)
        cut = await watch.says("-- disconnected")
        await lines.until('"id".*"source":"rest"')
        await lines.until('"id".*"source":"live"')
        # When the feed began, it may have been repaired as well.
        await watch.says("-- repaired", after=cut)
        assert await watch.stop(signal.SIGINT) == 130
        await watch.says("fetched after an interruption")
    await nothing_runs(running)
    messages = [json.loads(line) for line in lines.found]
    trades = [each for message in messages for each in message["trades"]]
    ids = [int(each["id"]) for each in trades]
    assert ids == list(range(ids[0], ids[-1] + 1))
    truth = await exchange.truth("trades", symbol="BTC/USDT", since=trades[0]["timestamp"])
    prices = {each["agg"]: each["price"] for each in truth}
    assert [each["price"] for each in trades] == [prices[each] for each in ids]


async def test_trades_are_lines_and_the_newest_known_come_first(running: Command, exchange: SimulatorProcess) -> None:
    """A second watcher sees what the first one had already; its end does not end the feed."""
    async with watching(running, "trade", *BTC) as (_, lines):
        line = await lines.until(r"(buy|sell)")
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  (buy |sell)  +[\d,]+\.?\d*  +\d+\.?\d*( +rest)?", line)
        for _ in range(5):
            await lines.until(r"(buy|sell)")
        # Now nothing can come but from the tape.
        await exchange.fault("", "ws_cut", seconds=60)
        await lines.until("disconnected")
        since = int(time.time() * 1000)
        second = await running.run("watch", "trade", *BTC, "--count", "5")
        # Else there may be nothing to repair.
        async with asyncio.timeout(100):
            while not await exchange.truth("trades", symbol="BTC/USDT", since=since):
                await asyncio.sleep(0.05)
        await exchange.clear()
        assert second.code == 0, second.err
        known = second.out.splitlines()
        assert len(known) == 5
        # A page of REST may have been on its way when the socket was cut.
        if known[-1] not in lines.found:
            await lines.until(re.escape(known[-1]))
        assert set(known) <= set(lines.found)
        assert "binance BTC/USDT: 5 trades in " in second.err
        await lines.until(r"(buy|sell).*rest")
        # The repaired trades may come before the report of the feed's new state.
        async with asyncio.timeout(100), reporting(running) as ask:
            while [(feed.state, feed.subscribers) for feed in await ask()] != [("live", 1)]:
                pass


async def test_a_book_is_shown_live_or_not_at_all(running: Command, exchange: SimulatorProcess) -> None:
    async with watching(running, "book", *BTC) as (watch, lines):
        line = await lines.until(r"bid [\d,.]+ x [\d.]+ +ask [\d,.]+ x [\d.]+ +spread 0\.01 ")
        bid, ask = (float(each.replace(",", "")) for each in re.findall(r"(?:bid|ask) ([\d,.]+) x", line))
        assert bid < ask
        await exchange.fault("", "ws_cut", seconds=1)
        cut = len(lines.found)
        await lines.until("the book is resyncing")
        await lines.until(r"bid [\d,.]+ x")
        assert any("disconnected" in each for each in lines.found[cut:])
        assert await watch.stop(signal.SIGINT) == 130
    narrow = await running.run("watch", "book", *BTC, "--depth", "3", "--json", "--count", "6")
    deepest = [json.loads(each) for each in narrow.out.splitlines()][-1]
    assert (len(deepest["bids"]), len(deepest["asks"]), deepest["depth"]) == (3, 3, 3)


async def test_tickers_and_candles_are_shown_for_as_long_as_asked(running: Command) -> None:
    for words, shown in (
        (("ticker", *BTC), r"last [\d,.]+ +bid [\d,.]+ +ask [\d,.]+"),
        (("candle", *BTC, "1s"), r"O [\d,.]+  H [\d,.]+  L [\d,.]+  C [\d,.]+  V [\d.]+  \d+ trades?  closed"),
    ):
        # The feed is kept running, so that the time of the second one begins with something to show.
        async with watching(running, *words) as (_, lines):
            await lines.until(shown)
            began = time.monotonic()
            timed = await running.run("watch", *words, "--for", "2.5")
            assert timed.code == 0, timed.err
            assert time.monotonic() - began >= 2.5
            assert timed.out
    await nothing_runs(running)


async def test_a_watch_says_why_it_does_not_show_the_cached_candles(running: Command) -> None:
    key = ("binance", "SOL/USDT", "1m")
    fetched = await running.run("candles", "fetch", *key, "--since", "10m")
    assert fetched.code == 0, fetched.err
    whole = await running.run("watch", "candle", *key, "--count", "1")
    assert (whole.code, "not shown" in whole.err) == (0, False), whole.err
    (path,) = (running.folder / "data").rglob("binance_SOL-USDT_1m.csv")
    with path.open("a") as file:
        file.write("no candle\n")
    damaged = await running.run("watch", "candle", *key, "--count", "1")
    assert damaged.code == 0, damaged.err
    assert damaged.out
    assert f"tickwire: earlier candles are not shown: {path}" in damaged.err
    repaired = await running.run("candles", "repair", *key)
    assert repaired.code == 0, repaired.err
    await nothing_runs(running)


async def test_an_interrupted_watch_that_had_an_end_says_so(running: Command) -> None:
    """130 means that it is not all that was asked for."""
    async with watching(running, "trade", *BTC, "--count", "100000") as (watch, lines):
        await lines.until(r"(buy|sell)")
        assert await watch.stop(signal.SIGINT) == 130


async def test_a_reader_that_has_seen_enough_is_no_error(running: Command) -> None:
    piped = await asyncio.to_thread(
        subprocess.run,
        f"{' '.join(TICKWIRE)} watch trade binance BTC/USDT --json | head -n 2",
        shell=True,
        env=running.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(piped.stdout.splitlines()) == 2
    assert "Traceback" not in piped.stderr
    await nothing_runs(running)


async def test_a_watch_that_is_killed_is_forgotten(running: Command) -> None:
    """It renewed its interest before, and its TTL is ten seconds."""
    async with watching(running, "ticker", *BTC) as (watch, lines):
        await lines.until("last")
        await watch.stop(signal.SIGKILL)
    assert list(await feeds(running)) == ["ticker BTC/USDT"]
    await nothing_runs(running)


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        (("trade", *BTC), ["\x1b[32m", "buy", "sell"]),
        (("book", *BTC), ["book binance BTC/USDT", "spread", "█", "\x1b[31m", "\x1b[32m"]),
        (("ticker", *BTC), ["ticker binance BTC/USDT", "24 h", "quote volume"]),
        (("candle", *BTC, "1m"), ["candle binance BTC/USDT 1m", "┤", "O ", "trade"]),
    ],
)
async def test_on_a_terminal_a_feed_is_a_picture(running: Command, feed: tuple[str, ...], expected: list[str]) -> None:
    screen = await asyncio.to_thread(
        on_terminal, running.env, "watch", *feed, enough=lambda text: all(each in text for each in expected)
    )
    assert screen.code == 130, screen.text
    assert "Traceback" not in screen.text
    await nothing_runs(running)


async def test_status_has_services_leases_feeds_and_the_jobs_that_run_in_one(
    running: Command, exchange: SimulatorProcess
) -> None:
    await running.run("start", "ticker", *BTC, "--subscriber", "here")
    await exchange.fault("klines", "delay", seconds=5)
    fetching = asyncio.create_task(
        # Fourteen pages of up to a thousand, so that it goes on for longer than this test needs to see it.
        running.run("candles", "fetch", *BTC, "1h", "--since", "2024-01-01", "--until", "2025-08-01")
    )
    async with asyncio.timeout(100):
        while not (found := json.loads((await running.run("status", "--json")).out))["jobs"]:
            pass
    (job,) = found["jobs"]
    assert (job["symbol"], job["timeframe"]) == ("BTC/USDT", "1h")
    assert job["state"] in ("queued", "running")
    assert [(feed["kind"], feed["symbol"]) for feed in found["feeds"]] == [("ticker", "BTC/USDT")]
    shown = (await running.run("status")).out
    for part in (job["id"], "ticker binance BTC/USDT", "streamer", "TICKERS", "slot.0"):
        assert part in shown
    async with command(running.folder, running.env, "status", "--watch") as watching:
        lines = Lines(watching)
        await lines.until("^broker ")
        await lines.until("^broker ")
        watching.process.send_signal(signal.SIGINT)
        assert await watching.process.wait() == 130
    await exchange.clear()
    assert (await fetching).code == 0
    await running.run("stop", "ticker", *BTC, "--subscriber", "here")
