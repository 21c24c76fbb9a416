"""The run file: how a command finds the broker that `tickwire up` runs on the same data folder.

`<data_dir>/run.json` is `{"nats_url": ..., "pid": ...}`. Beside it `run.lock` is locked for as long as `up` lives,
so a file left behind by a killed one is told from a living one, and nobody is fooled by a reused process id.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from tickwire.errors import BrokerUnavailable, StorageError

_START = "run `tickwire up`, or set nats.url"


class Run(Struct, frozen=True, kw_only=True):
    """What is running on a data folder."""

    nats_url: str
    pid: int


@contextmanager
def held(data_dir: Path) -> Iterator[Callable[[str], None]]:
    """Own a data folder; call what is yielded with the broker's URL to let other commands find it.

    Raises StorageError when the folder is owned already, or unwritable.
    """
    lock = _lock(data_dir)
    path = data_dir / "run.json"

    def publish(nats_url: str) -> None:
        temporary = path.with_suffix(".json.new")
        temporary.write_bytes(msgspec.json.encode(Run(nats_url=nats_url, pid=os.getpid())))
        temporary.replace(path)

    try:
        yield publish
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def read(data_dir: Path) -> Run:
    """What runs on a data folder. Raises BrokerUnavailable when nothing does, or what did is gone."""
    path = data_dir / "run.json"
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except FileNotFoundError:
        raise BrokerUnavailable(f"no tickwire is running on {data_dir}", _START) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BrokerUnavailable(f"cannot read {path}: {error}", _START) from error
    if not _is_held(data_dir):
        raise BrokerUnavailable(f"the tickwire that ran on {data_dir} (process {run.pid}) is gone", _START)
    return run


def _lock(data_dir: Path) -> int:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(f"cannot use the data folder {data_dir}: {error.strerror}", "set data_dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StorageError(
            f"tickwire is up on {data_dir} already", "use that one, stop it, or set another data_dir"
        ) from error
    return descriptor


def _is_held(data_dir: Path) -> bool:
    try:
        descriptor = os.open(data_dir / "run.lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: several commands may look at the same moment.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
