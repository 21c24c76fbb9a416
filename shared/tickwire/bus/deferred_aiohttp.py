"""Imports nats-py without aiohttp, which nats-py uses for `ws://` and `wss://` URLs only.

aiohttp takes a fifth of the CPU time that a short command needs to start (0.1 s of 0.5 s, measured), because it
reads the certificates of all authorities twice. `tests/bus/test_deferred_aiohttp.py` fails when nats-py changes.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from tickwire.process.imports import without


class _Deferred(ModuleType):
    """Stands for a module that is imported when one of its names is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


def import_nats() -> None:
    """Import nats-py with aiohttp deferred, unless this process has imported either already. Idempotent."""
    if "nats" in sys.modules or "aiohttp" in sys.modules:
        return
    with without("aiohttp"):
        transport: Any = importlib.import_module("nats.aio.transport")
    transport.aiohttp, transport.multidict = _Deferred("aiohttp"), _Deferred("multidict")
