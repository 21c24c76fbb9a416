"""Handles the frames of a socket in the turn of the event loop in which their bytes arrive.

ccxt reads a socket by a task for each time that frames arrive: its bytes are parsed in one turn, the task runs in the
second, the frame is handled in the third, and the next task is made in the fourth. Here aiohttp's parser is wrapped:
after each piece of bytes what it parsed is handled. Busy sockets are read every 10 ms, all of them in one turn: a turn
of the loop for each frame costs several times what a frame costs among others. Where more have gathered than one turn
has room for, the others stay in aiohttp's buffer for the next one, and the socket is not read meanwhile.

Anything but data, pings and pongs (a closing frame, an error, the end of the connection) is left to ccxt's own loop,
which then goes on as ever.

Upstream: no issue found.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from aiohttp import WSMsgType
from ccxt.async_support.base.ws.client import MSG_SIZE_OVERHEAD

from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.exchange.ccxt_types import CcxtClient
from tickwire.model.instants import next_instant
from tickwire.observe import logs
from tickwire.process.turns import Turns

log = logs.get(__name__)

READ_MS = 10
"""The interval in which busy sockets are read: at its multiples."""
BUSY_S = 0.015
"""A socket is busy if bytes come so soon after those before. The first ones after a longer pause are read at once."""
_PUSHED = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})


def push_frames(
    client: CcxtClient,
    turns: Turns,
    units: int,
    gather: Callable[[], None] = lambda: None,
    deliver: Callable[[], None] = lambda: None,
) -> None:
    """Have the frames of a Client pushed to its `handle_message`. Call it before the client is opened.

    Each takes so many `units` of `turns`. Frames that a turn has no room for are handled in the next ones.
    Before several frames that arrived together `gather` is called, and `deliver` after them.
    Where aiohttp has other internals than expected, ccxt's loop reads the socket, which is logged.
    """
    pushing: _Pushing | None = None
    loop, close = client.receive_loop, client.aiohttp_close

    def on_receive_loop() -> None:
        nonlocal pushing
        if pushing is None and not client.closed():
            pushing = _Pushing(client, loop, _Allowance(turns, units), gather, deliver)
            pushing.begin()
        else:
            loop()

    async def on_close() -> None:
        if pushing is not None:
            pushing.end()
        await close()

    client.receive_loop, client.aiohttp_close = on_receive_loop, on_close


class _Allowance(NamedTuple):
    """What one frame takes of a turn."""

    turns: Turns
    units: int


class _Pushing:
    """aiohttp's parser of one socket (its `WebSocketReader`), with what follows each of its calls."""

    def __init__(
        self,
        client: CcxtClient,
        loop: Any,
        allowance: _Allowance,
        gather: Callable[[], None],
        deliver: Callable[[], None],
    ) -> None:
        self._client = client
        self._turns, self._units = allowance
        self._loop = loop
        """Reads the socket from then on."""
        self._gather = gather
        self._deliver = deliver
        self._pushes = False
        self._protocol: Any = None
        self._parser: Any = None
        self._queue: Any = None
        self._read_at = float("-inf")
        """When bytes came last (monotonic, s)."""
        self._is_deferred = False
        """Whether frames wait for the next turn."""

    def begin(self) -> None:
        """Put itself into the place of the parser."""
        try:
            self._protocol = protocol = self._client.connection._conn.protocol
            self._parser, self._queue = protocol._payload_parser, protocol._payload
            expected = self._parser.feed_data, self._parser.feed_eof, self._queue.read, self._queue.is_eof
            if not all(map(callable, expected)) or not hasattr(self._queue, "_buffer"):
                raise AttributeError("_buffer")
            protocol._payload_parser = self
        except AttributeError as error:
            log.warning("unexpected internals of aiohttp: ccxt's own loop reads the socket", error=repr(error))
            self._loop()
            return
        self._pushes = True
        self._drain()

    def feed_data(self, data: bytes) -> Any:
        """Parse bytes, and handle the frames that they complete."""
        before, self._read_at = self._read_at, time.monotonic()
        found = self._parser.feed_data(data)
        several = len(self._queue._buffer) > 1
        self._drain()
        if several or self._read_at - before < BUSY_S:
            self._pause()
        return found

    def feed_eof(self) -> None:
        """The connection is lost."""
        self._parser.feed_eof()
        self._drain()

    def _pause(self) -> None:
        """Read the socket again when the other busy ones are read."""
        transport, loop = self._protocol.transport, self._client.asyncio_loop
        if self._pushes and transport is not None and not transport.is_closing():
            transport.pause_reading()
            loop.call_at(next_instant(loop.time(), READ_MS), self._resume)

    def _resume(self) -> None:
        transport = self._protocol.transport
        if not self._is_deferred and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def end(self) -> None:
        """Leave the socket to ccxt's loop, in another turn: when it is being closed, it is closed then."""
        if self._pushes:
            self._pushes = False
            self._client.asyncio_loop.call_soon(self._loop)

    def _drain(self) -> None:
        """Handle the frames that have arrived, as far as this turn has room."""
        if self._is_deferred:
            return
        buffer, turns = self._queue._buffer, self._turns
        if several := len(buffer) > 1:
            self._gather()
        try:
            while turns.left > 0 and self._is_next_pushed():
                if buffer[0][0].type is WSMsgType.TEXT:
                    self._handle_texts(buffer)
                else:
                    turns.spend(self._units)
                    self._client.handle_message(self._read())
        finally:
            if several:
                self._deliver()
        if self._is_next_pushed():
            self._defer()
        elif buffer or self._queue.is_eof():
            self.end()

    def _is_next_pushed(self) -> bool:
        """Whether a frame waits that is not left to ccxt's loop."""
        buffer = self._queue._buffer
        return self._pushes and bool(buffer) and buffer[0][0].type in _PUSHED and not self._client.closed()

    def _defer(self) -> None:
        """Handle the other frames in the next turn, and read no more until then."""
        self._is_deferred = True
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
        self._turns.again(self._drain_rest)

    def _drain_rest(self) -> None:
        self._is_deferred = False
        self._drain()
        self._resume()

    def _read(self) -> Any:
        """The next frame. aiohttp counts what is read, and then goes on reading the socket."""
        try:
            # Returns at once: there is something to read.
            self._queue.read().send(None)
        except StopIteration as read:
            return read.value
        raise AssertionError("aiohttp's queue waits for a frame that it has")

    def _handle_texts(self, buffer: deque[Any]) -> None:
        """Handle the texts at the head of the buffer. Those before the last frame are read with it."""
        handle, taken = self._client.handle_text_or_binary_message, 0
        turns, units, spent = self._turns, self._units, 0
        # As `Client.handle_message`, once for all.
        self._client.last_message_at = monotonic_ms()
        try:
            # What its feeds take of the turn is spent meanwhile.
            while spent < turns.left and self._pushes and buffer and buffer[0][0].type is WSMsgType.TEXT:
                spent += units
                if len(buffer) > 1:
                    message, size = buffer.popleft()
                    taken += size + MSG_SIZE_OVERHEAD
                else:
                    _take_on(buffer, taken)
                    taken, message = 0, self._read()
                handle(message.data)
        finally:
            if taken:
                _take_on(buffer, taken)
            turns.spend(spent)


def _take_on(buffer: deque[Any], taken: int) -> None:
    """Have the next frame count as so many bytes more."""
    message, size = buffer[0]
    buffer[0] = message, size + taken
