"""The metrics of the page's process, against what a tab received."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from support.ports import free_port
from support.scraping import Scraped, as_documented, described, parsed
from support.serving import serving
from tickwire.bus.connection import Bus
from tickwire.observe.metrics import Metrics
from tickwire.settings import Settings, WebSettings
from tickwire.web.service import serve_web

pytestmark = pytest.mark.actors


async def test_tabs_requests_and_what_was_sent_are_counted(bus: Bus) -> None:
    metrics = Metrics()
    settings = Settings(web=WebSettings(port=free_port()))

    def now() -> Scraped:
        return parsed(metrics.snapshot()().decode())

    async with (
        serving(bus, serve_web, settings, metrics=metrics),
        aiohttp.ClientSession(f"http://127.0.0.1:{settings.web.port}") as http,
    ):
        for path, times in (("/", 3), ("/nothing", 2)):
            for _ in range(times):
                async with http.get(path) as answer:
                    await answer.read()
        assert now().value("tickwire_web_requests_total", status="200") == 3
        assert now().value("tickwire_web_requests_total", status="404") == 2
        async with http.ws_connect("/live") as socket:
            await socket.send_json({"watch": ["elsewhere"]})
            # Refused once, and nothing else: this is all that was sent.
            received = (await socket.receive_str()).encode()
            found = now()
            assert (found.value("tickwire_web_tabs"), found.value("tickwire_web_things")) == (1, 0)
            assert found.value("tickwire_web_frame_bytes_total") in (0, len(received))
            await socket.send_json({"watch": ["overview"]})
            await socket.receive_str()
            assert now().value("tickwire_web_things") == 1
        async with asyncio.timeout(60):
            while now().value("tickwire_web_tabs"):
                await asyncio.sleep(0.01)
        found = now()
        assert found.value("tickwire_web_frames_total") >= 2
        assert found.value("tickwire_web_frame_bytes_total") > len(received)
        assert found.value("tickwire_web_frames_skipped_total") == 0
        as_documented(found)
        assert set(described("Page")) == {name for name in found.types if name.startswith("tickwire_web_")}
