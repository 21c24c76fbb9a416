"""Who may use the page, as a real Chromium has it: other sites in the same browser, and a password in the address."""

from __future__ import annotations

from pathlib import Path

import pytest
from nats.aio.msg import Msg
from pydantic import SecretStr

from docs.browser import browsing
from support.ports import free_port
from support.serving import serving
from support.web import served
from tickwire.bus.connection import Bus
from tickwire.settings import Settings, WebSettings
from tickwire.web import service
from tickwire.web.service import serve_web
from web.seen import Seen

pytestmark = [pytest.mark.system, pytest.mark.needs("chromium")]

ELSEWHERE = """<!doctype html>
<form method="post" action="PAGE/do/cancel" enctype="text/plain"><input name='{"id":"' value='x"}'></form>
<iframe src="PAGE/"></iframe>
<script>
window.found = {};
const take = (name) => [() => { found[name] = "answered"; }, () => { found[name] = "refused"; }];
const json = { "Content-Type": "application/json" };
fetch("PAGE/do/cancel", { method: "POST", headers: json, body: '{"id":"x"}' }).then(...take("json"));
fetch("PAGE/static/page.js").then(...take("read"));
// As a form does, which the browser sends without asking.
fetch("PAGE/do/cancel", { method: "POST", mode: "no-cors", body: '{"id":"x"}' }).then(...take("blind"));
const socket = new WebSocket("PAGE/live".replace("http", "ws"));
[socket.onopen, socket.onerror] = take("socket");
const frame = document.querySelector("iframe");
frame.onload = () => { found.frame = frame.contentDocument ? "read" : "refused"; };
</script>
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_another_site_in_the_same_browser_can_do_nothing(bus: Bus, tmp_path: Path, host: str) -> None:
    """At another port of the same host, and at another host."""
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await bus.subscribe("fetcher.>", hear)
    settings = Settings(web=WebSettings(port=free_port()))
    own = f"http://127.0.0.1:{settings.web.port}"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text(ELSEWHERE.replace("PAGE", own))
    async with serving(bus, serve_web, settings), served(tmp_path / "site") as site:
        address = f"{site.replace('127.0.0.1', host)}/index.html"
        async with browsing(address, tmp_path / "chromium") as page:
            await page.until("Object.keys(window.found ?? {}).length === 5")
            assert set((await page.evaluate("found")).values()) == {"refused"}
            await page.evaluate("document.forms[0].submit()")
            await page.until("document.body.innerText.includes('the request comes from another site')")
            assert heard == []


async def test_with_the_password_in_the_address_everything_works(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.0)
    settings = Settings(web=WebSettings(port=free_port(), password=SecretStr("open sesame")))
    url = f"127.0.0.1:{settings.web.port}"
    async with serving(bus, serve_web, settings):
        async with browsing(f"http://desk:open%20sesame@{url}/market?m=okx+BTC/USDT+1m", tmp_path / "chromium") as page:
            seen = Seen(page, f"http://{url}")
            await seen.until_text("#connection", "connected")
            await seen.until_text("#errors", "no streamer is running")
            await seen.do("cancel", '{"id":"x"}')
            await seen.until_text("#said", "no fetcher is running")
