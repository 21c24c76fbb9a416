"""Ports of this machine for a server of ours: whether one is free, and which ones to try."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Sequence

LOOPBACK = "127.0.0.1"
NATS = 4222
"""The port of NATS: https://docs.nats.io/running-a-nats-service/introduction/flags."""
ANY = -1
"""nats-server chooses."""
CHOICE = range(10_000, 32_000)
"""Below what systems give to outgoing connections (Linux: 32,768 on, RFC 6335: 49,152 on): such a port may be gone when
the server is started again."""
TRIES = 100


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether nobody listens on a port of an address of this machine, loopback by default, just now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As nats-server does: connections that have just ended are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            # Of a port that is not permitted the server says so itself.
            return error.errno != errno.EADDRINUSE
        return True


def preferred(last: int | None, choice: Iterable[int] | None = None) -> Sequence[int]:
    """Where a broker is to listen, the best first: where it did last, at NATS' own port, at a free one of `choice`.

    The last one comes first, since programs that wait for the broker wait there.
    """
    tried = random.sample(CHOICE, TRIES) if choice is None else choice
    free = next((port for port in tried if is_free(port)), ANY)
    return list(dict.fromkeys(([] if last is None else [last]) + [NATS, free]))
