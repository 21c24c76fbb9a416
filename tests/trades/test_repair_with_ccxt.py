"""Repairs on venues that want to be asked in their own way, by real ccxt over real HTTP."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from support.feeds import Witness
from tickwire.bus.connection import Bus
from tickwire.exchange.past_trades import PastTrades
from tickwire.settings import StreamerSettings
from tickwire.streamer.subscriptions.live_venue import LiveVenue
from tickwire.venues.profile import TradeFacts
from trades import venue_messages as spoken
from trades.trade_feed import following
from trades.venue_messages import Deal, Spoken, deals, speaking

pytestmark = pytest.mark.actors

PATIENT = StreamerSettings(repair_s=30.0, settle_ms=0)


async def interrupted(
    said: Spoken, seen: Witness, since: int, missing: int, every_ms: int = 20, at_once: int = 1
) -> list[Deal]:
    """Thirty deals live, `missing` while the sockets are cut, ten live again; all of them."""
    await said.server.until(lambda: bool(said.server.heard))
    said.push(deals(0, 30, since, every_ms, at_once))
    await seen.until(lambda: len(seen.trades) == 30)
    subscribed = len(said.server.heard)
    await said.server.cut()
    end = 30 + missing
    said.happened += deals(30, end, since, every_ms, at_once)
    await said.server.until(lambda: len(said.server.heard) > subscribed)
    said.push(deals(end, end + 10, since, every_ms, at_once))
    return said.happened


def whole(said: Spoken, seen: Witness) -> bool:
    """Whether every deal is on the tape, in order."""
    return [each.id for each in seen.trades] == [said.ids(each)[0] for each in said.happened]


def forget_declared(venue: LiveVenue) -> None:
    """As if nothing were known of how it is to be asked."""
    venue.past = PastTrades(venue.rest, TradeFacts(), venue.clock)


CASES = [
    pytest.param(spoken.coinbase, 2_500, True, id="coinbase"),
    pytest.param(spoken.coinbase, 700, False, id="coinbase, nothing declared"),
    pytest.param(spoken.cryptocom, 400, True, id="cryptocom"),
    pytest.param(spoken.cryptocom, 60, False, id="cryptocom, nothing declared"),
    pytest.param(spoken.bitstamp, 300, True, id="bitstamp"),
    pytest.param(spoken.bitstamp, 300, False, id="bitstamp, nothing declared"),
]


@pytest.mark.parametrize(("venue", "missing", "is_declared"), CASES)
async def test_what_an_interruption_missed_is_fetched_as_the_exchange_takes_it(
    bus: Bus, venue: Callable[[], Spoken], missing: int, is_declared: bool
) -> None:
    said = venue()
    since = int(time.time() * 1000) - 120_000
    async with speaking(said, settle_ms=0) as opened:
        if not is_declared:
            forget_declared(opened)
        async with following(bus, opened, said.symbol, PATIENT) as (body, seen):
            await interrupted(said, seen, since, missing)
            await seen.until(lambda: "repaired" in seen.events() and whole(said, seen), 40)
            assert seen.gaps == []
            assert body.context.status.duplicates == 0
            assert body.state == "live"


async def test_a_second_of_more_trades_than_a_page_is_a_gap_from_the_last_trade_on(bus: Bus) -> None:
    """Coinbase's ranges are of whole seconds, its pages have no cursor: the rest of such a second is out of reach."""
    said = spoken.coinbase()
    # The third second has the trades 400 to 599, of which the newest hundred can be had.
    since = int(time.time()) * 1000 - 120_000
    async with speaking(said, settle_ms=0) as opened, following(bus, opened, said.symbol, PATIENT) as (_, seen):
        await interrupted(said, seen, since, 600, 5)
        await seen.until(lambda: "repaired" in seen.events() and seen.trades[-1].id == "639", 60)
        (gap,) = seen.gaps
        before, after = said.happened[29], said.happened[500]
        assert (gap.since, gap.after_id, gap.until, gap.before_id) == (before.at, "29", after.at, "500")
        assert [each.id for each in seen.trades] == [str(n) for n in (*range(30), *range(500, 640))]


def with_uuids(said: Spoken) -> Spoken:
    """The exchange with UUIDs as ids, which fall as texts while the trades go on."""

    def id_of(number: int) -> str:
        return str(uuid.UUID(int=(2**31 - 1 - number) << 97))

    def renamed(answer: Any) -> Any:
        if isinstance(answer, web.Response):
            return answer
        pattern = re.compile(r'"trade_id": "(\d+)"')
        return json.loads(pattern.sub(lambda found: f'"trade_id": "{id_of(int(found[1]))}"', json.dumps(answer)))

    return replace(
        said,
        frame=lambda deal: renamed(said.frame(deal)),
        page=lambda happened, query: renamed(said.page(happened, query)),
        ids=lambda deal: (id_of(deal.number), id_of(deal.number)),
    )


