"""Does each of some writings in a child that is killed before its first step, before its second, and so on.

    python killed_writer.py FOLDER

FOLDER/<writing>/<n> is what is left of the n-th child; the last one of each writing came to its end. A step is whatever
changes the file system or makes it durable: `open` for writing, `mkdir`, `fsync`, `rename`, `unlink`, `rmdir`.
FOLDER/<writing>/read-<n> is what two readers got that had read a row before: one goes on, one asks again with a cursor.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archive_files.taped import BEGIN, DATE, DAY, FEED, HOUR, Taped, message, unchecked, write_round
from tickwire.archive_files import days, pages
from tickwire.archive_files.layout import Through
from tickwire.archive_files.removal import remove_day
from tickwire.archive_files.root import FolderRoot
from tickwire.client.archived import table_of
from tickwire.errors import StorageError
from tickwire.model.messages.archived_trades import ArchivedTradesRequest

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

END = BEGIN + DAY
FIRST: list[Taped] = [(message(until=BEGIN), 1, 0), (message(BEGIN, BEGIN + HOUR, until=BEGIN + HOUR), 2, 1)]
SECOND: list[Taped] = [(message(BEGIN + 2 * HOUR, until=END), 3, 2)]
LATE: list[Taped] = [(message(BEGIN + 5, BEGIN + 6, source="rest", until=END), 4, 3)]


def nothing(root: FolderRoot) -> None:
    """An empty root."""


def parts(root: FolderRoot) -> None:
    """A day in two parts."""
    write_round(root, FIRST, 2)
    write_round(root, SECOND, 3, done=2)


def first_part(root: FolderRoot) -> None:
    """One part."""
    write_round(root, FIRST, 2)


def late_part(root: FolderRoot) -> None:
    """A closed day, and a part that came later."""
    parts(root)
    close(root)
    write_round(root, LATE, 4, done=3)


def close(root: FolderRoot) -> None:
    """Close the day."""
    days.close_day(root, FEED.on(DATE), END, unchecked)


def closed(root: FolderRoot) -> None:
    """A closed day."""
    parts(root)
    close(root)


def remove(root: FolderRoot) -> None:
    """Remove the day."""
    remove_day(root, FEED.on(DATE), unchecked)


WRITINGS: dict[str, tuple[Callable[[FolderRoot], None], Callable[[FolderRoot], None]]] = {
    "part": (nothing, first_part),
    "close": (parts, close),
    "reopen": (late_part, close),
    "remove": (closed, remove),
}
"""What is there before, and what is written then."""


def kill_before(step: int, folder: Path) -> None:
    """Let this process be killed before a step in a folder."""
    steps = count()

    def stepped() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, arguments: tuple[object, ...]) -> None:
        writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
            event == "open" and "x" in str(arguments[1])
        )
        if writes and str(arguments[0]).startswith(str(folder)):
            stepped()

    synced = os.fsync

    def fsync(fd: FileDescriptorLike) -> None:
        stepped()
        synced(fd)

    sys.addaudithook(heard)
    os.fsync = fsync


def times(batches: Iterable[Any]) -> list[int] | str:
    """The times of rows, or why they cannot be read."""
    try:
        return [each for batch in batches for each in batch.column(0).cast("int64").to_pylist()]
    except StorageError as error:
        return error.message


def pages_after(root: FolderRoot, cursor: str | None) -> Iterator[Any]:
    """The rows of pages of one row each, as any instance of the archive answers them."""
    while cursor is not None:
        request = ArchivedTradesRequest(exchange="binance", symbol="BTC/USDT", limit=1, cursor=cursor)
        for chunk in pages.chunks(root, request, Through(0, 0)):
            cursor = chunk.cursor
            yield from table_of(chunk).to_batches()


def main(folder: Path) -> None:
    for name, (before, writing) in WRITINGS.items():
        template = folder / name / "before"
        template.mkdir(parents=True)
        before(FolderRoot(template))
        for step in count():
            root = folder / name / str(step)
            shutil.copytree(template, root)
            going_on = days.read_rows(FolderRoot(root), FEED, 0, batch_rows=1)
            first: Any = next(going_on, None)
            asked = ArchivedTradesRequest(exchange="binance", symbol="BTC/USDT", limit=1)
            cursor = [each.cursor for each in pages.chunks(FolderRoot(root), asked, Through(0, 0))][-1]
            child = os.fork()
            if not child:
                kill_before(step, root)
                writing(FolderRoot(root))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if first is not None:
                read = [times(going_on), times(pages_after(FolderRoot(root), cursor))]
                (folder / name / f"read-{step}").write_text(json.dumps(read))
            if not os.WIFSIGNALED(status):
                assert status == 0
                break
            assert os.WTERMSIG(status) == signal.SIGKILL


if __name__ == "__main__":
    main(Path(sys.argv[1]))
