"""The simulator as Crypto.com: unmodified ccxt against it, its quirks and its limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ccxt.base.errors import BadRequest, RateLimitExceeded

from simulator.asking import connected, get
from support.simulated import client, simulated
from tickwire.simulator.venues.cryptocom import VENUE
from tickwire.venues.cryptocom import PROFILE

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000
REST, SOCKET = "api.crypto.com/exchange/v1/public", "stream.crypto.com/exchange/v1/market"
SPOT, PERPETUAL = "BTC/USDT", "BTC/USD:USD"


async def test_ccxt_loads_its_markets_and_reads_every_public_endpoint() -> None:
    async with simulated(now=NOW) as running, client(running.url, "cryptocom") as venue:
        found = (await venue.load_markets())[SPOT]
        assert (found["id"], found["precision"]) == ("BTC_USDT", {"price": 0.01, "amount": 0.00001})
        perpetual = venue.market(PERPETUAL)
        assert (perpetual["id"], perpetual["linear"], perpetual["contractSize"]) == ("BTCUSD-PERP", True, 1)
        for symbol in (SPOT, PERPETUAL):
            book = await venue.fetch_order_book(symbol, 20)
            assert (len(book["bids"]), len(book["asks"]), book["timestamp"]) == (20, 20, NOW // 100 * 100)
            ticker = await venue.fetch_ticker(symbol)
            assert 0 < ticker["bid"] < ticker["ask"]
            trades = await venue.fetch_trades(symbol, limit=150)
            times = [each["timestamp"] for each in trades]
            assert (len(times), times) == (150, sorted(times))
            since = NOW // MINUTE * MINUTE - 30 * MINUTE
            opens = [row[0] for row in await venue.fetch_ohlcv(symbol, "1m", since, 10)]
            # Exactly the window from `since` on; this market trades in each minute.
            assert opens == [since + place * MINUTE for place in range(10)]


async def test_trades_of_one_order_have_one_id() -> None:
    async with simulated(now=NOW) as running:
        answer = await get(running, f"{REST}/get-trades", instrument_name="BTC_USDT", count=150)
    rows = answer["result"]["data"]
    assert [row["t"] for row in rows] == sorted((row["t"] for row in rows), reverse=True)
    by_order: dict[str, set[tuple[int, str]]] = {}
    for row in rows:
        by_order.setdefault(row["d"], set()).add((row["t"], row["s"]))
    assert len(by_order) < len(rows)
    assert all(len(each) == 1 for each in by_order.values())


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("get-trades", {"instrument_name": "BTC_USDT", "count": 151}, 40003),
        ("get-candlestick", {"instrument_name": "BTC_USDT", "timeframe": "3m"}, 40003),
        ("get-candlestick", {"instrument_name": "BTC_USDT", "timeframe": "1m", "count": 301}, 40003),
        ("get-book", {"instrument_name": "NO_SUCH"}, 40004),
    ],
)
async def test_what_the_venue_does_not_take_is_refused(method: str, query: dict[str, Any], code: int) -> None:
    async with simulated(now=NOW) as running, client(running.url, "cryptocom") as venue:
        assert (await get(running, f"{REST}/{method}", **query))["code"] == code
        with pytest.raises(BadRequest):
            await getattr(venue, f"v1_public_get_public_{method.replace('-', '_')}")(query)


async def test_requests_above_the_limit_are_refused() -> None:
    async with simulated(now=NOW, weight_limit=2) as running, client(running.url, "cryptocom") as venue:
        await venue.load_markets()
        await venue.fetch_trades(SPOT)
        with pytest.raises(RateLimitExceeded):
            await venue.fetch_trades(SPOT)


async def test_ccxt_watches_and_unwatches_every_kind_of_feed() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50, limits=True) as running,
        client(running.url, "cryptocom", pro=True, newUpdates=True) as venue,
    ):
        await venue.load_markets()
        for symbol in (SPOT, PERPETUAL):
            for kind, more in (("trades", ()), ("order_book", ()), ("ticker", ()), ("ohlcv", ("1m",))):
                async with asyncio.timeout(60):
                    assert await getattr(venue, f"watch_{kind}")(symbol, *more)
        for symbol in (SPOT, PERPETUAL):
            for kind, more in (("trades", ()), ("order_book", ()), ("ticker", ()), ("ohlcv", ("1m",))):
                async with asyncio.timeout(60):
                    await getattr(venue, f"un_watch_{kind}")(symbol, *more)


async def test_a_channel_that_does_not_exist_refuses_the_request() -> None:
    async with simulated(now=NOW, speed=1) as running, connected(running, SOCKET) as connection:
        for channel in ("trade.NO_SUCH", "book.BTC_USDT.25", "candlestick.3m.BTC_USDT"):
            await connection.send_json(
                {"id": 7, "method": "subscribe", "params": {"channels": ["trade.BTC_USDT", channel]}}
            )
            answer = await connection.receive_json(timeout=60)
            named = f'invalid channel {{"channels":["{channel}"]}}'
            assert answer == {"id": 7, "code": 10004, "method": "subscribe", "message": named}


async def test_a_socket_stays_only_while_its_heartbeats_are_answered() -> None:
    rules = {"cryptocom": {"idle_s": 0.5}}
    async with simulated(now=NOW, speed=100, rules=rules) as running, connected(running, SOCKET) as connection:
        beats = 0
        async with asyncio.timeout(60):
            while beats < 5:
                beat = await connection.receive_json()
                assert (beat["method"], beat["code"]) == ("public/heartbeat", 0)
                await connection.send_json({"id": beat["id"], "method": "public/respond-heartbeat"})
                beats += 1
            # Unanswered from now on.
            while not (await connection.receive()).type.name.startswith("CLOS"):
                pass


def test_what_is_sent_on_a_socket_is_within_the_limits_that_are_simulated() -> None:
    limits = (VENUE.rules.subscriptions, VENUE.rules.messages)
    assert (PROFILE.sockets.subscriptions, PROFILE.sockets.messages_per_s) == limits


async def test_a_socket_has_no_more_subscriptions_than_the_venue_allows() -> None:
    rules = {"cryptocom": {"subscriptions": 2}}
    async with simulated(now=NOW, speed=1, rules=rules) as running, connected(running, SOCKET) as connection:
        codes = []
        for channel in ("book.BTC_USDT.10", "book.ETH_USDT.10", "book.SOL_USDT.10"):
            await connection.send_json({"id": 7, "method": "subscribe", "params": {"channels": [channel]}})
            while (answer := await connection.receive_json(timeout=60))["id"] != 7:
                pass
            codes.append(answer["code"])
        assert codes == [0, 0, 40107]
