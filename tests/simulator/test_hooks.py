"""What a venue in one file can declare: bodies, tokens, greetings, acknowledgements, text pings, errors, ids, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest

from tickwire.simulator.answers import Answer, Refused
from tickwire.simulator.config import checked
from tickwire.simulator.faults import Fault
from tickwire.simulator.market.cursors import every
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.market.rows import newest, trade_rows
from tickwire.simulator.rules import Rules
from tickwire.simulator.server import Simulator, simulator
from tickwire.simulator.sockets.dialect import Dialect, Stream, Subscriptions, decoded
from tickwire.simulator.sockets.orders import Forms, Order, Topic, carry_out
from tickwire.simulator.sockets.socket import Socket
from tickwire.simulator.venue import Request, Sockets, Usage, Venue

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500


def info(request: Request) -> Answer:
    """POST info: the body says what is asked for; times are whole seconds."""
    if request.body != {"type": "trades", "coin": "BTC"}:
        raise Refused("bad", f"no such request: {request.body}", status=422)
    found = request.exchange.instruments["BTCUSDT"]
    assert found.history is not None
    trades = newest(found.history.by_id, 1, found.history.id_at(request.now + 1), 5, request.holes(found))
    return Answer(
        trade_rows(found, trades), lambda rows: [{"px": row.price, "t": row.timestamp // 1000} for row in rows]
    )


def token(request: Request) -> Answer:
    """POST token: where the socket is, and a token for it."""
    endpoint = request.origin.replace("http", "ws") + "/ws.made.test/"
    return Answer({"token": request.tokens.issue(), "endpoint": endpoint})


class Made(Dialect):
    """Greets, pings by text, acknowledges each topic where the socket's URL says so, and numbers its frames."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def stream(self, name: str) -> Stream | None:
        if name not in ("ticks", "tocks"):
            return None
        return Stream(every(1_000, self._exchange.clock.now(), lambda at: {name: at}), lambda now: [{"first": name}])

    def opened(self, socket: Socket, query: Mapping[str, str], subscriptions: Subscriptions) -> list[bytes]:
        socket.state |= {"number": 0, "acknowledges": query.get("acknowledge", "none")}
        return [b'{"type":"welcome"}']

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        socket.state["number"] += 1
        return b'{"n":%d,"data":%b}' % (socket.state["number"], payload)

    def error(self, fault: Fault) -> bytes:
        return b'{"type":"error"}'

    def excess(self, socket: Socket) -> bytes | None:
        return b'{"type":"too many"}'

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        if text == "ping":
            return [b"pong"]
        message = decoded(text)
        order = Order(message["type"] == "subscribe", [Topic(name) for name in message["topics"]], message)
        silent = socket.state["acknowledges"] == "silent"
        forms = Forms(
            refused=lambda order, topic: None if silent else {"refused": topic.name},
            full=lambda order, topic: {"full": topic.name},
            per_topic=(lambda order, topic: {"topic": topic.name}) if socket.state["acknowledges"] == "topic" else None,
            per_request=(lambda order: {"id": order.message["id"]})
            if socket.state["acknowledges"] == "request" or silent
            else None,
        )
        return carry_out(self, socket, order, subscriptions, forms)


def headers(usage: Usage) -> dict[str, str]:
    return {"X-Used": str(usage.used)}


VENUE = Venue(
    name="made",
    exchanges=(),
    hosts=("*.made.test",),
    endpoints={"POST info": info, "POST token": token, "GET markets/{id}": lambda request: Answer(request.query)},
    error=lambda refused, now: {"error": refused.message, "code": refused.code, "at": now},
    too_many_requests=lambda limit: Refused("slow", "slower", status=429),
    usage_headers=headers,
    sockets=(Sockets("all", ("ws.made.test/",), Made, token="token"), Sockets("open", ("feed.made.test/",), Made)),
    rules=Rules(token_s=3_600),
)


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Simulator, aiohttp.ClientSession]]:
    config = checked({"symbols": ["BTC/USDT"], "now": NOW, **settings})
    async with simulator(config, [VENUE]) as made, aiohttp.ClientSession() as http:
        yield made, http


