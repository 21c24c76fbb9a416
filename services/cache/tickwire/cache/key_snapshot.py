"""A consistent snapshot of a key's rows.

An open descriptor keeps the file that a splice replaces, and bytes before its size never change (rows are appended
behind them). So reads through one descriptor are consistent, whatever the writer does meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from tickwire.cache import csv_bytes
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.csv_bytes import START, MalformedLine
from tickwire.cache.disk import Buffer, as_storage_error
from tickwire.errors import CacheFileError
from tickwire.model.subjects import Key

PIECE_BYTES = 400 << 10
"""A piece fits into one message, as JSON or as columns, and is converted within a few milliseconds."""


class KeySnapshot:
    """An open data file, whose first `size` bytes are durable rows. Close it, or use it as a context manager.

    Rows that open at `latest` (ms) or later are implausible, and not read.
    """

    def __init__(self, folder: CacheFolder, key: Key, fd: int, size: int, latest: int) -> None:
        self.key = key
        self._folder = folder
        self._fd = fd
        self._size = size
        self._latest = latest
        self._at = START
        """The offset of the last piece in the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        self._folder.disk.close(self._fd)

    def lines(self, since: int | None, until: int | None, limit: int | None = None, *, last: bool = False) -> bytes:
        """The lines of the rows that open in `[since, until)`, the first or `last` `limit` of them; nothing is parsed.

        Raises CacheFileError where a line met on the way is not a row, StorageError.
        """
        return b"".join(self.pieces(since, until, limit, last=last))

    def pieces(
        self, since: int | None, until: int | None, limit: int | None = None, *, last: bool = False
    ) -> Iterator[bytes]:
        """The same in parts of PIECE_BYTES: copying and converting more at once would block all other threads."""
        with as_storage_error(f"read {self._path}"):
            view = self.view()
            end = len(view)
            try:
                start = START if since is None else csv_bytes.bisect(view, since, START, end)
                until = self._latest if until is None else min(until, self._latest)
                stop = csv_bytes.bisect(view, until, start, end)
                if limit is not None and last:
                    start = csv_bytes.cut_before(view, start, stop, limit)
                elif limit is not None:
                    stop = csv_bytes.cut_after(view, start, stop, max(limit, 0))
                while start < stop:
                    cut = stop
                    if stop - start > PIECE_BYTES:
                        cut = (view.rfind(b"\n", start, start + PIECE_BYTES) + 1) or csv_bytes.line_end(
                            view, start, stop
                        )
                    self._at = start
                    yield view[start:cut]
                    start = cut
            except MalformedLine as error:
                raise refused_line(self._folder, self.key, view, error) from error

    def messages(
        self,
        since: int | None,
        until: int | None,
        limit: int | None,
        convert: Callable[[Key, Iterable[bytes]], Iterator[bytes]],
        *,
        last: bool = False,
    ) -> Iterator[bytes]:
        """The rows as messages that `convert` makes of their lines. Raises CacheFileError, naming a malformed line."""
        at, lines = START, b""

        def tracked() -> Iterator[bytes]:
            nonlocal at, lines
            for piece in self.pieces(since, until, limit, last=last):
                at, lines = self._at, piece
                yield piece

        try:
            yield from convert(self.key, tracked())
        except ValueError as error:
            offset = csv_bytes.first_malformed(lines)
            if offset is None:
                raise self._folder.refused(self.key, self._path, f"its rows cannot be read ({error})") from error
            raise refused_line(self._folder, self.key, self.view(), MalformedLine(at + offset)) from error

    def plausible_end(self) -> tuple[int, int | None]:
        """How many rows are implausible, and the date of the last plausible one. Raises like `lines`."""
        with as_storage_error(f"read {self._path}"):
            view = self.view()
            end = len(view)
            try:
                stop = csv_bytes.bisect(view, self._latest, START, end)
                last = csv_bytes.date_at(view, csv_bytes.last_line(view, stop)) if stop > START else None
            except MalformedLine as error:
                raise refused_line(self._folder, self.key, view, error) from error
            return view[stop:end].count(b"\n"), last

    @property
    def _path(self) -> str:
        return self._folder.data(self.key)

    def view(self) -> Buffer:
        """The header and all rows. Raises OSError."""
        return self._folder.disk.view(self._fd, self._size)


@contextmanager
def refusing_malformed_lines(folder: CacheFolder, key: Key, view: Buffer) -> Iterator[None]:
    """Turn a MalformedLine inside the block into a CacheFileError with the number of the line."""
    try:
        yield
    except MalformedLine as error:
        raise refused_line(folder, key, view, error) from error


def refused_line(folder: CacheFolder, key: Key, view: Buffer, error: MalformedLine) -> CacheFileError:
    """The error for a line that is not a row."""
    return folder.refused(
        key, folder.data(key), "it is not a row of six numbers", csv_bytes.line_number(view, error.offset)
    )
