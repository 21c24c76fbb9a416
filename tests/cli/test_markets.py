"""`tickwire markets`, by the fetcher of a running `tickwire up`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.commands import up
from support.processes import SimulatorProcess

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


async def test_markets_are_found_by_words_and_misspelt_ones_are_suggested(
    tmp_path: Path, exchange: SimulatorProcess
) -> None:
    async with up(tmp_path, exchange) as command:
        found = await command.run("markets", "binance", "usdt", "btc", "--json")
        assert found.code == 0, found.err
        (market,) = json.loads(found.out)["markets"]
        assert (market["symbol"], market["kind"], market["market_id"]) == ("BTC/USDT", "spot", "BTCUSDT")
        shown = await command.run("markets", "binance", "--limit", "1")
        assert (shown.code, shown.out.count("/USDT")) == (0, 1), shown.out
        assert "more; add a word, or --limit" in shown.err
        wrong = await command.run("markets", "binance", "BCT/USDT")
        assert (wrong.code, wrong.out) == (1, "")
        assert "binance lists no market like 'BCT/USDT'; did you mean BTC/USDT" in wrong.err
        unknown = await command.run("markets", "binanc")
        assert unknown.code == 1
        assert "did you mean binance?" in unknown.err