@asynccontextmanager
async def connected(
    made: Simulator, http: aiohttp.ClientSession, **query: str
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with http.post(f"{made.url}/api.made.test/token") as response:
        given = await response.json()
    assert given["endpoint"] == f"{made.url.replace('http', 'ws')}/ws.made.test/"
    async with http.ws_connect(given["endpoint"], params={"token": given["token"], **query}) as connection:
        assert await connection.receive_json(timeout=60) == {"type": "welcome"}
        yield connection


async def test_an_endpoint_reads_the_body_of_a_post_and_the_parameters_of_its_path() -> None:
    async with running(weight_limit=4) as (made, http):
        async with http.post(f"{made.url}/api.made.test/info", json={"type": "trades", "coin": "BTC"}) as response:
            rows, used = await response.json(), response.headers["X-Used"]
        assert (len(rows), used) == (5, "1")
        assert all(NOW // 1000 - 120 <= row["t"] <= NOW // 1000 for row in rows)
        async with http.post(f"{made.url}/api.made.test/info", json={"type": "dance"}) as response:
            assert (response.status, (await response.json())["code"]) == (422, "bad")
        async with http.get(f"{made.url}/api.made.test/markets/BTC-USDT?x=1") as response:
            assert await response.json() == {"x": "1", "id": "BTC-USDT"}
        async with http.get(f"{made.url}/api.made.test/info") as response:
            assert response.status == 404
        async with http.get(f"{made.url}/api.made.test/markets/X") as response:
            assert response.status == 200
        async with http.get(f"{made.url}/api.made.test/markets/X") as response:
            assert (response.status, await response.json()) == (429, {"error": "slower", "code": "slow", "at": NOW})


async def test_faults_match_words_of_a_posts_body() -> None:
    async with running() as (made, http):
        asked = {"type": "trades", "coin": "BTC"}
        made.faults.order(Fault(kind="short", match="trades", rows=2))
        made.faults.order(Fault(kind="empty", match="trade"))
        async with http.post(f"{made.url}/api.made.test/info", json=asked) as response:
            assert len(await response.json()) == 2


async def test_a_socket_needs_a_token_that_has_not_expired() -> None:
    async with running() as (made, http):
        async with connected(made, http):
            pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{made.url}/ws.made.test/?token=other")
        assert refused.value.status == 401
        async with http.post(f"{made.url}/_sim/rules", json={"venues": ["made"], "rules": {"token_s": 0}}) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(made, http):
                pass


async def test_a_socket_may_be_at_a_host_without_a_path() -> None:
    async with running() as (made, http), http.ws_connect(f"{made.url}/feed.made.test") as connection:
        assert await connection.receive_json(timeout=60) == {"type": "welcome"}


@pytest.mark.parametrize(
    ("acknowledge", "expected"),
    [
        ("silent", [{"id": 7}, {"n": 1, "data": {"first": "ticks"}}, {"n": 2, "data": {"first": "tocks"}}]),
        ("none", [{"refused": "nothing"}, {"n": 1, "data": {"first": "ticks"}}, {"n": 2, "data": {"first": "tocks"}}]),
        ("topic", [{"refused": "nothing"}, {"topic": "ticks"}, {"n": 1, "data": {"first": "ticks"}}, {"topic": "tocks"},
                   {"n": 2, "data": {"first": "tocks"}}]),
        ("request", [{"refused": "nothing"}, {"id": 7}, {"n": 1, "data": {"first": "ticks"}},
                     {"n": 2, "data": {"first": "tocks"}}]),
    ],
)  # fmt: skip
async def test_subscriptions_are_acknowledged_as_the_venue_does(acknowledge: str, expected: list[Any]) -> None:
    async with running() as (made, http), connected(made, http, acknowledge=acknowledge) as connection:
        await connection.send_json({"type": "subscribe", "topics": ["ticks", "nothing", "tocks"], "id": 7})
        assert [await connection.receive_json(timeout=60) for _ in expected] == expected
        made.exchange.clock.set(NOW + 1_000)
        ticks = [await connection.receive_json(timeout=60) for _ in range(2)]
        assert [{*each["data"]} for each in ticks] == [{"ticks"}, {"tocks"}]


async def test_limits_are_answered_as_the_venue_does_and_text_pings_too() -> None:
    rules = {"made": {"subscriptions": 1, "messages": 2, "messages_s": 3_600}}
    async with running(rules=rules) as (made, http), connected(made, http) as connection:
        await connection.send_json({"type": "subscribe", "topics": ["ticks", "tocks"], "id": 7})
        assert [msgspec.json.decode(await connection.receive_str(timeout=60)) for _ in range(2)] == [
            {"full": "tocks"},
            {"n": 1, "data": {"first": "ticks"}},
        ]
        for answer in ("pong", '{"type":"too many"}'):
            await connection.send_str("ping")
            assert await connection.receive_str(timeout=60) == answer
