"""`tickwire watch candle` on a terminal: history that nobody had fetched, and what stays on the terminal afterwards."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from cli.terminal import on_terminal
from support.commands import Command

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

KEY = ("binance", "ETH/USDT", "5m")
OTHER_SCREEN, BACK = "\x1b[?1049h", "\x1b[?1049l"


def drawn(frame: str) -> int:
    """How many candles a frame shows, at least."""
    return max(len(re.findall("[█│]", line)) for line in frame.splitlines() or [""])


async def test_a_chart_begins_with_history_and_leaves_one_frame_behind(running: Command) -> None:
    listed = json.loads((await running.run("candles", "list", "--json")).out)
    assert not any(each["symbol"] == KEY[1] and each["timeframe"] == KEY[2] for each in listed["keys"])

    def has_history(text: str) -> bool:
        return drawn(text.rpartition("\x1b[H")[2]) > 15

    screen = await asyncio.to_thread(on_terminal, running.env, "watch", "candle", *KEY, enough=has_history)
    assert screen.code == 130, screen.text
    before, _, rest = screen.text.partition(OTHER_SCREEN)
    assert before.strip() == ""
    _, back, left = rest.partition(BACK)
    assert back
    assert left.count("candle binance ETH/USDT 5m") == 2, "the title, and the summary"
    assert drawn(left) > 15
    assert "Ctrl-C ends" not in left
    (found,) = json.loads((await running.run("candles", "list", *KEY, "--json")).out)["keys"]
    assert found["rows"] >= 95


async def test_cached_candles_are_drawn_in_the_terminal(running: Command) -> None:
    key = (*KEY[:2], "15m")
    assert (await running.run("candles", "fetch", *key, "--since", "6h")).code == 0
    missing = await running.run("candles", "chart", *key, "--since", "3d")
    assert missing.code == 3
    assert "missing" in missing.err
    shown = await running.run("candles", "chart", *key, "--last", "50", "--fetch")
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[0].strip() == "binance ETH/USDT 15m"
    assert "█" in shown.out
