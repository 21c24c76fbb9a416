"""Trades of venues that give one trade two ids, from real sockets and real REST through ccxt onto a real tape."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tickwire.bus.connection import Bus
from trades import venue_messages as spoken
from trades.trade_feed import following
from trades.venue_messages import Spoken, deals, speaking

pytestmark = pytest.mark.actors


@pytest.mark.parametrize("venue", [spoken.htx, spoken.bybit])
async def test_after_a_disconnection_each_trade_is_on_the_tape_once_whatever_ids_it_has(
    bus: Bus, venue: Callable[[], Spoken]
) -> None:
    said = venue()
    since = int(time.time() * 1000) - 60_000
    async with speaking(said, settle_ms=0) as opened, following(bus, opened, said.symbol) as (body, seen):
        await said.server.until(lambda: bool(said.server.heard))
        said.push(deals(0, 30, since))
        await seen.until(lambda: len(seen.trades) == 30)
        subscribed = len(said.server.heard)
        await said.server.cut()
        said.happened += deals(30, 60, since)
        await said.server.until(lambda: len(said.server.heard) > subscribed)
        said.push(deals(60, 70, since))
        await seen.until(lambda: "repaired" in seen.events())
        said.push(deals(70, 80, since))
        await seen.until(lambda: bool(seen.trades) and seen.trades[-1].timestamp == said.happened[79].at)
        assert [(each.timestamp, each.price, each.amount) for each in seen.trades] == [
            each[1:] for each in said.happened
        ]
        assert seen.gaps == []
        ids = [said.ids(each) for each in said.happened]
        assert all(trade.id in both for trade, both in zip(seen.trades, ids, strict=True)), "to the last digit"
        assert {trade.id for trade in seen.trades[:30]} == {live for live, _ in ids[:30]}
        assert body.context.status.rejected == 0
