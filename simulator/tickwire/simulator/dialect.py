"""What exchanges say differently on a socket, and what they all can do there. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from tickwire.simulator.connection import Socket
from tickwire.simulator.faults import Fault

Source = Callable[[int], Iterator[Any]]
"""Called with the exchange's time (ms), never twice for the same events: what has happened since it was last called."""


class Subscriptions(Protocol):
    """What a dialect may do for a socket."""

    def subscribe(self, socket: Socket, names: list[str]) -> None:
        """Have it hear these streams."""

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """Have it hear these streams no more."""

    def running(self, house: str, name: str) -> Source | None:
        """The source of a stream that somebody hears."""


class Dialect(Protocol):
    """One exchange's language."""

    def named(self, path: str, query: Mapping[str, str]) -> list[str]:
        """The streams that a socket's URL asks for."""

    def combined(self, path: str) -> bool:
        """Whether a new socket is told the stream of each message."""

    def source(self, name: str) -> Source | None:
        """What a stream says from now on; None where there is no such stream."""

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """A message of a stream as this socket hears it."""

    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """What is said to what the client said, once it is done."""

    def error(self, fault: Fault) -> bytes:
        """An error message that nobody asked for."""
