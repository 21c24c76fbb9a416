"""Locks on files exclude other processes, and end with the process that holds them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tickwire.cache.disk import Disk
from tickwire.errors import StorageError
from tickwire.process import filelock

pytestmark = pytest.mark.actors

HOLD = (
    "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.{}); print(flush=True); sys.stdin.read()"
)
"""A program of another author that holds a lock until its input ends."""
TAKEN = StorageError("it is in use")


@contextmanager
def holder(path: Path, kind: str = "LOCK_EX") -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of a file within the block."""
    command = [sys.executable, "-c", HOLD.format(kind), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            process.kill()


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_lock_excludes_other_processes_until_their_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        assert filelock.is_held(path)
        assert filelock.open_locked(path) is None
        assert filelock.open_locked(path, shared=True) is None
        with pytest.raises(StorageError, match="in use"):
            filelock.exclusive(path, TAKEN)
        with pytest.raises(StorageError, match="held by another process"), Disk().lock(str(path), 0.05):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not filelock.is_held(path)
    descriptor = filelock.exclusive(path, TAKEN)
    assert filelock.is_held(path)
    filelock.release(descriptor)
    assert not filelock.is_held(path)
    with Disk().lock(str(path), 0.0):
        assert filelock.is_held(path)
    assert not filelock.is_held(path)


def test_shared_locks_exclude_only_an_exclusive_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, "LOCK_SH"):
        assert not filelock.is_held(path)
        assert filelock.open_locked(path) is None
        descriptor = filelock.open_locked(path, shared=True)
    assert descriptor is not None
    assert filelock.open_locked(path) is None
    os.close(descriptor)


def test_an_exclusive_lock_waits_for_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "lock"
    path.parent.mkdir(parents=True)
    with holder(path) as process:
        assert process.stdin is not None
        process.stdin.close()
        descriptor = filelock.open_locked(path, timeout_s=60)
    assert descriptor is not None
    os.close(descriptor)


def test_no_descriptor_is_left_where_a_lock_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path):
        before = descriptors()
        for _ in range(3):
            assert filelock.open_locked(path) is None
        assert descriptors() == before


def test_a_file_system_that_cannot_lock_is_an_error_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StorageError, match=os.strerror(errno.ENOLCK)):
        filelock.exclusive(tmp_path / "lock", TAKEN)
