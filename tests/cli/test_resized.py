"""What is drawn over and over, on a real terminal: while its window is resized, and what Ctrl-C leaves there."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.commands import Command
from support.processes import TICKWIRE

pytestmark = [pytest.mark.system, pytest.mark.needs("tmux"), pytest.mark.asyncio(loop_scope="module")]

SCRIPT = """\
stty --save > before
{command}
echo "it ended with $?."
stty --save > after
"""


class Terminal:
    """A window of tmux, in which a shell runs. Its command line is not shown: it is in a file."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self._env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")}

    def tmux(self, *arguments: str) -> str:
        """What a command of tmux prints."""
        argv = ["tmux", "-u", "-f", "/dev/null", "-S", str(self.folder / "tmux"), *arguments]
        done = subprocess.run(argv, env=self._env, cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def run(self, *arguments: str) -> None:
        """Run a command of tickwire in a new window of 100 by 30 cells."""
        (self.folder / "run").write_text(SCRIPT.format(command=shlex.join([*TICKWIRE, *arguments])))
        self.tmux("new-session", "-d", "-x", "100", "-y", "30", "sh")
        self.tmux("send-keys", ". ./run", "Enter")

    async def shows(self, enough: Callable[[str], bool]) -> str:
        """What stands in the window, once it is enough."""
        text = ""
        try:
            async with asyncio.timeout(60):
                while not enough(text := self.tmux("capture-pane", "-p")):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"it shows:\n{text}")
        return text


@pytest.fixture
async def terminal(running: Command, tmp_path: Path) -> AsyncIterator[Terminal]:
    """A terminal beside `tickwire up`, with feeds that run."""
    started = await running.run("start", "trade", "binance", "BTC/USDT,ETH/USDT,SOL/USDT")
    assert started.code == 0, started.err
    made = Terminal(tmp_path, running.env)
    yield made
    made.tmux("kill-server")


def widest(text: str) -> int:
    """The width of the longest line."""
    return max(map(len, text.splitlines()), default=0)


@pytest.mark.parametrize(
    ("arguments", "title", "left"),
    [
        ("watch candle binance BTC/USDT 1m", "candle binance BTC/USDT 1m", 2),
        ("watch book binance BTC/USDT", "book binance BTC/USDT", 2),
        ("ps --watch", "trade binance BTC/USDT", 1),
        ("status --watch", "trade binance BTC/USDT", 0),
    ],
)
async def test_one_frame_is_shown_after_each_resize_and_the_last_one_is_left(
    arguments: str, title: str, left: int, terminal: Terminal
) -> None:
    """Below the frame of a `watch` stands its summary, which begins with the feed, too."""
    terminal.run(*arguments.split())
    begin = await terminal.shows(lambda text: title in text)
    if "candle" in arguments:
        begin = await terminal.shows(lambda text: widest(text) > 90)
    for columns, rows in ((72, 24), (130, 40), (60, 14), (100, 30)):
        terminal.tmux("resize-window", "-x", str(columns), "-y", str(rows))
        frame = await terminal.shows(lambda text: text.count(title) == 1)
        assert "Traceback" not in frame
        if "candle" in arguments:
            await terminal.shows(lambda text: columns - 10 < widest(text) <= columns)  # noqa: B023
    assert terminal.tmux("display-message", "-p", "#{alternate_on}") == "1\n", begin
    terminal.tmux("send-keys", "C-c")
    await terminal.shows(lambda text: "it ended with 130." in text)
    assert terminal.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}") == "0 1 1\n"
    everything = terminal.tmux("capture-pane", "-p", "-S", "-")
    assert everything.count(title) == left, everything
    folder = terminal.folder
    terminal.tmux("send-keys", "echo it is typed", "Enter")
    await terminal.shows(lambda text: "echo it is typed\n" in text and "\nit is typed\n" in text)
    assert (folder / "before").read_text() == (folder / "after").read_text()