async def test_repaired_trades_of_one_millisecond_are_on_the_tape_in_the_venue_s_order(bus: Bus) -> None:
    said = with_uuids(spoken.coinbase())
    since = int(time.time() * 1000) - 120_000
    async with speaking(said, settle_ms=0) as opened, following(bus, opened, said.symbol, PATIENT) as (_, seen):
        await interrupted(said, seen, since, 250, every_ms=80, at_once=4)
        await seen.until(lambda: "repaired" in seen.events() and len(seen.trades) == 290, 40)
        assert whole(said, seen)
        assert seen.gaps == []


async def test_without_rest_one_warning_is_logged_and_each_interruption_is_a_gap_at_once(bus: Bus) -> None:
    said = spoken.hyperliquid()
    async with speaking(said, settle_ms=0) as opened, following(bus, opened, said.symbol, PATIENT) as (body, seen):
        await said.server.until(lambda: bool(said.server.heard))
        for number in range(3):
            since = int(time.time() * 1000) - 100 * number
            said.push(deals(100 * number, 100 * number + 10, since, 1))
            await seen.until(lambda number=number: len(seen.trades) == 10 * number + 10)  # type: ignore[misc]
            subscribed = len(said.server.heard)
            await said.server.cut()
            await said.server.until(lambda subscribed=subscribed: len(said.server.heard) > subscribed)  # type: ignore[misc]
            # Though nothing has happened since then.
            await seen.until(lambda number=number: seen.events().count("repaired") == number + 1)  # type: ignore[misc]
            assert len(seen.gaps) == number + 1
            assert body.state == "live"
        assert [each.id for each in seen.trades] == [str(100 * r + n) for r in range(3) for n in range(10)]
        assert seen.events().count("limited") == 1
        times = {each.id: each.timestamp for each in seen.trades}
        for last, gap in zip(("9", "109", "209"), seen.gaps, strict=True):
            # Without an id where the tape was complete beyond the last trade before the interruption.
            assert gap.after_id == last or (gap.after_id is None and (gap.since or 0) > times[last])
            assert "has no past trades" in gap.reason
            assert gap.since is not None
            assert gap.until is not None
            assert gap.since < gap.until
    assert [query["type"] for path, query in said.server.asked if path.endswith("/info")].count(
        "exchangeStatus"
    ) == len(said.asked())


async def test_past_trades_that_a_subscription_begins_with_bound_the_gap(bus: Bus) -> None:
    said, patient = spoken.hyperliquid(), StreamerSettings(repair_s=30.0, settle_ms=5_000)
    async with speaking(said) as opened, following(bus, opened, said.symbol, patient) as (body, seen):
        await seen.until(lambda: body.state == "live")
        first = deals(0, 10, int(time.time() * 1000), 1)
        said.push(first)
        await seen.until(lambda: len(seen.trades) == 10)
        await said.server.cut()
        # The subscription is acknowledged before they come.
        await seen.until(lambda: seen.events().count("connected") == 2)
        past = deals(20, 30, first[0].at, 1)
        said.push(first[5:] + past)
        await seen.until(lambda: len(seen.trades) == 20)
        # The trades may come before the report of the state.
        await seen.until(lambda: body.state == "live")
    assert [each.id for each in seen.trades] == [str(number) for number in (*range(10), *range(20, 30))]
    assert [(each.after_id, each.since, each.until) for each in seen.gaps] == [("9", first[9].at, past[0].at)]


@pytest.mark.parametrize("venue", [spoken.coinbase, spoken.bybit, spoken.htx])
async def test_three_thousand_trades_in_one_write_are_on_the_tape_in_order(
    bus: Bus, venue: Callable[[], Spoken]
) -> None:
    said = venue()
    since = int(time.time() * 1000) - 120_000
    async with speaking(said, settle_ms=0) as opened, following(bus, opened, said.symbol, PATIENT) as (body, seen):
        await said.server.until(lambda: bool(said.server.heard))
        said.push(deals(0, 3_000, since, 5))
        await seen.until(lambda: len(seen.trades) >= 3_000)
        assert whole(said, seen)
        assert seen.gaps == []
        assert body.context.status.rejected == 0
