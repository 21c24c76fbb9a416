"""A file system of a test's own, which is made small and large again while it is used. Needs root, on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

TRIES = 100
PREFIX = "tickwire-disk-"
"""Before the process id of the test run, in the name of the folder that a file system is mounted on."""
ROOMY = 8 << 30
"""So much a nats-server must see, which reserves what its streams may hold. None of it is taken before it is used."""


@dataclass(frozen=True)
class Disk:
    """A tmpfs."""

    folder: Path

    def fill(self, left: int = 16 << 10) -> None:
        """Leave so many bytes, or fewer: more may be used by now."""
        for _ in range(TRIES):
            if self._resized(shutil.disk_usage(self.folder).used + left):
                return
        raise AssertionError(f"{self.folder} cannot be made so small")

    def grow(self) -> None:
        """As much room as at the beginning."""
        assert self._resized(ROOMY)

    def _resized(self, size: int) -> bool:
        options = ["mount", "-o", f"remount,size={size}", str(self.folder)]
        return subprocess.run(options, capture_output=True).returncode == 0


@contextmanager
def small_disk() -> Iterator[Disk]:
    """Mount a file system; the test is skipped where that is not permitted.

    It is not mounted in pytest's own folders: pytest removes those of older runs, and fails where one is still mounted.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    unmount_left_behind()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        unmount(folder)


def unmount(folder: Path) -> None:
    """Unmount the file system at once, even if processes use it, and remove its folder."""
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def unmount_left_behind() -> None:
    """Unmount the file systems of test runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(PREFIX).partition("-")[0])):
            unmount(folder) if folder.is_mount() else folder.rmdir()
