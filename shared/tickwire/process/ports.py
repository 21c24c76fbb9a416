"""Ports of this machine for the embedded broker: whether one is free, and which ones to try."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Sequence

LOOPBACK = "127.0.0.1"
NATS = 4222
"""The port of NATS: https://docs.nats.io/running-a-nats-service/introduction/flags."""
ANY = -1
"""nats-server chooses a port."""
CHOICE = range(10_000, 32_000)
"""Below the ports of outgoing connections (Linux: from 32,768, RFC 6335: from 49,152), which may be in use when the
server is restarted."""
TRIES = 100


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether no process listens on a port of an address of this machine, loopback by default, at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As nats-server does: connections that have just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            # A port that is not permitted is reported by the server itself.
            return error.errno != errno.EADDRINUSE
        return True


def preferred(last: int | None, choice: Iterable[int] | None = None) -> Sequence[int]:
    """Ports for a broker, the best first: the one it had last, NATS' own, a free one of `choice`.

    The last one comes first, because programs that wait for the broker try to reconnect there.
    """
    tried = random.sample(CHOICE, TRIES) if choice is None else choice
    free = next((port for port in tried if is_free(port)), ANY)
    return list(dict.fromkeys(([] if last is None else [last]) + [NATS, free]))
