"""The page behind nginx as docs/page.md configures it, and behind one that does not pass on what the page needs."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from docs.browser import browsing
from support.ports import free_port
from support.processes import Program
from support.serving import serving
from tickwire.bus.connection import Bus
from tickwire.settings import Settings, WebSettings
from tickwire.web import service
from tickwire.web.service import serve_web
from web.seen import Seen

pytestmark = [pytest.mark.system, pytest.mark.needs("nginx"), pytest.mark.needs("chromium")]

DOCUMENTED = Path(__file__).parents[2] / "docs" / "page.md"
USERS = "/etc/nginx/tickwire.users"
CONFIG = """
daemon off;
USER
pid FOLDER/pid;
error_log FOLDER/errors;
events {}
http {
    access_log off;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server {
        listen 127.0.0.1:PORT;
        LOCATION
    }
}
"""


def location(port: int, users: Path, *without: str) -> str:
    """The documented configuration, to a page at a port, without lines that begin so."""
    (found,) = re.findall(r"```nginx\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    assert USERS in found
    assert "127.0.0.1:8420" in found
    lines = found.replace(USERS, str(users)).replace("127.0.0.1:8420", f"127.0.0.1:{port}").splitlines()
    for each in without:
        assert any(line.strip().startswith(each) for line in lines)
    return "\n".join(line for line in lines if not line.strip().startswith(without or ("-",)))


@asynccontextmanager
async def proxied(bus: Bus, folder: Path, *without: str) -> AsyncIterator[str]:
    """The page behind nginx; yields the address with user and password."""
    settings = Settings(web=WebSettings(port=free_port(), user_header="X-Forwarded-User"))
    port, users, config = free_port(), folder / "users", folder / "nginx.conf"
    assert settings.web.port is not None
    users.write_text("desk:{PLAIN}secret\n")
    text = CONFIG.replace("LOCATION", location(settings.web.port, users, *without)).replace("FOLDER", str(folder))
    # The folders of tests are for their owner only.
    config.write_text(text.replace("PORT", str(port)).replace("USER", "user root;" if os.getuid() == 0 else ""))
    path = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    async with serving(bus, serve_web, settings), Program(["nginx", "-c", config], folder / "log", path):
        yield f"http://desk:secret@127.0.0.1:{port}/market?m=okx+BTC/USDT+1m"


async def test_behind_a_proxy_as_documented_the_page_is_live_and_its_buttons_work(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.0)
    async with proxied(bus, tmp_path) as url, browsing(url, tmp_path / "chromium") as page:
        seen = Seen(page, url)
        await seen.until_text("#connection", "connected")
        await seen.until_text("#errors", "no streamer is running")
        await seen.do("cancel", '{"id":"x"}')
        await seen.until_text("#said", "no fetcher is running")


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("proxy_set_header Host", "a proxy has to pass the header Host on"),
        ("proxy_set_header Upgrade", "a proxy has to pass the headers Upgrade and Connection on"),
    ],
)
async def test_behind_a_proxy_that_leaves_a_header_out_the_page_says_which(
    bus: Bus, tmp_path: Path, missing: str, told: str
) -> None:
    async with proxied(bus, tmp_path, missing) as url, browsing(url, tmp_path / "chromium") as page:
        await Seen(page, url).until_text("#connection", told)
