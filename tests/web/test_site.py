"""The page over HTTP: who may use it, what each answer carries, and its buttons; with a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from support.ports import free_port
from support.serving import serving
from tickwire.bus.connection import Bus
from tickwire.errors import ConfigError
from tickwire.observe.metrics import Metrics
from tickwire.process.lifecycle import leaf
from tickwire.settings import Settings, WebSettings
from tickwire.web import service, site
from tickwire.web.service import serve_web

pytestmark = pytest.mark.actors

MAKES_MARKUP = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")


@asynccontextmanager
async def page(bus: Bus, metrics: Metrics | None = None, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """The page, served in this process, and a client of it."""
    settings = Settings(web=WebSettings(port=free_port(), **options))
    url = f"http://127.0.0.1:{settings.web.port}"
    async with serving(bus, serve_web, settings, metrics=metrics), aiohttp.ClientSession(url) as http:
        yield http


async def test_answers_forbid_what_comes_from_elsewhere_and_files_name_no_other_host(bus: Bus) -> None:
    async with page(bus) as http:
        for path in ("/", "/coverage?days=3", "/static/page.js", "/static/page.css"):
            async with http.get(path) as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'self';")
                assert "unsafe-eval" not in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with http.get("/static/plotly.min.js") as answer:
            assert (await answer.text()).lstrip().startswith("/**\n* plotly.js v")
        for path in ("/static/../service.py", "/static/nothing.js", "/nothing"):
            async with http.get(path) as answer:
                assert answer.status == 404


def test_files_of_the_page_load_nothing_from_elsewhere_and_make_no_markup_of_data() -> None:
    for path in site.FILES.iterdir():
        text = path.read_text()
        assert "//" not in text.replace("// ", "").replace("://${", ""), path.name
        assert not any(word in text for word in MAKES_MARKUP)


async def test_another_site_can_neither_press_a_button_nor_listen(bus: Bus) -> None:
    async with page(bus) as http:
        elsewhere = {"Origin": "https://evil.example"}
        async with http.post("/do/cancel", json={"id": "1"}, headers=elsewhere) as answer:
            assert answer.status == 403
        async with http.post("/do/cancel", data={"id": "1"}) as answer:
            assert answer.status == 415
        async with http.post("/do/cancel", json={"id": "1"}, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect("/live", headers=elsewhere)
        assert refused.value.status == 403


async def test_a_button_answers_in_words_also_when_nobody_does_what_it_says(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.0)
    async with page(bus) as http:
        for body, status in (
            (b"{", 400),
            (b"{}", 400),
            (b"[" * 10_000, 400),
            (b"[" * 20_000, 413),
            (b'{"id":"j"}', 503),
        ):
            async with http.post("/do/cancel", data=body, headers={"Content-Type": "application/json"}) as answer:
                assert answer.status == status, body[:10]
                assert status == 413 or (await answer.json())["text"]
        async with http.post("/do/nothing", json={}) as answer:
            assert (answer.status, await answer.json()) == (404, {"text": "there is no such action"})


async def test_a_tab_is_sent_what_it_watches_and_nothing_it_may_not(bus: Bus) -> None:
    async with page(bus) as http:
        async with http.ws_connect("/live") as socket:
            await socket.send_json({"watch": ["overview"]})
            async with asyncio.timeout(60):
                said = await socket.receive_json()
                while not said["data"]["services"]:
                    said = await socket.receive_json()
            assert [each["service"] for each in said["data"]["services"]] == ["web"]
            texts = [each["text"] for each in said["data"]["troubles"]]
            assert "no streamer answers: no feed runs" in texts
        odd = ["elsewhere", "coverage?days=100000", "market?exchange=a/b&symbol=%00", "chart?symbol=" + "x" * 4096]
        async with http.ws_connect("/live") as socket:
            await socket.send_json({"watch": [*odd, "overview"]})
            async with asyncio.timeout(60):
                told = [await socket.receive_json() for _ in range(5)]
            assert {each["name"]: bool(each["error"]) for each in told} == dict.fromkeys(odd, True) | {
                "overview": False
            }
        for wrong in ("[", '{"watch": 3}'):
            async with http.ws_connect("/live") as socket:
                await socket.send_str(wrong)
                async with asyncio.timeout(60):
                    closed = await socket.receive()
                assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.POLICY_VIOLATION)


async def test_with_a_password_each_request_needs_it(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "GUESS_S", 0.0)
    async with page(bus, password=SecretStr("open sesame")) as http:
        async with http.get("/") as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect("/live")
        known = aiohttp.encode_basic_auth("me", "open sesame") if hasattr(aiohttp, "encode_basic_auth") else None
        auth = aiohttp.BasicAuth("me", "open sesame") if known is None else None
        async with http.get("/", auth=auth, headers={"Authorization": known} if known else None) as answer:
            assert answer.status == 200


async def test_the_page_refuses_to_start_openly_or_on_a_port_that_is_taken(bus: Bus) -> None:
    stop = asyncio.Event()
    with pytest.raises(ConfigError, match="TICKWIRE_WEB_PASSWORD"):
        await serve_web(bus, Settings(web=WebSettings(host="0.0.0.0")), "one", stop, Metrics())
    async with page(bus) as http:
        taken = Settings(web=WebSettings(port=int(str(http._base_url).rsplit(":", 1)[1].strip("/"))))
        with pytest.raises((ConfigError, BaseExceptionGroup)) as refused:
            await serve_web(bus, taken, "two", stop, Metrics())
        assert isinstance(leaf(refused.value), ConfigError)


async def test_a_stop_closes_open_tabs_and_ends(bus: Bus) -> None:
    metrics, stop = Metrics(), asyncio.Event()
    settings = Settings(web=WebSettings(port=free_port()))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve_web(bus, settings, "one", stop, metrics))
        while not metrics.serving:
            await asyncio.sleep(0.01)
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{settings.web.port}") as http,
            http.ws_connect("/live") as socket,
        ):
            await socket.send_json({"watch": ["overview"]})
            async with asyncio.timeout(60):
                await socket.receive()
                stop.set()
                while not socket.closed:
                    await socket.receive()
                await task
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY
    assert not metrics.serving
