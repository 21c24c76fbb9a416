"""The broker that `up` embeds for its data folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tickwire.bus import embedded
from tickwire.bus.embedded import WebSocket
from tickwire.bus.kept_broker import kept_broker
from tickwire.cli.output import render
from tickwire.errors import ConfigError
from tickwire.process import ports
from tickwire.settings import Settings


@asynccontextmanager
async def own_broker(settings: Settings) -> AsyncIterator[str]:
    """Run the embedded broker of a data folder, restarted when it fails; yield its URL.

    It listens on the configured port, else on the port it had last, where that is free. Raises ConfigError when a
    configured port is taken, and as `kept_broker` does.
    """
    folder, wanted = settings.data_dir / "nats", settings.nats.port
    last = embedded.last_port(folder)
    choice = ports.preferred(last) if wanted is None else [wanted]
    websocket, token = websocket_of(settings), embedded.token_of(folder)
    try:
        async with kept_broker(folder, settings.nats.server, render.remark, websocket, choice, token) as url:
            port = int(url.rpartition(":")[2])
            if wanted is None and last not in (None, port):
                render.remark(
                    f"port {last} is taken by another program, so the broker is now on {port}: programs that have its "
                    "URL from `tickwire url` need the new one; set nats.port for one that never changes"
                )
            embedded.remember_port(folder, port)
            yield url
    except embedded.PortTaken as error:
        name = "nats.port" if error.port == wanted else "nats.websocket_port"
        raise ConfigError(f"{name}: {error.message}", f"stop that one, or set another {name}") from error


def websocket_of(settings: Settings) -> WebSocket | None:
    """Return where the embedded broker listens for WebSockets; None where it does not."""
    if settings.nats.websocket_port is None:
        return None
    return WebSocket(settings.nats.websocket_port, tuple(settings.nats.websocket_origins))
