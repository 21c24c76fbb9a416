"""What a command shows, on a terminal and line by line."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from support.commands import Command
from support.processes import TICKWIRE

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Screen:
    """What a command wrote to a terminal, and its exit code after Ctrl-C."""

    code: int
    text: str


def on_terminal(
    env: Mapping[str, str],
    *arguments: str,
    enough: Callable[[str], bool],
    height: int = 40,
    width: int = 100,
    python: Path | None = None,
) -> Screen:
    """Run a command on a terminal until what it wrote is enough; then press Ctrl-C."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    terminal = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [python or TICKWIRE[0], *TICKWIRE[1:], *arguments],
        env=terminal | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    text, told = "", False
    try:
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:
                # Nobody has the other end open any more.
                break
            if not data:
                break
            text += data.decode(errors="replace")
            if not told and enough(text):
                process.send_signal(signal.SIGINT)
                told = True
        return Screen(process.wait(100), text)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def pictures(text: str) -> list[list[str]]:
    """What stood on the screen, one after another, each as its lines: a full-screen view begins in the first corner."""
    return [_CONTROL.sub("", part).replace("\r", "").split("\n") for part in text.split("\x1b[H")[1:]]


class Lines:
    """The lines of a command's standard output, as they come."""

    def __init__(self, running: Command) -> None:
        assert running.process.stdout is not None
        self._stream = running.process.stdout
        self.found: list[str] = []

    async def until(self, pattern: str, timeout_s: float = 100) -> str:
        """Read on until a line has the pattern; the line."""
        try:
            async with asyncio.timeout(timeout_s):
                while raw := await self._stream.readline():
                    line = raw.decode().rstrip("\n")
                    self.found.append(line)
                    if re.search(pattern, line):
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"no line has {pattern!r}: {self.found[-10:]}")
