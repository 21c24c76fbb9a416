"""Limits of sockets: lifetime, silence, subscriptions, messages, bans; by the configuration and by orders."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from simulator.asking import connected, post
from support.simulated import client, simulated
from tickwire.errors import BadRequest, ConfigError
from tickwire.simulator.directory import discovered
from tickwire.simulator.rules import Rules, RulesInForce
from tickwire.simulator.server import Simulator
from tickwire.simulator.tokens import Tokens

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
URLS = {
    "binance": "stream.binance.com:9443/ws",
    "okx": "ws.okx.com:8443/ws/v5/public",
    "bybit": "stream.bybit.com/v5/public/linear",
}
SUBSCRIBE: dict[str, list[dict[str, Any]]] = {
    "binance": [{"method": "SUBSCRIBE", "params": [f"{name}usdt@trade"], "id": 1} for name in ("btc", "eth", "sol")],
    "okx": [
        {"op": "subscribe", "args": [{"channel": "trades", "instId": f"{name}-USDT"}]} for name in ("BTC", "ETH", "SOL")
    ],
    "bybit": [{"op": "subscribe", "args": [f"publicTrade.{name}USDT"]} for name in ("BTC", "ETH", "SOL")],
}


def socket(running: Simulator, venue: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, URLS[venue])


async def rule(running: Simulator, venue: str | None = None, *, status: int = 200, **rules: Any) -> Any:
    venues = {} if venue is None else {"venues": [venue]}
    return await post(running, "rules", status=status, rules=rules, **venues)


async def closed(connection: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code with which the server closes."""
    async with asyncio.timeout(60):
        while (await connection.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            pass
    return connection.close_code


@pytest.mark.parametrize("venue", URLS)
async def test_a_socket_ends_at_the_age_that_was_set_for_its_venue_alone(venue: str) -> None:
    other = "okx" if venue != "okx" else "bybit"
    async with (
        simulated(now=NOW, rules={venue: {"lifetime_s": 0.3}}) as running,
        socket(running, other) as stays,
        socket(running, venue) as ends,
    ):
        assert await closed(ends) == 1001
        await stays.send_json(SUBSCRIBE[other][0])
        await stays.receive_json(timeout=60)


async def test_an_order_ends_sockets_that_are_older_than_it_allows() -> None:
    async with simulated(now=NOW) as running, socket(running, "bybit") as connection:
        await connection.send_json({"op": "ping"})
        await connection.receive_json(timeout=60)
        rules = await rule(running, "bybit", lifetime_s=0)
        assert (rules["bybit"]["lifetime_s"], rules["okx"]["lifetime_s"]) == (0, None)
        assert await closed(connection) == 1001


async def test_a_socket_whose_client_is_silent_ends() -> None:
    async with (
        simulated(now=NOW, rules={"okx": {"idle_s": 1.5}}) as running,
        socket(running, "okx") as silent,
        socket(running, "okx") as speaks,
    ):
        ended = asyncio.ensure_future(closed(silent))
        while not ended.done():
            await speaks.send_str("ping")
            assert await speaks.receive_str(timeout=60) == "pong"
            await asyncio.sleep(0.05)
        assert await ended == 1001


@pytest.mark.parametrize("venue", URLS)
async def test_subscriptions_above_the_limit_of_a_socket_are_refused(venue: str) -> None:
    async with simulated(now=NOW, rules={venue: {"subscriptions": 2}}) as running, socket(running, venue) as connection:
        answers = []
        for sent in SUBSCRIBE[venue]:
            await connection.send_json(sent)
            answers.append(await connection.receive_json(timeout=60))
        async with aiohttp.ClientSession() as http, http.get(f"{running.url}/_sim/sockets") as response:
            ((listed,),) = [await response.json()]
    assert len(listed["streams"]) == 2
    refusals = [{"error", "retCode"} & {*each} or each.get("success") is False or each.get("event") == "error"
                for each in answers]  # fmt: skip
    assert [bool(each) for each in refusals] == [False, False, True]


async def test_more_messages_than_are_allowed_end_the_socket_and_ban_the_client() -> None:
    async with simulated(now=NOW, limits=True) as running:
        await rule(running, "binance", messages_s=3_600, ban_s=3_600)
        async with socket(running, "binance") as connection:
            for sent in SUBSCRIBE["binance"] * 2:
                await connection.send_json(sent)
            assert await closed(connection) == 1008
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with socket(running, "binance"):
                pass
        assert refused.value.status == 403
        async with aiohttp.ClientSession() as http, http.get(f"{running.url}/api.binance.com/api/v3/time") as response:
            assert (response.status, (await response.json())["code"]) == (429, -1003)
        async with socket(running, "okx"):
            pass


async def test_ccxt_subscribes_again_after_the_lifetime_of_its_socket() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, "bybit", pro=True) as venue:
        async with asyncio.timeout(100):
            await venue.watch_trades("BTC/USDT")
            await rule(running, lifetime_s=1)
            with pytest.raises(Exception, match=r"closed|1001"):
                while True:
                    await venue.watch_trades("BTC/USDT")
            await rule(running, lifetime_s=None)
            assert await venue.watch_trades("BTC/USDT")


async def test_rules_that_cannot_be_are_refused() -> None:
    async with simulated(now=NOW) as running:
        await rule(running, "nowhere", status=400, lifetime_s=1)
        await rule(running, "okx", status=400, lifetime=1)
        await rule(running, "okx", status=400, lifetime_s=-1)
    with pytest.raises(ConfigError, match="nowhere"):
        async with simulated(now=NOW, rules={"nowhere": {"lifetime_s": 1}}):
            pass


def test_documented_limits_are_in_force_only_when_they_are_asked_for() -> None:
    declared = {venue.name: venue.rules for venue in discovered()}
    assert declared["binance"].messages == 5
    assert RulesInForce(declared, {}, enforced=True).of("binance") == declared["binance"]
    assert RulesInForce(declared, {}, enforced=False).of("binance") == Rules(token_s=declared["binance"].token_s)
    with pytest.raises(BadRequest):
        Rules().changed({"subscriptions": "many"})


def test_a_token_is_valid_for_its_lifetime_and_where_it_was_issued() -> None:
    tokens = Tokens()
    token = tokens.issue()
    assert tokens.valid(token, 60)
    assert not tokens.valid(token, 0)
    assert not tokens.valid("made up", 60)
    assert not Tokens().valid(token, 60)
