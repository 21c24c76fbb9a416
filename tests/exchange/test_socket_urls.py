"""URLs of sockets with a token that expires: ccxt asks for a new one for each socket, and its delays are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.pro
import pytest
from aiohttp import web
from ccxt.base import errors

from support.web import exchange_at, served
from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches.observed_exchange import LONGEST_REDIAL_S, observed

pytestmark = pytest.mark.pure


@asynccontextmanager
async def kucoin(kind: Any = observed) -> AsyncIterator[tuple[Any, list[str]]]:
    """An exchange, and the tokens that it got so far."""
    tokens: list[str] = []

    async def bullet(request: web.Request) -> web.Response:
        tokens.append(f"token{len(tokens) + 1}")
        server = {"endpoint": "ws://127.0.0.1:9/endpoint", "pingInterval": 18_000, "pingTimeout": 10_000}
        data = {"token": tokens[-1], "instanceServers": [server]}
        return web.json_response({"code": "200000", "data": data})

    async with (
        served(bullet) as url,
        opening.open_exchange("kucoin", exchange_at(url), pro=True, extended=kind) as opened,
    ):
        exchange: Any = opened
        exchange.open()
        yield exchange, tokens


async def negotiated(exchange: Any) -> Any:
    """The socket for public data of spot markets, never opened."""
    return exchange.client(await exchange.negotiate(False))


def fail(exchange: Any, client: Any) -> None:
    """The connection of a socket is refused."""
    client.dial_failed, client.error = True, errors.NetworkError("refused")
    exchange.on_error(client, client.error)


def close(exchange: Any, client: Any) -> None:
    """The venue closes a socket."""
    exchange.on_close(client, 1001)


def break_(exchange: Any, client: Any) -> None:
    """A socket breaks."""
    client.error = errors.NetworkError("reset")
    exchange.on_error(client, client.error)


@pytest.mark.parametrize("lose", [fail, close, break_])
async def test_a_further_socket_of_a_url_that_is_lost_has_a_new_token_too(lose: Any) -> None:
    async with kucoin() as (exchange, _):
        first = await negotiated(exchange)
        further = exchange.client(f"{first.url}#2")
        lose(exchange, further)
        assert "token=token2&" in (await negotiated(exchange)).url


@pytest.mark.parametrize("lose", [fail, close, break_])
async def test_a_socket_after_a_lost_one_has_a_new_token(lose: Any) -> None:
    async with kucoin() as (exchange, tokens):
        first = await negotiated(exchange)
        assert (await negotiated(exchange)) is first
        lose(exchange, first)
        second = await negotiated(exchange)
        assert ("token=token1&" in first.url, "token=token2&" in second.url) == (True, True)
        # What becomes of the old socket is nothing to the new one.
        lose(exchange, first)
        assert (await negotiated(exchange)) is second
        assert len(tokens) == 2


async def test_ccxt_by_itself_keeps_the_first_url() -> None:
    async with kucoin(lambda kind: kind) as (exchange, tokens):
        first = await negotiated(exchange)
        close(exchange, first)
        assert (await negotiated(exchange)).url == first.url
        assert len(tokens) == 1


async def test_refused_connections_are_delayed_by_address_though_each_has_its_own_url() -> None:
    async with kucoin() as (exchange, _):
        for _ in range(10):
            fail(exchange, await negotiated(exchange))
        last = await negotiated(exchange)
        assert LONGEST_REDIAL_S / 2 < exchange.ws_dial_delay(last.url) <= LONGEST_REDIAL_S
        assert len(exchange.ws_dial_backoff) == 1
        last.last_retry_after = 60.0
        fail(exchange, last)
        last = await negotiated(exchange)
        assert 50 < exchange.ws_dial_delay(last.url) <= 60
        exchange.on_connected(last)
        assert exchange.ws_dial_delay(last.url) == 0
        assert exchange.ws_dial_backoff == {}


async def test_sockets_of_a_venue_without_tokens_are_delayed_by_url() -> None:
    exchange = observed(ccxt.pro.binance)()
    for _ in range(10):
        fail(exchange, exchange.client("ws://127.0.0.1:9/stream?a"))
    assert exchange.ws_dial_delay("ws://127.0.0.1:9/stream?b") == 0
    assert exchange.ws_dial_delay("ws://127.0.0.1:9/stream?a") > 0
    await exchange.close()
