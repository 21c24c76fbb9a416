"""One WebSocket client: frames written by hand (RFC 6455), whole ticks at once, because faults have a say in them."""

from __future__ import annotations

import asyncio
import struct
import time

from tickwire.simulator.faults import Faults

_MOST_UNSENT = 32 * 2**20
_CONTINUATION, _TEXT, _CLOSE, _PING, _FINAL = 0, 1, 8, 9, 0x80


def frames(payload: bytes, fragment: int | None = None) -> bytes:
    """A text message as unmasked WebSocket frames (RFC 6455, 5.2), in fragments of so many bytes if given."""
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
    """One client. `house` is the exchange it speaks with: a market's side, or the name of a recording."""

    def __init__(self, target: str, house: str, transport: asyncio.Transport, combined: bool, faults: Faults) -> None:
        self.target = target
        self.house = house
        self.combined = combined
        self.names: dict[str, None] = {}
        self._transport = transport
        self._faults = faults
        self._held = b""
        self._closing = False
        self.heard = time.monotonic()
        """When the last answer to a ping came, or the connection."""

    def send(self, payloads: list[bytes]) -> None:
        """Send text messages, as faults will have it: not at all, in fragments, or cut within a frame."""
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
        """Whether it has been ordered to say nothing."""
        return self._faults.socket("ws_silent", self.target) is not None

    def ping(self, payload: bytes) -> None:
        """Ask whether the client is there."""
        self._control(_PING, payload)

    def close(self, code: int) -> None:
        """Say goodbye with a close code; nothing is sent after it."""
        self._control(_CLOSE, code.to_bytes(2, "big"))
        self._closing = True

    def _control(self, kind: int, payload: bytes) -> None:
        if not self._closing and not self._transport.is_closing():
            # Between whole frames: the end of one that is held back goes first.
            self._transport.write(self._held + _head(_FINAL | kind, len(payload)) + payload)
            self._held = b""

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()
