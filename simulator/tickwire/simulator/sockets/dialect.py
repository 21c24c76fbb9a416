"""How a venue speaks on its sockets: what a dialect defines, and what the feed offers to it. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from tickwire.simulator.faults import Fault
from tickwire.simulator.sockets.socket import Socket


def _nothing(now: int) -> Iterable[Any]:
    return ()


class Stream(Struct, frozen=True):
    """The messages of one stream, as JSON values; both functions get the exchange's time (ms)."""

    new: Callable[[int], Iterable[Any]]
    """Returns the messages since the last call."""
    first: Callable[[int], Iterable[Any]] = _nothing
    """Returns what a new subscriber gets at once, such as the snapshot that the next change follows."""


class Subscriptions(Protocol):
    """The operations on subscriptions that a dialect may use."""

    def subscribe(self, socket: Socket, names: list[str]) -> list[bytes]:
        """Subscribe a socket to streams; return the frames that it gets at once, in the form for this socket."""

    def send_unasked(self, socket: Socket, names: list[str]) -> list[bytes]:
        """Send streams that no client asks for, such as heartbeats: they count for no limit. See `subscribe`."""

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """Unsubscribe a socket from streams."""

    def full(self, socket: Socket, more: int) -> bool:
        """Return whether `more` subscriptions exceed the venue's limit for one socket."""


class Dialect(ABC):
    """How one venue speaks on the sockets of one kind of market. Names of streams are the dialect's own."""

    malformed = b'{"'
    """A truncated message (fault `ws_malformed`)."""

    @abstractmethod
    def stream(self, name: str) -> Stream | None:
        """Return a stream from now on; None where there is no such stream."""

    @abstractmethod
    def answers(self, socket: Socket, text: str | bytes, subscriptions: Subscriptions) -> list[bytes]:
        """Carry out a client's message; return the answers to it."""

    @abstractmethod
    def error(self, fault: Fault) -> bytes:
        """Return an unsolicited error message (fault `ws_error`)."""

    def opened(self, socket: Socket, query: Mapping[str, str], subscriptions: Subscriptions) -> list[bytes]:
        """Return what a new socket gets at once; `query` has the parameters of its URL."""
        return []

    def framed(self, socket: Socket, name: str, payload: bytes) -> bytes:
        """Return a message of a stream in the form for this socket."""
        return payload

    def excess(self, socket: Socket) -> bytes | None:
        """Return the answer to a message above the venue's limit; None closes the socket (1008)."""
        return None


def decoded(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object of a client's message; an empty one where the message is something else."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
