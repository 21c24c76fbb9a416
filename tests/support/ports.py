"""Ports of this machine for servers that must be told theirs."""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
"""Each of 16 test workers has ports of its own."""
CHOICE = random.SystemRandom().sample(range(10_000 + WORKER, 32_000, 16), 1_000)
"""Below what systems hand out by themselves (Linux: 32,768 on): there a client may have it before the server does."""


def free_port() -> int:
    """A port that nobody listens on just now, and that no other test gets."""
    while True:
        port = CHOICE.pop()
        with socket.socket() as taken, suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port
