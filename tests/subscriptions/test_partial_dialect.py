"""A dialect that decodes only some kinds of feeds: ccxt reads the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from support.processes import SimulatorProcess
from support.venues import BTC, Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.streamer.control.feed_venue import BookView
from tickwire.streamer.subscriptions import frame_router
from tickwire.venues import registry
from tickwire.venues.profile import BookFacts

pytestmark = pytest.mark.actors

RATE = 800
"""Trades of each symbol a second."""


async def test_where_a_dialect_decodes_trades_alone_ccxt_keeps_the_book(
    exchange: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a venue where ccxt requests the snapshot itself once the book is subscribed (binance, gate, kucoin)."""
    full, profile = registry.dialect_of("binance"), registry.profile_of("binance")

    def decode(text: str) -> Any:
        found = None if full.decode is None else full.decode(text)
        return None if found and found[0].kind == "book" else found

    monkeypatch.setattr(frame_router, "dialect_of", lambda exchange: dataclasses.replace(full, decode=decode))
    bare = msgspec.structs.replace(profile, book=BookFacts())
    monkeypatch.setattr(frame_router, "profile_of", lambda exchange: bare)
    memory, trades = Memory(), Memory()
    async with venue_at(exchange.url) as venue, venue.watching(BTC, trades):
        assert not venue.has_diffs
        async with venue.watching(Feed("book", "binance", "BTC/USDT"), memory):
            views = await memory.get(5)
        await trades.get(1)
    assert all(isinstance(view, BookView) for view in views)
    assert len(views[-1].bids) > 100
