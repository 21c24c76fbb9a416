"""Ports of this machine for servers that must be told theirs."""

from __future__ import annotations

import random
import socket

CHOICE = range(10_000, 32_000)
"""Below what systems hand out by themselves (Linux: 32,768 on): there a client may have it before the server does."""


def free_port() -> int:
    """A port that nobody listens on just now."""
    for port in random.SystemRandom().sample(CHOICE, 100):
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
