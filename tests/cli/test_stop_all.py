"""`tickwire stop --all` against `tickwire up` and a simulated exchange."""

from __future__ import annotations

import asyncio
import json

import pytest

from support.commands import Command
from support.hearing import reports
from tickwire.bus.connection import connect
from tickwire.settings import NatsSettings

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

BTC = ("binance", "BTC/USDT")


async def test_all_feeds_of_a_subscriber_are_stopped_at_once_and_nobody_else_s(running: Command) -> None:
    for arguments in (("trade", "binance", "BTC/USDT,ETH/USDT"), ("candle", *BTC, "1m")):
        assert (await running.run("start", *arguments)).code == 0
    assert (await running.run("start", "trade", *BTC, "--subscriber", "me")).code == 0

    wrong = await running.run("stop", "trade", *BTC, "--all")
    assert (wrong.code, wrong.out) == (2, "")
    unnamed = await running.run("stop")
    assert (unnamed.code, unnamed.out) == (2, "")
    assert "--all" in unnamed.err

    nobody = await running.run("stop", "--all", "--subscriber", "nobody")
    assert (nobody.code, nobody.out) == (0, "")
    assert nobody.err == "tickwire: nobody is no subscriber of any feed; `tickwire ps` prints who is\n"
    stopped = await running.run("stop", "--all", "--json")
    assert stopped.code == 0, stopped.err
    assert {(each["kind"], each["symbol"]) for each in json.loads(stopped.out)} == {
        ("trade", "BTC/USDT"),
        ("trade", "ETH/USDT"),
        ("candle", "BTC/USDT"),
    }
    left = [("trade binance BTC/USDT", ["me"])]
    async with asyncio.timeout(100), connect(NatsSettings(url=await running.url()), name="test") as bus:
        while [(str(each.feed), each.subscriber_names) for each in await reports(bus)] != left:
            await asyncio.sleep(0.05)
    assert (await running.run("stop", "--all", "--subscriber", "me")).err == ""
    assert json.loads((await running.run("ps", "--json")).out)["feeds"] == []
