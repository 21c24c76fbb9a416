"""What the simulator sends as Hyperliquid has the form of the recorded messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.asking import form
from support.simulated import simulated
from venues.hyperliquid.simulated_messages import BTC, NOW, info, received, socket, subscribe

pytestmark = pytest.mark.actors


async def made(**fields: str) -> Any:
    """The simulator's first message of a subscription."""
    async with simulated(now=NOW, **BTC) as running, socket(running) as connection:
        await subscribe(connection, **fields)
        await received(connection, "subscriptionResponse")
        return await connection.receive_json(timeout=60)


@pytest.mark.parametrize(
    ("channel", "fields"),
    [
        ("trades", {"type": "trades", "coin": "BTC"}),
        ("l2Book", {"type": "l2Book", "coin": "BTC"}),
        ("bbo", {"type": "bbo", "coin": "BTC"}),
        ("activeAssetCtx", {"type": "activeAssetCtx", "coin": "BTC"}),
        ("activeSpotAssetCtx", {"type": "activeAssetCtx", "coin": "@0"}),
    ],
)
async def test_messages_have_the_recorded_form(recorded: Path, channel: str, fields: dict[str, str]) -> None:
    lines = (recorded / "venues" / "hyperliquid" / "ws_samples.jsonl").read_text().splitlines()
    messages = [message for line in lines if (message := json.loads(line)["message"])["channel"] == channel]
    # The last one is of a market with a book.
    theirs, ours = form(messages[-1]), form(await made(**fields))
    # Fields that were added later than the recording.
    for name in ("users", "dayBaseVlm"):
        for part in (ours["data"][0],) if channel == "trades" else (ours["data"], ours["data"].get("ctx", {})):
            part.pop(name, None)
    assert ours == theirs
    assert json.dumps(ours) == json.dumps(theirs)


async def test_later_fields_and_answers_have_the_recorded_form(recorded: Path) -> None:
    folder = recorded / "venues" / "hyperliquid"
    contexts = json.loads((folder / "ws_all_dexs_asset_ctxs.json").read_text())["data"]["ctxs"][0][1]
    context = (await made(type="activeAssetCtx", coin="BTC"))["data"]["ctx"]
    assert form(context) == form(contexts[0])
    mids = form(await made(type="allMids"))
    assert mids["data"]["mids"].popitem()[1] == "number"
    assert set(mids) == set(json.loads((folder / "ws_allmids.json").read_text()))
    async with simulated(now=NOW, **BTC) as running:
        answers = {kind: (await info(running, kind, coin="BTC"))[1] for kind in ("recentTrades", "l2Book")}
        meta, tokens = (await info(running, "meta"))[1], (await info(running, "spotMeta"))[1]["tokens"]
    theirs = json.loads((folder / "http_recent_trades_btc.json").read_text())
    assert form(answers["recentTrades"]) == form(theirs)
    theirs = json.loads((folder / "http_l2_book_btc.json").read_text())
    assert {*theirs} == {*answers["l2Book"]}
    assert {*theirs["levels"][0][0]} <= {*answers["l2Book"]["levels"][0][0]}
    theirs = json.loads((folder / "http_meta_perp_sample.json").read_text())["universe"][0]
    ours = form(meta["universe"][0])
    assert {name: value for name, value in form(theirs).items() if name in ours} == {
        name: ours[name] for name in ("maxLeverage", "name", "szDecimals")
    }
    theirs = json.loads((folder / "http_spot_meta_non_usdc_collateral.json").read_text())["tokens"][0]
    assert form(theirs).items() <= form(tokens[0]).items()


def texts(value: Any) -> list[str]:
    """The texts that are numbers."""
    if isinstance(value, dict):
        return [each for part in value.values() for each in texts(part)]
    if isinstance(value, list):
        return [each for part in value for each in texts(part)]
    return [value] if form(value) == "number" else []


async def test_numbers_are_written_as_recorded_with_a_point_and_no_zeros_at_their_end(recorded: Path) -> None:
    lines = (recorded / "venues" / "hyperliquid" / "ws_samples.jsonl").read_text().splitlines()
    theirs = [each for line in lines for each in texts(json.loads(line))]
    ours = [
        each
        for kind in ("trades", "l2Book", "bbo", "activeAssetCtx")
        for each in texts(await made(type=kind, coin="BTC"))
    ]
    for each in (*theirs, *ours):
        whole, point, digits = each.partition(".")
        assert whole
        assert point
        assert digits == "0" or not digits.endswith("0"), each
