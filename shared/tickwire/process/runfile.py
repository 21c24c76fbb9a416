"""The run file: tells commands the URL of the broker that `tickwire up` runs on the same data folder.

`<data_dir>/run.json` is `{"nats_url": ..., "pid": ..., "websocket_url": ...}`, of mode 0600, because its URLs contain
the broker's token. `run.lock` beside it is locked for as long as `up` lives: so a file that a killed process left is
recognised, whatever has its process id now.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from tickwire.errors import BrokerUnavailable, StorageError
from tickwire.model import messages
from tickwire.process import filelock, private_files

LOOK_S = 1.0
"""Interval of the check that the folder still exists."""
_START = "run `tickwire up`, set data_dir (TICKWIRE_DATA_DIR) to the folder of one that runs, or set nats.url"


class RunFile(Struct, frozen=True, kw_only=True):
    """The contents of the run file."""

    nats_url: str
    pid: int
    websocket_url: str | None = None

    def __repr__(self) -> str:
        # Both URLs contain the token.
        return f"RunFile(pid={self.pid})"


_decode = messages.decoder(RunFile)


@contextmanager
def held(data_dir: Path) -> Iterator[Callable[[str, str | None], None]]:
    """Own a data folder. Yields a function that publishes the broker's URLs (NATS, WebSocket) to other commands.

    Raises StorageError when the folder is owned already, or not writable.
    """
    taken = StorageError(f"tickwire is up on {data_dir} already", "use that one, stop it, or set another data_dir")
    lock = filelock.exclusive(data_dir / "run.lock", taken)
    path = data_dir / "run.json"

    def publish(nats_url: str, websocket_url: str | None) -> None:
        run = RunFile(nats_url=nats_url, pid=os.getpid(), websocket_url=websocket_url)
        private_files.write(path, msgspec.json.encode(run))

    try:
        try:
            # A file that a killed process left would be taken for this process's.
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}", "set data_dir") from error
        yield publish
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        filelock.release(lock)


async def removed(data_dir: Path) -> None:
    """Never returns; raises StorageError once a data folder that is `held` was removed or replaced."""
    path = data_dir / "run.lock"
    mine = await asyncio.to_thread(_identity, path)
    # Polled: folder watching differs from system to system, and reports nothing for a lost file system.
    while mine is not None and await asyncio.to_thread(_identity, path) == mine:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    raise StorageError(
        f"the data folder {data_dir} was removed while tickwire ran on it", "what was in it is gone; start again"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read(data_dir: Path) -> RunFile:
    """The run file of a data folder. Raises BrokerUnavailable when no `tickwire up` runs there."""
    path = data_dir / "run.json"
    try:
        run = _decode(path.read_bytes())
    except FileNotFoundError:
        raise BrokerUnavailable(f"no tickwire is running on {data_dir.absolute()}", _START) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BrokerUnavailable(f"cannot read {path}: {error}", _START) from error
    if not filelock.is_held(data_dir / "run.lock"):
        raise BrokerUnavailable(f"the tickwire that ran on {data_dir.absolute()} (process {run.pid}) is gone", _START)
    return run


def finder(data_dir: Path) -> Callable[[], str]:
    """A function that returns the current broker URL of a data folder, also after it changed. Raises like `read`.

    A relative path is resolved now.
    """
    folder = data_dir.absolute()
    return lambda: read(folder).nats_url
