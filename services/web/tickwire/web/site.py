"""The page over HTTP: its files, a WebSocket with what it shows, and the requests of its buttons.

| path | what |
|---|---|
| `/`, `/coverage`, `/market` | the page; it reads from the path and the query what it is to show |
| `/static/<file>` | its scripts and styles |
| `/live` | WebSocket: the tab names what it watches, and gets each new value |
| `POST /do/<action>` | a button was pressed (`actions.py`) |
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct

from tickwire.client import Client
from tickwire.errors import ConfigError, TickwireError
from tickwire.observe import logs
from tickwire.settings import WebSettings
from tickwire.task_group import TaskGroup
from tickwire.web import access
from tickwire.web.access import Asked
from tickwire.web.actions import ACTIONS
from tickwire.web.board import Board, while_reachable
from tickwire.web.metrics import WebMetrics

log = logs.get(__name__)

FILES = Path(__file__).parent / "static"
PORT = 8420
TABS = 200
"""WebSockets at once."""
WATCHED = 16
"""Things that one tab watches at most."""
BODY_BYTES = 16_384
GUESS_S = 0.5
"""Before a wrong password is answered."""
CLOSE_S = 1.0
HEADERS = {
    # Nothing that is loaded or run comes from elsewhere, and no other site may show the page in a frame. Plotly sets
    # styles of elements.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Watched(Struct, frozen=True):
    """What a tab wants to be sent from now on."""

    watch: list[str]


@dataclass
class Site:
    """What the handlers share."""

    client: Client
    board: Board
    metrics: WebMetrics
    tabs: set[web.WebSocketResponse] = field(default_factory=set)

    def measured(self) -> AbstractContextManager[None]:
        """Within the block, a scrape has the tabs and the things that are read for them."""
        return self.metrics.reading(lambda: len(self.tabs), lambda: self.board.read)

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Send a tab what it watches, until it is closed."""
        if len(self.tabs) >= TABS:
            raise web.HTTPServiceUnavailable(text=f"{TABS} tabs are open already")
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=BODY_BYTES)
        await socket.prepare(request)
        self.tabs.add(socket)
        try:
            async with TaskGroup() as group:
                sending: asyncio.Task[None] | None = None
                async for message in socket:
                    if message.type is not WSMsgType.TEXT:
                        break
                    if sending is not None:
                        sending.cancel()
                    sending = group.create_task(self._send(socket, message.data))
                if sending is not None:
                    sending.cancel()
        finally:
            self.tabs.discard(socket)
        return socket

    async def _send(self, socket: web.WebSocketResponse, text: str) -> None:
        try:
            names = msgspec.json.decode(text, type=Watched).watch[:WATCHED]
            with self.board.watching(names) as watch:
                while True:
                    found = await watch.news()
                    self.metrics.skipped.inc(watch.skipped())
                    for message in found:
                        await socket.send_str(message.decode())
                        self.metrics.frames.inc()
                        self.metrics.frame_bytes.inc(len(message))
        except (TickwireError, msgspec.DecodeError) as error:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:120])
        except ConnectionError:
            log.debug("a tab has gone")

    async def act(self, request: web.Request) -> web.Response:
        """Do what a button says."""
        action = ACTIONS.get(request.match_info["action"])
        if action is None:
            return _said("there is no such action", 404)
        try:
            done = await while_reachable(self.client.lost, partial(action, self.client, await request.read()))
        except TickwireError as error:
            return _said(str(error), error.status)
        return _said(done.text)

    async def close(self) -> None:
        """Tell all tabs that the server goes away."""
        for each in list(self.tabs):
            await each.close(code=WSCloseCode.GOING_AWAY, drain=False)


def _said(text: str, status: int = 200) -> web.Response:
    return web.json_response({"text": text}, status=status)


@asynccontextmanager
async def listening(settings: WebSettings, site: Site) -> AsyncIterator[str]:
    """Serve the page within the block; yields its address. Raises ConfigError where its port cannot be had."""

    async def protected(_request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers.update(HEADERS)

    application = web.Application(middlewares=[_counted(site.metrics), _guard(settings)], client_max_size=BODY_BYTES)
    page = partial(_file, FILES / "index.html")
    routes = [web.get(path, page) for path in ("/", "/coverage", "/market")]
    routes += [web.get(f"/static/{name}", partial(_file, path)) for name, path in _files().items()]
    routes += [web.get("/live", site.live), web.post("/do/{action}", site.act)]
    application.add_routes(routes)
    application.on_response_prepare.append(protected)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    port = PORT if settings.port is None else settings.port
    try:
        try:
            await web.TCPSite(runner, settings.host, port).start()
        except OSError as error:
            raise ConfigError(
                f"the page cannot be served at {settings.host}:{port}: {error.strerror or error}",
                "choose another web.port",
            ) from error
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield f"http://{host}:{port}"
    finally:
        await site.close()
        await runner.cleanup()


def _files() -> Mapping[str, Path]:
    """The files of the page, and the library of charts from its package, by name."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'plotly'", name="plotly")
    charts = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return {each.name: each for each in FILES.iterdir() if each.suffix in (".js", ".css")} | {charts.name: charts}


async def _file(path: Path, _request: web.Request) -> web.FileResponse:
    return web.FileResponse(path)


def _counted(metrics: WebMetrics) -> Middleware:
    """Count the answers by their status."""

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = 500
        try:
            answer = await handler(request)
            status = answer.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            metrics.requests.labels(str(status)).inc()
        return answer

    return counted


def _guard(settings: WebSettings) -> Middleware:
    """Refuse requests before anything else is done with them."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        is_socket = headers.get("upgrade", "").lower() == "websocket"
        refused = access.refusal(settings, Asked(request.method, is_socket, headers))
        if refused is None:
            return await handler(request)
        if refused.status == 401:
            await asyncio.sleep(GUESS_S)
        answer = _said(refused.text, refused.status)
        if refused.status == 401:
            answer.headers["WWW-Authenticate"] = 'Basic realm="tickwire", charset="UTF-8"'
        return answer

    return guard
