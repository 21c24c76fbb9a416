"""Which broker a cache folder belongs to: `.broker.json`, and `.broker.lock` beside it.

Two brokers know nothing of each other's leases, so their caches must not work on one folder. A cache process holds
`.broker.lock` shared for as long as it lives; whoever gives the folder to another broker holds it exclusively, so that
no cache works meanwhile. A folder that an earlier version made has no `.broker.json`: its newest checkpoint tells.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from nats.js.client import JetStreamContext

from tickwire.bus import streams
from tickwire.cache import fence
from tickwire.cache.disk import Disk, as_storage_error
from tickwire.cache.fence import Broker, dated
from tickwire.errors import CacheFileError, ConfigError
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.readiness import Readiness

log = logs.get(__name__)

T = TypeVar("T")

RECORD = ".broker.json"
LOCK = ".broker.lock"
ADOPT = "tickwire candles adopt"
PATIENCE_S = 15.0
"""How long a folder is waited for that a process is about to leave, or about to give to another broker."""
_POLL_S = 0.05
GIVEN_POLL_S = 0.5
"""How often it is looked whether a folder was given to the broker that its own became."""


async def identity(jetstream: JetStreamContext) -> Broker:
    """The broker of a connection. Raises nats.js.errors.NotFoundError before its streams are declared."""
    return Broker(
        generation=await streams.read_created_ms(jetstream, f"KV_{streams.LEASES}"),
        stream=await streams.read_created_ms(jetstream, streams.OHLCV),
        host=socket.gethostname(),
        since=now_ms(),
    )


def owner(directory: Path) -> Broker | None:
    """The broker that a folder belongs to; None where it belongs to nobody yet.

    Raises CacheFileError when its record is unreadable, StorageError.
    """
    path = directory / RECORD
    with as_storage_error(f"read {path}"):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return _of_checkpoints(directory)
    return decoded(data, str(path))


def decoded(data: bytes, path: str) -> Broker:
    """A record's contents. Raises CacheFileError."""
    try:
        return msgspec.json.decode(data, type=Broker)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CacheFileError(
            f"{path} does not say which broker the folder belongs to: {error}", ADOPT, path=path
        ) from error


def recorded_owner(directory: Path) -> Broker | None:
    """The same, and None as well where the record is unreadable."""
    try:
        return owner(directory)
    except CacheFileError as error:
        log.warning("the record of the folder's broker cannot be read", reason=str(error))
        return None


def refusal(directory: Path, theirs: Broker, mine: Broker) -> str:
    """Why a cache of one broker does not work on a folder of another: what is wrong, without the remedy."""
    used = [last for path in directory.glob(".partition-*.json") if (last := _modified_ms(path))]
    host = f" from {theirs.host}" if theirs.host else ""
    return (
        f"the cache folder {directory} belongs to another broker ({theirs}"
        f"{f', last used{host} {dated(max(used))}' if used else ''}); this one was {mine}"
    )


REMEDY = f"set nats.url to that broker, or another cache.dir, or give the folder to this broker: {ADOPT}"


@asynccontextmanager
async def held(directory: Path, mine: Broker, *, adopt: bool = False) -> AsyncIterator[None]:
    """Work on a folder within the block. A new folder becomes this broker's; with `adopt`, one of another does, too.

    Raises ConfigError when it belongs to another broker, or caches of another one are at work on it.
    """
    if adopt:
        await give(directory, mine)
    descriptor = await _patiently(partial(_lock, directory, fcntl.LOCK_SH), directory)
    try:
        theirs = _known(directory)
        if theirs is None or (theirs.is_the_same(mine) and not _recorded(directory, theirs, mine)):
            _record(directory, mine, replace=theirs is not None)
            # A cache of another broker may have been the first.
            theirs = _known(directory)
        if theirs is not None and not theirs.is_the_same(mine):
            raise ConfigError(refusal(directory, theirs, mine), REMEDY)
        yield
    finally:
        os.close(descriptor)


