"""A page that is left open while its broker is away, comes back, and is replaced by an empty one."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest

from docs.browser import browsing
from support import live
from support.commands import Command, up
from support.ports import free_port
from support.processes import SimulatorProcess
from tickwire.bus.connection import connect
from tickwire.model.feeds import Feed
from tickwire.settings import NatsSettings
from web.seen import Seen

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]

RATE = 10
"""Trades a second: what is shown of a tape are 50."""
BTC = Feed("trade", "binance", "BTC/USDT")
FEEDS = ["trade binance BTC/USDT", "book binance BTC/USDT", "candle binance BTC/USDT 1m"]
MARKET = "/market?m=binance+BTC/USDT+1m"
OF_MARKET, TAPE = "Feeds of binance BTC/USDT", "Tape of binance BTC/USDT"
AWAY = "the broker is not reachable"
GAP = "['! gap', '↻ repaired'].every((each) => (document.querySelector('.tape')?.innerText ?? '').includes(each))"


def without_broker(running: Command) -> None:
    """Kill the embedded broker, and hold the one still that would start it again."""
    running.process.send_signal(signal.SIGSTOP)
    next(each for each in running.descendants() if each.name() == "nats-server").kill()


async def all_is_live(seen: Seen, running: Command) -> int:
    """Everything is shown as live, and the tape as it is stored, each trade once; the id of the last one."""
    await seen.until_text("#connection", "connected")
    for kind in ("trade", "book", "candle 1m"):
        await seen.until_row(OF_MARKET, kind, "● live")
    await seen.until_text(".ladder:not(.stale)", "● live")
    await seen.until_text(".tape:not(.stale)", "● live")
    await seen.until_text(".summary", "the open one")
    await seen.page.until("document.querySelector('#errors').textContent === ''")
    await seen.page.until("document.querySelectorAll('[aria-label^=Tape] tbody tr').length >= 20")
    shown = [(float(row[2]), float(row[3])) for row in reversed(await seen.rows(TAPE)) if row[1] != "! gap"]
    async with connect(NatsSettings(url=await running.url()), name="reads") as bus:
        tape = await live.on_tape(bus, BTC)
    assert len(set(tape.ids)) == len(tape.ids)
    stored = [(each.price, each.amount) for each in tape.trades]
    assert any(stored[at : at + len(shown)] == shown for at in range(len(stored)))
    assert await seen.page.evaluate("window.kept") == "kept"
    return tape.ids[-1]


async def test_a_page_left_open_says_that_its_broker_is_away_and_goes_on_by_itself(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    port = free_port()
    env = {"ENABLED": "true", "PORT": str(port)}
    variables = {f"TICKWIRE_WEB_{name}": value for name, value in env.items()}
    variables["TICKWIRE_STREAMER_FEEDS"] = json.dumps(FEEDS)
    async with up(tmp_path, busy, env=variables) as running:
        url = f"http://127.0.0.1:{port}"
        async with browsing(url, tmp_path / "chromium") as page:
            seen = Seen(page, url)
            await seen.until_text("#connection", "connected")
            await page.evaluate("window.kept = 'kept'")
            await seen.open(MARKET)
            last = await all_is_live(seen, running)

            without_broker(running)
            await seen.until_text("#errors", AWAY)
            await seen.until_text(".ladder.stale", f"◐ not live: {AWAY}")
            await seen.until_text(".tape.stale", f"◐ not live: {AWAY}")
            for kind in ("trade", "book", "ticker", "candle 1m"):
                await seen.until_row(OF_MARKET, kind, "? not known")
            # At once, not when a request would have waited long enough.
            await seen.press("start ticker binance BTC/USDT")
            await seen.until_text("#said", AWAY)
            for address in ("/", "/coverage"):
                await seen.open(address)
                await seen.until_text("#errors", AWAY)
                await seen.until_text("#content", "nothing was read yet")
            await seen.open(MARKET)
            # What happens meanwhile at the exchange, and what it cannot give back.
            await busy.fault("/ws/", "ws_cut", seconds=4)
            newest = (await busy.truth("aggregates", symbol="BTCUSDT", fromId=last, limit=1000))[-1]["id"]
            forgotten = {"symbol": "BTCUSDT", "from_id": newest + 5, "to_id": newest + 10}
            await busy.fault("aggTrades", "rest_forgets", **forgotten)
            running.process.send_signal(signal.SIGCONT)
            await page.until(GAP)
            await all_is_live(seen, running)

            # Another broker in its place, which has nothing.
            await seen.open("/")
            await seen.until_row("Feeds", "trade", "● live")
            without_broker(running)
            await seen.until_text("#errors", AWAY)
            await seen.until_text("#troubles", "? not known; what is shown below is as of ")
            await seen.until_row("Feeds", "trade", "? not known")
            await asyncio.to_thread(shutil.rmtree, tmp_path / "data" / "nats" / "jetstream")
            running.process.send_signal(signal.SIGCONT)
            await running.says("the broker has changed")
            await seen.until_text("#troubles", "✓ nothing is wrong")
            await seen.until_row("Feeds", "trade", "● live")
            await seen.open(MARKET)
            await all_is_live(seen, running)
