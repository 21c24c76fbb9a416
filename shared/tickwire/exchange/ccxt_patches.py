"""ccxt's waiting, by the monotonic clock.

ccxt 4.5.90 measures ages by the wall clock: its throttler waits an hour after the wall clock was set back by one, its
sockets count as dead or as alive for as long. Some venues' pongs are marked with the exchange's time (bybit, nado).
Here all of these are of the monotonic clock: what is compared is then of one clock, whatever the wall clock does.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Hashable
from functools import cache
from typing import Any, cast


def monotonic_ms() -> int:
    """The monotonic clock, ms: the time of all marks of a socket and of whatever is compared with them."""
    return int(time.monotonic() * 1000)


def throttling() -> None:
    """Have ccxt's throttlers measure by the monotonic clock: they only ever take differences."""
    importlib.import_module("ccxt.async_support.base.throttler").__dict__["time"] = time.monotonic


def mark(client: Any) -> None:
    """Have the marks of a Client of ccxt's made by the monotonic clock, before it is opened.

    `connectionEstablished`, `last_message_at` and `lastPong` are then comparable with `monotonic_ms`.
    """
    _tell_sockets()
    client.__class__ = _marked(cast(Hashable, type(client)))


@cache
def _tell_sockets() -> None:
    """The module of ccxt's Client asks ccxt's class Exchange for the time, and for nothing else that has one."""
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
        def lastPong(self, told: object) -> None:
            # ccxt's ping loop sets it to what it is. Whatever else is told, it is now that the pong came.
            if told is None or told != self._pong:
                self._pong = None if told is None else monotonic_ms()

    Marked.__name__ = kind.__name__
    return Marked
