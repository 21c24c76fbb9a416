"""Programs of an environment in which tickwire is installed, which have nothing of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tickwire.process import children

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def run(*arguments: str | Path, cwd: Path, codes: Sequence[int] = (0,), env: Mapping[str, str] | None = None) -> str:
    """What a program prints. It has nothing of this checkout."""
    ours = ("TICKWIRE_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(arguments, cwd=cwd, env=kept | dict(env or {}), capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@asynccontextmanager
async def program(folder: Path, *argv: str | Path) -> AsyncIterator[Process]:
    """A command for as long as the block lasts; what it says is read from its pipes."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    async with children.child(
        argv, env=env, stderr=children.PIPE, stdout=children.PIPE, cwd=folder, grace_s=60
    ) as process:
        yield process


@asynccontextmanager
async def up(folder: Path, command: Path) -> AsyncIterator[Process]:
    """`tickwire up` in a folder, ready."""
    async with program(folder, command, "up") as process:
        assert process.stderr is not None
        said = b""
        while b"ready:" not in (line := await process.stderr.readline()):
            said += line
            assert line, said.decode()
        yield process
