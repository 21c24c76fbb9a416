"""What nats-py's micro services do by themselves and `tickwire.bus.natspy` patches; see `test_natspy`."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import Service, ServiceConfig

from tickwire.bus.natspy import BusClient, MicroService

pytestmark = pytest.mark.actors


async def pinged(client: Client, service: Service) -> bool:
    """Whether a service answers a ping to a subject that it should not publish on."""
    heard = await client.subscribe("md.trade.of.somebody")
    await client.publish("$SRV.PING.some", reply="md.trade.of.somebody")
    # Answered in order: when the second answer is there, the first one is, or never will be.
    await client.request("$SRV.PING.some", timeout=30)
    await client.flush()
    found = heard.pending_msgs > 0
    await heard.unsubscribe()
    await service.stop()
    return found


async def test_a_ping_is_answered_only_where_a_reply_may_go(broker: str) -> None:
    client = BusClient()
    async with asyncio.timeout(60):
        await client.connect(broker)
        plain = Service(client, ServiceConfig(name="some", version="1.0.0"))
        await plain.start()
        assert await pinged(client, plain)
        ours = MicroService(
            client, ServiceConfig(name="some", version="1.0.0"), lambda message: message.reply.startswith("_INBOX")
        )
        await ours.start()
        assert not await pinged(client, ours)
        await client.close()


@pytest.mark.parametrize("drained", [False, True], ids=["stop", "drain"])
async def test_stopping_a_service_loses_queued_requests_and_draining_handles_them(broker: str, drained: bool) -> None:
    handled = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(request: Request) -> None:
        begun.set()
        await go_on.wait()
        handled.append(request.data)

    client = BusClient()
    async with asyncio.timeout(60):
        await client.connect(broker)
        service = MicroService(client, ServiceConfig(name="some", version="1.0.0"), lambda _message: True)
        await service.add_endpoint(name="ask", subject="some.ask", handler=handle)
        await service.start()
        for number in range(5):
            await client.publish("some.ask", str(number).encode())
        await client.flush()
        await begun.wait()
        if drained:
            draining = asyncio.create_task(service.drain(lambda subscription: subscription.drain()))  # type: ignore[no-untyped-call]
            go_on.set()
            await draining
            assert len(handled) == 5
        else:
            await service.stop()
            go_on.set()
            await client.flush()
            await asyncio.sleep(0)
            assert len(handled) < 5
        await client.close()
