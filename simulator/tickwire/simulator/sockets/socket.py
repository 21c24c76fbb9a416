"""One WebSocket client. Frames are written by hand (RFC 6455), many at once, so that faults can change them."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from typing import Any

from tickwire.simulator.faults import Faults

_MOST_UNSENT = 32 * 2**20
_CONTINUATION, _TEXT, _CLOSE, _PING, _FINAL = 0, 1, 8, 9, 0x80


def frames(payload: bytes, fragment: int | None = None) -> bytes:
    """Return a text message as unmasked frames (RFC 6455, 5.2), in fragments of `fragment` bytes if given."""
    if fragment is None or len(payload) <= fragment:
        return _head(_FINAL | _TEXT, len(payload)) + payload
    pieces = [payload[start : start + fragment] for start in range(0, len(payload), fragment)]
    kinds = [_TEXT, *[_CONTINUATION] * (len(pieces) - 2), _FINAL | _CONTINUATION]
    return b"".join(_head(kind, len(piece)) + piece for kind, piece in zip(kinds, pieces, strict=True))


def _head(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


class Socket:
    """One client. `key` is `<venue>/<market>`: all sockets with one key have the same dialect and streams."""

    def __init__(self, target: str, key: str, transport: asyncio.Transport, faults: Faults) -> None:
        self.target = target
        self.key = key
        self.venue = key.partition("/")[0]
        self.names: dict[str, None] = {}
        """The streams that it has subscribed to."""
        self.unasked: set[str] = set()
        """Those of them that the venue sends of its own accord."""
        self.state: dict[str, Any] = {}
        """What the dialect remembers of this socket, such as a counter of its messages."""
        self.opened_at = self.heard_at = time.monotonic()
        """When it was opened, and when the client last sent a message (monotonic, s)."""
        self.heard: deque[float] = deque()
        """Times of the client's messages that count for the limit (monotonic, s)."""
        self._transport = transport
        self._faults = faults
        self._held = b""
        self._closing = False
        self.answered_at = time.monotonic()
        """When the last pong, or the connection, arrived (monotonic, s)."""

    def send(self, payloads: list[bytes]) -> None:
        """Send text messages; faults may drop them, fragment them, or cut the write within a frame."""
        if self.silent or self._closing or self._transport.is_closing():
            return
        split = self._faults.socket("ws_split", self.target)
        fragment = split.size if split and split.mode == "fragments" else None
        data = self._held + b"".join(frames(payload, fragment) for payload in payloads)
        if split and split.mode == "torn":
            # The end of the last frame comes with the next write.
            data, self._held = data[: -split.size], data[-split.size :]
        else:
            self._held = b""
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _MOST_UNSENT:
            self._transport.abort()

    @property
    def silent(self) -> bool:
        """Whether fault `ws_silent` is in force for this socket."""
        return self._faults.socket("ws_silent", self.target) is not None

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._control(_PING, payload)

    def close(self, code: int) -> None:
        """Send a close frame; nothing is sent after it."""
        self._control(_CLOSE, code.to_bytes(2, "big"))
        self._closing = True

    def _control(self, kind: int, payload: bytes) -> None:
        if not self._closing and not self._transport.is_closing():
            # Control frames go between whole frames, so a held back end goes first.
            self._transport.write(self._held + _head(_FINAL | kind, len(payload)) + payload)
            self._held = b""

    def abort(self) -> None:
        """Abort the connection without a close frame."""
        self._transport.abort()
