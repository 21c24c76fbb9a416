"""Supervision of real processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tickwire import supervisor
from tickwire.supervisor import Program

TALKATIVE = "print('here', flush=True); print('x' * 1_000_000, flush=True)"
SLOW = """
import pathlib, signal, sys, time

def finish(*_):
    time.sleep(11)
    pathlib.Path(sys.argv[1]).write_text("all of it")
    sys.exit(0)

signal.signal(signal.SIGTERM, finish)
print("here", flush=True)
signal.pause()
"""


async def kept(program: Program, stop: asyncio.Event, said: asyncio.Queue[str]) -> None:
    async with asyncio.timeout(100):
        await supervisor.keep([program], stop, said.put_nowait)


async def test_a_program_may_say_more_than_its_first_line() -> None:
    """More than a pipe and a reader's buffer hold."""
    stop, said, line = asyncio.Event(), asyncio.Queue[str](), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(kept(Program("one", [sys.executable, "-c", TALKATIVE], first_line=line), stop, said))
        assert await line == b"here\n"
        assert (await said.get()).startswith("one ended (exit code 0)")
        stop.set()


async def test_a_program_that_finishes_what_it_accepted_has_longer_than_ten_seconds_for_it(tmp_path: Path) -> None:
    stop, line = asyncio.Event(), asyncio.get_running_loop().create_future()
    argv: list[str | Path] = [sys.executable, "-c", SLOW, tmp_path / "done"]
    async with asyncio.TaskGroup() as group:
        group.create_task(kept(Program("one", argv, first_line=line), stop, asyncio.Queue()))
        await line
        stop.set()
    assert (tmp_path / "done").read_text() == "all of it"
