"""Ports of this machine for servers that must be told theirs."""

from __future__ import annotations

import os
import random
import socket

WORKERS = 16
"""Test workers that never choose the same port."""
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
CHOICE = range(10_000 + _WORKER, 32_000, WORKERS)
"""Below what systems hand out by themselves (Linux: 32,768 on): there a client may have it before the server does."""

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on just now, and that no other test gets."""
    for port in random.SystemRandom().sample(CHOICE, 100):
        if port in _given:
            continue
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError("no port is free")
