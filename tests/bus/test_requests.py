"""Requests over the bus against a real nats-server: answers, typed errors, chunks, time limits and shutdown."""

from __future__ import annotations

import asyncio
import time

import nats
import pytest
from msgspec import Struct, json
from msgspec.structs import replace
from nats.aio.msg import Msg

from support.wires import wire as carried
from tickwire.bus.connection import Bus, connect
from tickwire.bus.natspy import BusClient
from tickwire.bus.requests import WORKING
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.cache.forwarding import forward
from tickwire.errors import BadRequest, BrokerUnavailable, InternalError, NoSuchService, RequestTimeout, UnknownSymbol
from tickwire.model import messages
from tickwire.model.messages import Candles, Coverage, KeyRequest
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

ASK = KeyRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m")


def coverage(request: KeyRequest) -> Coverage:
    return Coverage(exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe, rows=7)


async def test_a_request_is_answered_typed(bus: Bus, broker: str) -> None:
    async def handle(request: KeyRequest, _call: Call) -> Struct:
        return coverage(request)

    async with (
        connect(NatsSettings(url=broker), name="another") as service,
        serve(service, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"),
    ):
        assert await bus.request("cache.coverage", ASK, Coverage) == coverage(ASK)


async def test_whatever_is_asked_on_a_connection_that_is_gone_says_so(broker: str) -> None:
    client = BusClient()
    await client.connect(broker)
    bus = Bus(client, broker, "gone")
    await client.close()
    with pytest.raises(BrokerUnavailable, match=r"the connection to nats://.* is lost"):
        await bus.request("cache.coverage", ASK, Coverage)
    with pytest.raises(BrokerUnavailable, match=r"the connection to nats://.* is lost"):
        async for _ in bus.request_chunks("cache.get", ASK, lambda data: messages.decode(data, Candles)):
            pass
    with pytest.raises(BrokerUnavailable, match=r"the connection to nats://.* is lost"):
        await bus.request_all("$SRV.PING", wait_s=0.1)


async def test_a_typed_error_arrives_as_the_same_type(bus: Bus) -> None:
    async def handle(request: KeyRequest, _call: Call) -> Struct:
        raise UnknownSymbol("no such symbol", "did you mean BTC/USDT?")

    async with serve(bus, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"):
        with pytest.raises(UnknownSymbol, match=r"no such symbol; did you mean BTC/USDT\?"):
            await bus.request("cache.coverage", ASK, Coverage)


async def test_statistics_have_the_errors_and_the_time_until_the_answer(bus: Bus) -> None:
    took = 0.0

    async def handle(request: KeyRequest, _call: Call) -> Struct:
        nonlocal took
        began = time.perf_counter()
        if request.exchange == "nowhere":
            await asyncio.sleep(0.05)
            took = time.perf_counter() - began
            raise UnknownSymbol("no such symbol", "did you mean BTC/USDT?")
        return coverage(request)

    async with serve(bus, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"):
        began = time.perf_counter()
        await bus.request("cache.coverage", ASK, Coverage)
        with pytest.raises(UnknownSymbol):
            await bus.request("cache.coverage", replace(ASK, exchange="nowhere"), Coverage)
        waited = time.perf_counter() - began
        answer = await bus.client.request("$SRV.STATS.cache", timeout=60)
    (stats,) = json.decode(answer.data)["endpoints"]
    assert (stats["num_requests"], stats["num_errors"]) == (2, 1)
    assert stats["last_error"] == "no such symbol; did you mean BTC/USDT?"
    assert took <= stats["processing_time"] / 1e9 <= waited
    assert stats["average_processing_time"] == stats["processing_time"] // 2


async def test_a_request_that_does_not_fit_is_refused_and_the_service_goes_on(bus: Bus) -> None:
    async def handle(request: KeyRequest, _call: Call) -> Struct:
        return coverage(request)

    async with serve(bus, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"):
        with pytest.raises(BadRequest):
            await bus.request("cache.coverage", messages.ListRequest(), Coverage)
        assert await bus.request("cache.coverage", ASK, Coverage) == coverage(ASK)


async def test_a_bug_in_a_handler_fails_its_request_alone(bus: Bus, broker: str) -> None:
    asked = 0

    async def handle(request: KeyRequest, _call: Call) -> Struct:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ZeroDivisionError("a bug")
        return coverage(request)

    async with (
        connect(NatsSettings(url=broker), name="another") as service,
        serve(service, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"),
    ):
        with pytest.raises(InternalError, match="ZeroDivisionError"):
            await bus.request("cache.coverage", ASK, Coverage)
        assert await bus.request("cache.coverage", ASK, Coverage) == coverage(ASK)


async def test_without_the_service_a_request_says_which_one_to_start(bus: Bus) -> None:
    with pytest.raises(NoSuchService, match=r"no cache is running.*tickwire service cache"):
        await bus.request("cache.coverage", ASK, Coverage)
    with pytest.raises(NoSuchService):
        async for _ in bus.request_chunks("cache.get", ASK, lambda data: messages.decode(data, Candles)):
            pass


async def test_a_service_that_does_not_answer_is_a_timeout(bus: Bus) -> None:
    async def never(_message: Msg) -> None:
        await asyncio.sleep(0)

    await bus.subscribe("cache.coverage", never)
    with pytest.raises(RequestTimeout):
        await bus.request("cache.coverage", ASK, Coverage, timeout_s=0.2)


async def test_a_request_that_was_lost_with_its_instance_is_answered_by_another(bus: Bus) -> None:
    async def lose_the_first(message: Msg) -> None:
        asked.append(message.reply)
        if len(asked) > 1:
            await message.respond(messages.encode(coverage(ASK)))

    asked: list[str] = []
    await bus.subscribe("cache.coverage", lose_the_first)
    assert await bus.request("cache.coverage", ASK, Coverage, timeout_s=6.0) == coverage(ASK)
    assert len(asked) == 2


async def test_chunks_arrive_in_order_and_a_lost_one_is_noticed(bus: Bus) -> None:
    def chunk(number: int, more: bool) -> Candles:
        return Candles(exchange="a", symbol="b", timeframe="1m", rows=[], chunk=number, more=more)

    async def handle(request: KeyRequest, call: Call) -> None:
        numbers = [0, 1, 2] if request.symbol == "whole" else [0, 2]
        for number in numbers:
            await call.reply(chunk(number, number < 2))

    async def ask(symbol: str) -> list[int]:
        request = KeyRequest(exchange="a", symbol=symbol, timeframe="1m")
        decode = lambda data: messages.decode(data, Candles)
        return [part.chunk async for part in bus.request_chunks("cache.get", request, decode)]

    async with serve(bus, "cache", [Endpoint("cache.get", KeyRequest, handle)], instance="one"):
        assert await ask("whole") == [0, 1, 2]
        with pytest.raises(RequestTimeout, match=r"chunk 1 .* is missing"):
            await ask("torn")


async def test_chunks_are_waited_for_while_their_service_works_on_them(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file on a slow disk; what the service does not work on has its time limit."""
    monkeypatch.setattr("tickwire.bus.service.WORKING_S", 0.05)
    timeout_s = 1.5

    async def handle(request: KeyRequest, call: Call) -> None:
        await asyncio.sleep(timeout_s * 1.5)
        await call.reply(Candles(exchange="a", symbol="b", timeframe="1m", rows=[]))

    async def ask() -> int:
        decode = lambda data: messages.decode(data, Candles)
        return len([part async for part in bus.request_chunks("cache.get", ASK, decode, timeout_s=timeout_s)])

    async with serve(bus, "cache", [Endpoint("cache.get", KeyRequest, handle)], instance="one"):
        assert await ask() == 1
        monkeypatch.setattr("tickwire.bus.service.WORKING_S", 100.0)
        with pytest.raises(RequestTimeout, match=r"did not answer within 1\.5 s"):
            await ask()


async def test_an_owner_gets_the_header_that_asks_for_reports_of_work(bus: Bus) -> None:
    got: list[dict[str, str]] = []

    async def owner(message: Msg) -> None:
        got.append(message.headers or {})
        await message.respond(b"")

    await bus.subscribe("cache.partition.3.get", owner)
    for headers in ({WORKING: "1"}, {}):
        call = Call("cache.get", "_INBOX.of.a.client", headers, messages.encode(ASK), bus.client.publish)
        assert await forward(bus, "cache.partition.3.get", call)
    assert [WORKING in each for each in got] == [True, False]


async def test_chunks_end_with_the_connection_that_they_came_on(bus: Bus, broker: str) -> None:
    """Nobody sends the rest again."""

    async def answer_in_part(request: Msg) -> None:
        await bus.client.publish(
            request.reply,
            messages.encode(Candles(exchange="a", symbol="b", timeframe="1m", rows=[], chunk=0, more=True)),
        )

    await bus.client.subscribe("cache.get", cb=answer_in_part)
    async with carried(broker) as wire, connect(NatsSettings(url=wire.url), name="asks") as asks:
        chunks = asks.request_chunks("cache.get", ASK, lambda data: messages.decode(data, Candles), timeout_s=250)
        assert (await anext(chunks)).more
        wire.drop()
        with pytest.raises(RequestTimeout, match=r"^the connection was lost while cache.get answered; ask again$"):
            await anext(chunks)


async def test_requests_in_work_are_answered_when_the_service_stops(bus: Bus, broker: str) -> None:
    accepted, finish = asyncio.Semaphore(0), asyncio.Event()

    async def handle(request: KeyRequest, _call: Call) -> Struct:
        accepted.release()
        await finish.wait()
        return coverage(request)

    async def run(stop: asyncio.Event) -> None:
        async with (
            connect(NatsSettings(url=broker), name="another") as service,
            serve(service, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"),
        ):
            await stop.wait()

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        service = group.create_task(run(stop))
        while not await _served(bus):
            await asyncio.sleep(0.01)
        asked = [group.create_task(bus.request("cache.coverage", ASK, Coverage)) for _ in range(5)]
        for _ in asked:
            await accepted.acquire()
        stop.set()
        finish.set()
        assert [await task for task in asked] == [coverage(ASK)] * 5
        await service


async def _served(bus: Bus) -> bool:
    try:
        return bool(await bus.client.request("$SRV.PING.cache", b"", timeout=1))
    except nats.errors.NoRespondersError:
        return False


async def test_every_instance_answers_the_services_api(bus: Bus) -> None:
    async def handle(request: KeyRequest, _call: Call) -> Struct:
        return coverage(request)

    async with serve(bus, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"):
        for verb in ("PING", "INFO", "STATS"):
            answer = await bus.client.request(f"$SRV.{verb}.cache", b"", timeout=60)
            assert b'"instance": "one"' in answer.data or b'"instance":"one"' in answer.data


async def test_a_service_answers_no_ping_before_it_answers_requests(broker: str) -> None:
    async def handle(request: KeyRequest, _call: Call) -> Struct:
        return coverage(request)

    async with carried(broker) as wire, connect(NatsSettings(url=wire.url), name="another") as bus:
        async with serve(bus, "cache", [Endpoint("cache.coverage", KeyRequest, handle)], instance="one"):
            assert wire.sent.index(b"SUB cache.coverage ") < wire.sent.index(b"SUB $SRV.PING ")
