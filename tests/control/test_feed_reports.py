"""Reports of feeds: each as its owner has it, from whichever instance."""

from __future__ import annotations

import pytest
from nats.aio.msg import Msg

from support import live
from support.hearing import hearing, reports
from support.processes import SimulatorProcess
from support.serving import serving
from support.venues import settings
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, Trades
from tickwire.streamer.service import serve_streamer

pytestmark = pytest.mark.actors

TRADE = Feed("trade", "binance", "BTC/USDT")


async def test_an_instance_reads_its_own_feeds_without_a_request(bus: Bus, simulator: SimulatorProcess) -> None:
    requests: list[str] = []

    async def note(message: Msg) -> None:
        requests.append(message.subject)

    async with serving(bus, serve_streamer, settings(simulator.url)), hearing(bus, TRADE.public, Trades) as trades:
        await bus.subscribe("streamer.reports.>", note)
        await live.start(bus, TRADE, "one")
        await trades.until_said(lambda said: any(each.trades for each in said))
        report = await live.start(bus, TRADE, "two")
        assert (report.state, report.owner, report.subscribers) == ("live", "one", 2)
        assert [each.feed for each in await reports(bus)] == [TRADE]
        assert requests == []
