"""A file system of a test's own, which is made small and large again while it is used. Needs root, on Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TRIES = 100
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
def small_disk(folder: Path) -> Iterator[Disk]:
    """Mount it; the test is skipped where that is not permitted."""
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
