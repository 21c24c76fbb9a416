"""The browser example says what its address lacks, and which setting refuses its origin."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from docs.browser import browsing
from docs.documents import EXAMPLES
from support.ports import free_port
from tickwire.bus.embedded import WebSocket, embedded
from tickwire.process import children

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]

STATE = "document.getElementById('state').textContent"
QUERY = "?exchange=binance&symbol=BTC/USDT"


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The URL of the page, from a web server as examples/README.md says."""
    port, log = free_port(), folder / "log"
    argv = [sys.executable, "-u", "-m", "http.server", str(port), "--directory", str(EXAMPLES / "javascript")]
    with log.open("wb") as file:
        async with children.child(argv, stdout=file.fileno(), stderr=file.fileno()):
            async with asyncio.timeout(100):
                while b"Serving HTTP" not in log.read_bytes():
                    await asyncio.sleep(0.05)
            yield f"http://localhost:{port}/browser.html"


async def test_the_page_says_what_its_address_lacks_and_who_refuses_it(tmp_path: Path) -> None:
    websocket = WebSocket(free_port(), ("http://elsewhere.example",))
    async with served(tmp_path) as url, embedded(tmp_path / "nats", websocket=websocket, token="secret"):
        origin = url.removesuffix("/browser.html")
        refusing = f"ws://secret@127.0.0.1:{websocket.port}"
        cases = (
            ("?symbol=BTC/USDT#" + refusing, "the address lacks exchange=binance:"),
            ("", "the address lacks exchange=binance and symbol=BTC/USDT and #URL, the output of `tickwire url"),
            (f"{QUERY}#{refusing}", f'"{origin}" one of nats.websocket_origins?'),
        )
        for number, (address, said) in enumerate(cases):
            async with browsing(f"{url}{address}", tmp_path / f"chromium{number}") as page:
                await page.until(f"document.getElementById('state') && {STATE}.includes({json.dumps(said)})")
                assert "secret" not in await page.evaluate(STATE)
