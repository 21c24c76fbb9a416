"""Ports of this machine for servers that must be told theirs."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
"""Each of 16 test workers has ports of its own."""
BLOCK = 4
"""`tickwire up` with three services counts up from metrics.port."""
CHOICE = random.SystemRandom().sample(range(10_000 + BLOCK * WORKER, 32_000 - BLOCK, 16 * BLOCK), 340)
"""Below what systems hand out by themselves (Linux: 32,768 on): there a client may have it before the server does."""


def free_port() -> int:
    """A port that nobody listens on just now, nor on the three after it, and no other test gets one of them."""
    while True:
        port = CHOICE.pop()
        with ExitStack() as taken, suppress(OSError):
            for each in range(port, port + BLOCK):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port
