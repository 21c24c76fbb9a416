"""Frames of the simulator as Bitget beside recorded ones: the same keys, types and forms of numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulator.asking import RECORDED, connected, form, samples
from support.simulated import simulated

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not (RECORDED / "bitget").is_dir(), reason="the recorded messages are not there"),
]

NOW = 1_750_000_030_500


def recorded(product: str, channel: str, action: str) -> Any:
    """The first recorded message of a channel, of this action, about a market of a product type."""
    return next(
        message for each in samples("bitget")
        if (message := each["message"]).get("action") == action
        and (message["arg"]["instType"], message["arg"].get("channel")) == (product, channel)
    )  # fmt: skip


async def made(product: str, channel: str, action: str) -> Any:
    """The simulator's first message of a channel and action."""
    arg = {"instType": product, "channel": channel, "instId": "BTCUSDT"}
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        connected(running, "ws.bitget.com/v2/ws/public") as connection,
    ):
        await connection.send_json({"op": "subscribe", "args": [arg]})
        async with asyncio.timeout(100):
            while (message := await connection.receive_json()).get("action") != action:
                assert message == {"event": "subscribe", "arg": arg} or "action" in message
    return message


@pytest.mark.parametrize(
    ("recorded_of", "product", "action"),
    [("SPOT", "SPOT", "snapshot"), ("SPOT", "SPOT", "update"), ("COIN-FUTURES", "USDT-FUTURES", "update")],
)
async def test_trade_messages_have_the_recorded_form(recorded_of: str, product: str, action: str) -> None:
    theirs, ours = recorded(recorded_of, "trade", action), await made(product, "trade", action)
    assert form(ours) == form(theirs)
    assert [list(each) for each in (ours, ours["data"][0])] == [list(each) for each in (theirs, theirs["data"][0])]
    ids = (each["data"][0]["tradeId"] for each in (ours, theirs))
    assert {len(id_) for id_ in ids} == {19}


@pytest.mark.parametrize("product", ["SPOT", "USDT-FUTURES"])
@pytest.mark.parametrize("action", ["snapshot", "update"])
async def test_book_messages_have_the_recorded_form(product: str, action: str) -> None:
    theirs, ours = recorded(product, "books", action), await made(product, "books", action)
    (row,), (other,) = ours["data"], theirs["data"]
    assert list(row) == list(other)
    levels = row["asks"] + row["bids"]
    assert levels
    assert form(levels) == form(other["asks"] + other["bids"])
    assert form(row | {"asks": [], "bids": []}) == form(other | {"asks": [], "bids": []})
    assert (row["checksum"] == 0) is (other["checksum"] == 0) is (action == "snapshot")
    # Amounts have all decimals of their step.
    sizes = [size for _, size in levels if size != "0"]
    assert {len(size.partition(".")[2]) for size in sizes} == {5}


@pytest.mark.parametrize("channel", ["books1", "books15"])
@pytest.mark.parametrize("product", ["SPOT", "USDT-FUTURES"])
async def test_the_best_levels_have_the_recorded_form(product: str, channel: str) -> None:
    theirs, ours = recorded(product, channel, "snapshot"), await made(product, channel, "snapshot")
    assert form(ours) == form(theirs)
    assert ours["data"][0]["checksum"] == theirs["data"][0]["checksum"] == 0
    assert len(ours["data"][0]["asks"]) == int(channel.removeprefix("books"))


async def test_tickers_of_futures_have_the_recorded_form() -> None:
    theirs, ours = recorded("USDT-FUTURES", "ticker", "snapshot"), await made("USDT-FUTURES", "ticker", "snapshot")
    assert form(ours) == form(theirs)
    assert list(ours["data"][0]) == list(theirs["data"][0])


async def test_acknowledgements_have_the_recorded_form() -> None:
    theirs = next(each["message"] for each in samples("bitget") if each["message"].get("event") == "subscribe")
    arg = {"instType": "SPOT", "channel": "trade", "instId": "BTCUSDT"}
    async with simulated(now=NOW) as running, connected(running, "ws.bitget.com/v2/ws/public") as connection:
        await connection.send_json({"op": "subscribe", "args": [arg]})
        ours = await connection.receive_json(timeout=60)
    assert form(ours) == form(theirs)
