"""nats-py is imported without aiohttp, which is there once a broker's URL asks for a WebSocket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from support.ports import free_port
from tickwire.bus.embedded import WebSocket, embedded

pytestmark = pytest.mark.actors

ECHO = """
import asyncio, sys
from tickwire.bus.connection import connect
from tickwire.settings import NatsSettings

async def main(url):
    async with connect(NatsSettings(url=url), name="test") as bus:
        heard = await bus.client.subscribe("echo")
        await bus.client.publish("echo", b"over a WebSocket", headers={"Some": "header"})
        print((await heard.next_msg(timeout=60)).data.decode())

before = "aiohttp" in sys.modules
asyncio.run(main(sys.argv[1]))
print(before, "aiohttp" in sys.modules)
"""


def printed(code: str, *arguments: str) -> list[str]:
    """The lines that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


async def test_a_connection_over_a_websocket_imports_aiohttp_and_works(tmp_path: Path) -> None:
    port = free_port()
    async with embedded(tmp_path, websocket=WebSocket(port, ("*",))) as url:
        over_tcp = await asyncio.to_thread(printed, ECHO, url)
        over_websocket = await asyncio.to_thread(printed, ECHO, f"ws://127.0.0.1:{port}")
    assert over_tcp == ["over a WebSocket", "False False"]
    assert over_websocket == ["over a WebSocket", "False True"]


@pytest.mark.parametrize("first", ["aiohttp", "nats"])
def test_what_a_program_imported_before_is_left_alone(first: str) -> None:
    code = f"""
import {first}, nats, sys
import nats.aio.transport as transport
import tickwire.bus
print(transport.aiohttp is sys.modules["aiohttp"])
"""
    assert printed(code) == ["True"]


@pytest.mark.parametrize("module", ["tickwire.client", "tickwire.cli.candles.get", "tickwire.cache.service"])
def test_what_needs_no_http_imports_none(module: str) -> None:
    assert printed(f"import sys, {module}; print('aiohttp' in sys.modules, 'nats' in sys.modules)") == ["False True"]
