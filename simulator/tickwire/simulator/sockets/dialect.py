"""Protocols between the feed of sockets and the dialect of an exchange. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tickwire.simulator.faults import Fault
from tickwire.simulator.sockets.socket import Socket

Source = Callable[[int], Iterator[Any]]
"""Called with the exchange's time (ms): returns the messages since the last call."""


class Subscriptions(Protocol):
    """The operations on subscriptions that a dialect may use."""

    def subscribe(self, socket: Socket, names: list[str]) -> None:
        """Subscribe a socket to streams."""

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """Unsubscribe a socket from streams."""

    def running(self, venue: str, name: str) -> Source | None:
        """Return the source of a stream that has a subscriber."""


class Dialect(Protocol):
    """How one exchange speaks on a socket."""

    def named(self, path: str, query: Mapping[str, str]) -> list[str]:
        """Return the streams that a socket's URL names."""

    def combined(self, path: str) -> bool:
        """Return whether a new socket gets the stream's name with each message."""

    def source(self, name: str) -> Source | None:
        """Return the source of a stream, from now on; None where there is no such stream."""

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """Return a message of a stream in the form for this socket."""

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """Carry out a client's message; return the answers to it."""

    def error(self, fault: Fault) -> bytes:
        """Return an unsolicited error message."""
