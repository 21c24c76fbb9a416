"""The small file systems of these tests themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.small_disk import small_disk

pytestmark = pytest.mark.faults

KILLED = """
from pipeline.small_disk import small_disk
with small_disk() as disk:
    print(disk.folder, flush=True)
    input()
"""


def test_the_disk_of_a_killed_run_is_unmounted_by_the_next() -> None:
    with small_disk():
        tests = str(Path(__file__).parent.parent)
        run = subprocess.Popen(
            [sys.executable, "-c", KILLED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": tests},
            text=True,
        )
        with run:
            assert run.stdout is not None
            left = Path(run.stdout.readline().strip())
            assert left.is_mount()
            run.send_signal(signal.SIGKILL)
        assert left.is_mount()
    with small_disk() as mine:
        assert not left.exists()
        assert mine.folder.is_mount()
    assert not mine.folder.exists()