async def give(directory: Path, mine: Broker, patience_s: float = PATIENCE_S) -> None:
    """Give a folder to a broker, unless it has it. Candles and verified ranges stay as they are.

    Raises ConfigError when caches of another broker still work on it after `patience_s`.
    """

    def attempt() -> bool | None:
        # Each time anew: another process may have done it meanwhile, and works on the folder now.
        before = recorded_owner(directory)
        if before is not None and before.is_the_same(mine):
            return True
        if (descriptor := _lock(directory, fcntl.LOCK_EX)) is None:
            return None
        try:
            _record(directory, mine, replace=True)
        finally:
            os.close(descriptor)
        if before is not None:
            log.warning("the cache folder was given to this broker", folder=str(directory), before=str(before))
        return True

    await _patiently(attempt, directory, patience_s)


async def given(directory: Path, mine: Broker, ready: Readiness) -> None:
    """Wait until a folder belongs to nobody or to a broker; readiness says meanwhile whose it is, and what to do.

    Raises ConfigError when the record of its broker is unreadable.
    """
    if (theirs := _known(directory)) is None or theirs.is_the_same(mine):
        return
    reason = f"{refusal(directory, theirs, mine)}; {REMEDY}"
    log.error("the broker has become another one, and its candles are not written", reason=reason)
    with ready.checked("storage", lambda: reason):
        # Polled: the file may be on another machine's disk.
        while (theirs := _known(directory)) is not None and not theirs.is_the_same(mine):  # noqa: ASYNC110
            await asyncio.sleep(GIVEN_POLL_S)
    log.info("the cache folder belongs to this broker now", folder=str(directory))


async def _patiently(attempt: Callable[[], T | None], directory: Path, patience_s: float = PATIENCE_S) -> T:
    deadline = time.monotonic() + patience_s
    # Polled: a lock of another process says nothing when it is released.
    while (found := attempt()) is None:
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"caches are at work on the folder {directory}", "stop each of them first, also on other machines"
            )
        await asyncio.sleep(_POLL_S)
    return found


def _lock(directory: Path, kind: int) -> int | None:
    """A descriptor that holds the lock, or None where somebody else does."""
    path = directory / LOCK
    with as_storage_error(f"lock {path}"):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _known(directory: Path) -> Broker | None:
    try:
        return owner(directory)
    except CacheFileError as error:
        raise ConfigError(error.message, error.remedy) from error


def _recorded(directory: Path, theirs: Broker, mine: Broker) -> bool:
    as_it_is = (theirs.generation, theirs.stream) == (mine.generation, mine.stream)
    return as_it_is and (directory / RECORD).exists()


def _record(directory: Path, mine: Broker, *, replace: bool) -> None:
    """Write the record, durably. Without `replace` one that is there already stays."""
    disk, path = Disk(), directory / RECORD
    temporary = str(directory / f"{RECORD}.{socket.gethostname()}-{os.getpid()}")
    with as_storage_error(f"write {path}"):
        descriptor = disk.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            disk.write(descriptor, msgspec.json.encode(mine) + b"\n", 0)
            disk.fsync(descriptor)
        finally:
            disk.close(descriptor)
        if replace:
            disk.rename(temporary, str(path))
        else:
            try:
                disk.link(temporary, str(path))
            except FileExistsError:
                # Another cache was first: the record says whose.
                pass
            finally:
                disk.unlink(temporary)
        disk.fsync_dir(str(directory))


def _of_checkpoints(directory: Path) -> Broker | None:
    found: list[Broker] = []
    for path in directory.glob(".partition-*.json"):
        try:
            checkpoint = fence.decode(path.read_bytes())
        except (OSError, ValueError):
            # Opening the partition says so.
            continue
        stream = int(checkpoint.stream) if checkpoint.stream.isdecimal() else 0
        found.append(Broker(generation=checkpoint.generation, stream=stream))
    return max(found, key=lambda each: each.generation, default=None)


def _modified_ms(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
