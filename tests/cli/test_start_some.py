"""`tickwire start` of several feeds, when the streamer ends meanwhile."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext

import pytest

from tickwire.cli.arguments import FeedNames
from tickwire.cli.feeds import interests
from tickwire.client import interest
from tickwire.errors import NoSuchService
from tickwire.model.feeds import FeedReport, StartRequest

pytestmark = pytest.mark.pure


async def test_started_feeds_are_printed_though_the_streamer_ends_before_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def start(bus: object, request: StartRequest) -> FeedReport:
        if request.symbol == "ETH/USDT":
            raise NoSuchService("no streamer is running")
        await asyncio.sleep(0)
        return FeedReport(kind="trade", exchange="binance", symbol=request.symbol, state="live", subscribers=1)

    monkeypatch.setattr(interest, "start", start)
    monkeypatch.setattr(interests, "settings_of", lambda config: None)
    monkeypatch.setattr(interests, "connected", lambda settings, stop: nullcontext())
    options = interests.StartOptions(FeedNames("trade", "binance", "BTC/USDT,ETH/USDT", None), "cli")
    code = await interests.start(asyncio.Event(), None, options, json=True)
    printed = capsys.readouterr()
    assert [each["symbol"] for each in json.loads(printed.out)] == ["BTC/USDT"]
    assert "no streamer is running" in printed.err
    assert code == 1
