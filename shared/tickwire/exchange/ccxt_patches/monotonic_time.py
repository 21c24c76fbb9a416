"""ccxt measures durations by the monotonic clock.

ccxt 4.5.90 compares times of the wall clock: after the wall clock is set back by an hour, its throttler waits an
hour, and its sockets count as alive or as dead for as long. Some venues' pongs are marked with the exchange's time
(`lastPong` in `pro/bybit.py` and `pro/nado.py`). Here throttlers and the marks of sockets use the monotonic clock.

Upstream: no issue found.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Hashable
from functools import cache
from typing import Any, cast


def monotonic_ms() -> int:
    """The monotonic clock, ms: comparable with the marks of a socket."""
    return int(time.monotonic() * 1000)


def install_throttler_clock() -> None:
    """Have ccxt's throttlers use the monotonic clock: they only use differences. Idempotent."""
    importlib.import_module("ccxt.async_support.base.throttler").__dict__["time"] = time.monotonic


def use_monotonic_marks(client: Any) -> None:
    """Have the marks of a ccxt Client set by the monotonic clock. Call it before the client is opened.

    `connectionEstablished`, `last_message_at` and `lastPong` are then comparable with `monotonic_ms`.
    """
    _install_socket_clock()
    client.__class__ = _marked(cast(Hashable, type(client)))


@cache
def _install_socket_clock() -> None:
    """The module of ccxt's Client calls `Exchange.milliseconds`, and nothing else of that class."""
    module: Any = importlib.import_module("ccxt.async_support.base.ws.client")
    module.Exchange = type("Exchange", (module.Exchange,), {"milliseconds": staticmethod(monotonic_ms)})


@cache
def _marked(kind: Any) -> type[Any]:
    class Marked(kind):  # type: ignore[misc]
        _pong: int | None = None

        @property
        def lastPong(self) -> int | None:
            return self._pong

        @lastPong.setter
        def lastPong(self, value: object) -> None:
            # ccxt's ping loop sets it to its own value. Any other value means that a pong came now.
            if value is None or value != self._pong:
                self._pong = None if value is None else monotonic_ms()

    Marked.__name__ = kind.__name__
    return Marked
