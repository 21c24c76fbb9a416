"""A real Chromium without a screen, and a server for the page it shows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from support.processes import Program

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


@dataclass
class Page:
    """A page, by the DevTools protocol."""

    socket: aiohttp.ClientWebSocketResponse
    _ids: itertools.count[int] = field(default_factory=itertools.count)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; empty while the page is being replaced by another one."""
        number = next(self._ids)
        await self.socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(100):
            while (answer := await self.socket.receive_json()).get("id") != number:
                pass
        result: dict[str, Any] = answer.get("result", {})
        return result

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; must be JSON."""
        result = await self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result.get("result", {}).get("value")

    async def until(self, expression: str, timeout_s: float = 100) -> Any:
        """Wait until an expression is true, and return its value; the page announces nothing."""
        async with asyncio.timeout(timeout_s):
            while not (value := await self.evaluate(expression)):
                await asyncio.sleep(0.1)
        return value


@asynccontextmanager
async def browsing(url: str, folder: Path) -> AsyncIterator[Page]:
    """Chromium on a page, with its profile in `folder`."""
    folder.mkdir()
    argv = ["chromium", *FLAGS, f"--user-data-dir={folder}", url]
    async with Program(argv, folder / "log"), aiohttp.ClientSession() as http:
        port = folder / "DevToolsActivePort"
        async with asyncio.timeout(100):
            while not (port.exists() and port.read_text().count("\n")):
                await asyncio.sleep(0.05)
            base = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
            while not (pages := await _pages(http, base)):
                await asyncio.sleep(0.05)
        async with http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Page(socket)


async def _pages(http: aiohttp.ClientSession, base: str) -> list[dict[str, Any]]:
    async with http.get(f"{base}/json/list") as answer:
        return [each for each in await answer.json(content_type=None) if each["type"] == "page"]
