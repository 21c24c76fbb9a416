"""The broker that a cache folder belongs to: `.broker.json`, and `.broker.lock` beside it.

Leases of two brokers are independent, so their caches must not use the same folder. A cache process holds
`.broker.lock` shared for as long as it lives; a process that gives the folder to another broker holds it exclusively,
so that no cache runs meanwhile. A folder of an earlier version has no `.broker.json`: its newest checkpoint decides.
"""

from __future__ import annotations

import asyncio
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
from tickwire.cache.fence import BrokerIdentity, dated
from tickwire.errors import CacheFileError, ConfigError
from tickwire.model import messages
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.readiness import Readiness
from tickwire.process import filelock

log = logs.get(__name__)
_decode = messages.decoder(BrokerIdentity)

T = TypeVar("T")

RECORD = ".broker.json"
LOCK = ".broker.lock"
ADOPT = "tickwire candles adopt"
PATIENCE_S = 15.0
"""How long to wait for another process to leave the folder, or to give it to another broker."""
_POLL_S = 0.05
GIVEN_POLL_S = 0.5
"""Interval of the check whether the folder was given to the replaced broker."""


async def identity(jetstream: JetStreamContext) -> BrokerIdentity:
    """The broker of a connection. Raises nats.js.errors.NotFoundError before its streams are declared."""
    return BrokerIdentity(
        generation=await streams.read_created_ms(jetstream, f"KV_{streams.LEASES}"),
        stream=await streams.read_created_ms(jetstream, streams.OHLCV),
        host=socket.gethostname(),
        since=now_ms(),
    )


def owner(directory: Path) -> BrokerIdentity | None:
    """The broker that a folder belongs to; None if it belongs to none yet.

    Raises CacheFileError when its record is unreadable, StorageError.
    """
    path = directory / RECORD
    with as_storage_error(f"read {path}"):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return _of_checkpoints(directory)
    return decoded(data, str(path))


def decoded(data: bytes, path: str) -> BrokerIdentity:
    """Decode the record of the owner. Raises CacheFileError."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CacheFileError(
            f"{path} does not say which broker the folder belongs to: {error}", ADOPT, path=path
        ) from error


def recorded_owner(directory: Path) -> BrokerIdentity | None:
    """The broker that a folder belongs to; None also if the record is unreadable."""
    try:
        return owner(directory)
    except CacheFileError as error:
        log.warning("the record of the folder's broker cannot be read", reason=str(error))
        return None


def refusal(directory: Path, theirs: BrokerIdentity, mine: BrokerIdentity) -> str:
    """The reason why a cache of broker `mine` may not use a folder of `theirs`, without the remedy."""
    used = [last for path in directory.glob(".partition-*.json") if (last := _modified_ms(path))]
    host = f" from {theirs.host}" if theirs.host else ""
    return (
        f"the cache folder {directory} belongs to another broker ({theirs}"
        f"{f', last used{host} {dated(max(used))}' if used else ''}); this one was {mine}"
    )


REMEDY = f"set nats.url to that broker, or another cache.dir, or give the folder to this broker: {ADOPT}"


@asynccontextmanager
async def held(directory: Path, mine: BrokerIdentity, *, adopt: bool = False) -> AsyncIterator[None]:
    """Use a folder within the block. A new folder becomes this broker's; with `adopt`, also a folder of another.

    Raises ConfigError when it belongs to another broker, or caches of another broker use it.
    """
    if adopt:
        await give(directory, mine)
    descriptor = await _patiently(partial(_lock, directory, shared=True), directory)
    try:
        theirs = _known(directory)
        if theirs is None or (theirs.is_the_same(mine) and not _recorded(directory, theirs, mine)):
            _record(directory, mine, replace=theirs is not None)
            # A cache of another broker may have been first.
            theirs = _known(directory)
        if theirs is not None and not theirs.is_the_same(mine):
            raise ConfigError(refusal(directory, theirs, mine), REMEDY)
        yield
    finally:
        os.close(descriptor)


async def give(directory: Path, mine: BrokerIdentity, patience_s: float = PATIENCE_S) -> None:
    """Give a folder to a broker, unless it belongs to it. Candles and verified ranges do not change.

    Raises ConfigError when caches of another broker still use it after `patience_s`.
    """

    def attempt() -> bool | None:
        # Read at each attempt: another process may have given the folder to this broker meanwhile, and use it.
        before = recorded_owner(directory)
        if before is not None and before.is_the_same(mine):
            return True
        if (descriptor := _lock(directory, shared=False)) is None:
            return None
        try:
            _record(directory, mine, replace=True)
        finally:
            os.close(descriptor)
        if before is not None:
            log.warning("the cache folder was given to this broker", folder=str(directory), before=str(before))
        return True

    await _patiently(attempt, directory, patience_s)


async def given(directory: Path, mine: BrokerIdentity, ready: Readiness) -> None:
    """Wait until a folder belongs to the broker `mine` or to none; readiness reports the owner and the remedy.

    Raises ConfigError when the record of the owner is unreadable.
    """
    if (theirs := _known(directory)) is None or theirs.is_the_same(mine):
        return
    reason = f"{refusal(directory, theirs, mine)}; {REMEDY}"
    log.error("the broker was replaced, and its candles are not stored", reason=reason)
    with ready.checked("storage", lambda: reason):
        # Polled: the file may be on the disk of another machine.
        while (theirs := _known(directory)) is not None and not theirs.is_the_same(mine):  # noqa: ASYNC110
            await asyncio.sleep(GIVEN_POLL_S)
    log.info("the cache folder belongs to this broker now", folder=str(directory))


async def _patiently(attempt: Callable[[], T | None], directory: Path, patience_s: float = PATIENCE_S) -> T:
    deadline = time.monotonic() + patience_s
    # Polled: the release of another process's lock is not signalled.
    while (found := attempt()) is None:
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"caches are at work on the folder {directory}", "stop each of them first, also on other machines"
            )
        await asyncio.sleep(_POLL_S)
    return found


def _lock(directory: Path, *, shared: bool) -> int | None:
    """A descriptor that holds the lock; None if another process holds it."""
    path = directory / LOCK
    with as_storage_error(f"lock {path}"):
        return filelock.open_locked(path, shared=shared)


def _known(directory: Path) -> BrokerIdentity | None:
    try:
        return owner(directory)
    except CacheFileError as error:
        raise ConfigError(error.message, error.remedy) from error


def _recorded(directory: Path, theirs: BrokerIdentity, mine: BrokerIdentity) -> bool:
    as_it_is = (theirs.generation, theirs.stream) == (mine.generation, mine.stream)
    return as_it_is and (directory / RECORD).exists()


def _record(directory: Path, mine: BrokerIdentity, *, replace: bool) -> None:
    """Write the record, durably. Without `replace` an existing record is kept."""
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
                # Another cache was first; its record counts.
                pass
            finally:
                disk.unlink(temporary)
        disk.fsync_dir(str(directory))


def _of_checkpoints(directory: Path) -> BrokerIdentity | None:
    found: list[BrokerIdentity] = []
    for path in directory.glob(".partition-*.json"):
        try:
            checkpoint = fence.decode(path.read_bytes())
        except (OSError, ValueError):
            # Reported when the partition is opened.
            continue
        stream = int(checkpoint.stream) if checkpoint.stream.isdecimal() else 0
        found.append(BrokerIdentity(generation=checkpoint.generation, stream=stream))
    return max(found, key=lambda each: each.generation, default=None)


def _modified_ms(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except OSError:
        return 0
