"""Suspends a cache process at a moment when it holds no lock that others need."""

from __future__ import annotations

import asyncio
import fcntl
import signal
from pathlib import Path

from support.forked import Running


async def suspend_between_commits(process: Running, folder: Path) -> None:
    """Suspend a process while it holds no partition's lock: a half-done commit has to be waited for by design."""
    async with asyncio.timeout(100):
        while True:
            process.send_signal(signal.SIGSTOP)
            while not stands_still(process.pid):
                await asyncio.sleep(0.001)
            if all(is_free(path) for path in folder.glob(".partition-*.lock")):
                return
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.002)


def stands_still(pid: int) -> bool:
    """Whether every thread is stopped (state T in Linux's /proc)."""
    stats = [task / "stat" for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)


def is_free(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
