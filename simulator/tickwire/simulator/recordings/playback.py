"""A recorded exchange: raw REST answers and socket messages, read from files and played again.

Files of a recording, with one entry a line: `PREFIX.0` and `PREFIX.http.*` are REST answers, `URL -> seconds: JSON`;
`PREFIX.ws.*` are sockets, a line with their URL, then `seconds: {"stream":…,"data":…}` as Binance's combined streams
send it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.errors import ConfigError

BATCH = 256
"""Most messages written at once when no speed is given."""

_ANSWER = re.compile(r"https?://([^/\s]+)(/\S*) -> ([0-9.]+): (?=[{\[])")
_SOCKET = re.compile(r"wss?://([^/\s]+)(/\S*) <->? ")
_MESSAGE = re.compile(r"([0-9.]+): (?=\{)")


class _Combined(Struct, frozen=True):
    stream: str
    data: msgspec.Raw


class Message(Struct, frozen=True):
    """One message: when it arrived (s, epoch), its stream, and its raw payload."""

    time: float
    stream: str
    payload: bytes


class Recording:
    """The contents of the files of one recording."""

    def __init__(self, prefix: str) -> None:
        """Read the files. Raises ConfigError that names file and line."""
        self.name = prefix
        self.answers: dict[str, msgspec.Raw] = {}
        """REST answers by path and query of their requests: `/api/v3/depth?symbol=…`."""
        self.hosts: set[str] = set()
        """The recorded hosts, without ports."""
        self.began = 0.0
        messages: list[Message] = []
        self._rest(Path(f"{prefix}.0"))
        folder, stem = Path(prefix).parent, Path(prefix).name
        for path in sorted(folder.glob(f"{stem}.http.*")):
            self._rest(path)
        for path in sorted(folder.glob(f"{stem}.ws.*")):
            messages += self._socket(path)
        if not messages:
            raise ConfigError(f"{prefix}.ws.* have no messages", "name the files by what is before `.0` and `.ws.`")
        # Merges sockets that were open together; the sort is stable, so each socket keeps its order.
        self.messages = sorted(messages, key=lambda message: message.time)
        self.began = self.messages[0].time

    def _rest(self, path: Path) -> None:
        for number, line in _lines(path):
            if line.startswith("configuration: "):
                continue
            found = _ANSWER.match(line)
            if found is None:
                raise ConfigError(f"{path}:{number}: not `URL -> seconds: JSON`")
            self.hosts.add(found[1].partition(":")[0])
            self.answers[found[2]] = msgspec.Raw(line[found.end() :].strip().encode())

    def _socket(self, path: Path) -> list[Message]:
        messages = []
        for number, line in _lines(path):
            if opened := _SOCKET.match(line):
                self.hosts.add(opened[1].partition(":")[0])
                continue
            found = _MESSAGE.match(line)
            try:
                if found is None:
                    raise ValueError("no `seconds: {…}`")
                combined = msgspec.json.decode(line[found.end() :], type=_Combined)
            except (ValueError, msgspec.DecodeError) as error:
                raise ConfigError(f"{path}:{number}: not a message of a combined stream: {error}") from error
            messages.append(Message(float(found[1]), combined.stream, bytes(combined.data)))
        return messages


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return (number, text) of each line that is not blank. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text: {error}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


class Playback:
    """Plays a recording on command, and keeps the state that the played messages imply."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.sent = 0
        self.unheard = 0
        """Sent messages that had no subscriber."""
        self.aggregates: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """Aggregate trades so far, by symbol, in the form of their stream."""
        self.candles: defaultdict[tuple[str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
        """The last state of each candle so far, by symbol and interval, and open time."""
        self.best: dict[str, dict[str, Any]] = {}
        """The last best prices so far, by symbol."""
        self._until = 0
        self._speed: float | None = None
        self._anchor = (0.0, 0.0)
        self._changed = asyncio.Event()

    @property
    def left(self) -> int:
        """The number of messages not played yet."""
        return len(self.recording.messages) - self.sent

    def now(self) -> int:
        """Return the recorded exchange's time (ms): that of the last message played."""
        return int(self.recording.messages[max(0, self.sent - 1)].time * 1000)

    def play(self, speed: float | None, count: int | None = None) -> None:
        """Play the next `count` messages (None: all), `speed` times as fast as recorded (None: without pauses)."""
        self._until = len(self.recording.messages) if count is None else min(len(self.recording.messages),
                                                                             self.sent + count)  # fmt: skip
        self._speed = speed
        if self.left:
            self._anchor = (time.monotonic(), self.recording.messages[self.sent].time)
        self._changed.set()

    async def run(self, deliver: Callable[[list[Message]], None], subscribed: Callable[[], set[str]]) -> None:
        """Play what is ordered, until cancelled. `subscribed` returns the streams that have subscribers."""
        while True:
            self._changed.clear()
            wait = self._wait()
            if wait is None or wait > 0:
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                continue
            due = self._due()
            for message in due:
                self._remember(message)
            self.sent += len(due)
            streams = subscribed()
            deliver(due)
            self.unheard += sum(message.stream not in streams for message in due)
            # Other tasks run between batches.
            await asyncio.sleep(0)

    def _wait(self) -> float | None:
        """Return seconds until the next message; None where none is ordered."""
        if self.sent >= self._until:
            return None
        if self._speed is None:
            return 0.0
        return self._time_of(self.recording.messages[self.sent]) - time.monotonic()

    def _time_of(self, message: Message) -> float:
        return self._anchor[0] + (message.time - self._anchor[1]) / (self._speed or 1.0)

    def _due(self) -> list[Message]:
        ordered = self.recording.messages[self.sent : min(self._until, self.sent + BATCH)]
        if self._speed is None:
            return ordered
        now = time.monotonic()
        return [message for message in ordered if self._time_of(message) <= now]

    def _remember(self, message: Message) -> None:
        kind = message.stream.partition("@")[2]
        if not kind.startswith(("aggTrade", "kline_", "bookTicker")):
            return
        event = msgspec.json.decode(message.payload)
        if kind == "aggTrade":
            self.aggregates[event["s"]].append(event)
        elif kind == "bookTicker":
            self.best[event["s"]] = event
        else:
            candle = event["k"]
            self.candles[event["s"], candle["i"]][candle["t"]] = candle
