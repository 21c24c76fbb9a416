"""A consistent snapshot of a key's rows.

An open descriptor keeps the file that a splice replaces, and bytes before its size never change (rows are appended
behind them). So reads through one descriptor are consistent, whatever the writer does meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Self

from tickwire.cache import column_index, csv_bytes
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import columns, parse_rows
from tickwire.cache.column_index import ColumnIndex, Record
from tickwire.cache.csv_bytes import START, MalformedLine
from tickwire.cache.disk import Buffer, as_storage_error
from tickwire.cache.packed_columns import Packed, plain
from tickwire.errors import CacheFileError
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode

log = logs.get(__name__)

_unreadable = Episode(log, "parsed columns cannot be read, so their rows are parsed again", quiet_s=QUIET_S)

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
        self.parsed = 0
        """How many rows `tables` had to parse."""
        self.wrong_record: int | None = None
        """The first record that `tables` found not to count."""

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
        for _, text in self._texts(since, until, limit, last=last):
            yield text

    def checked_pieces(
        self, since: int | None, until: int | None, limit: int | None = None, *, last: bool = False
    ) -> Iterator[bytes]:
        """The same, after a check of every line. Raises CacheFileError, naming the line that is no row of its place."""
        before: int | None = None
        for at, text in self._texts(since, until, limit, last=last):
            with self._refusing(at, text):
                for date, *_ in parse_rows(text):
                    before = _ascending(date, before)
            yield text

    def tables(
        self, since: int | None, until: int | None, limit: int | None = None, *, last: bool = False
    ) -> Iterator[Packed]:
        """The same as columns: those that were kept (`column_index`) where they count, else parsed.

        Raises CacheFileError, naming the line that is no row of its place.
        """
        before: int | None = None
        with self._reading() as view, self._index() as index:
            at, stop = self._bounds(view, since, until, limit, last=last)
            while at < stop:
                known = self._known(index, view, at, stop)
                if known is not None:
                    cut = min(known.end, stop)
                    table = known.part(at, cut)
                else:
                    cut = _piece_end(view, at, stop)
                    with self._refusing(at, text := view[at:cut]):
                        table = plain(columns(text))
                    self.parsed += table.rows
                first, newest = table.ends
                with self._refusing(at, b""):
                    _ascending(first, before)
                before = newest
                yield table
                at = cut
            self.wrong_record = index.wrong if index is not None else None

    def extend_index(self, wrong: int | None) -> bool:
        """Keep the columns of ROWS more rows (`column_index.extend`). Raises StorageError."""
        disk, path = self._folder.disk, self._folder.columns(self.key)
        with as_storage_error(f"write {path}"), self._folder.opened(path, os.O_RDWR | os.O_CREAT) as fd:
            assert fd is not None
            return column_index.extend(disk, fd, self.view(), wrong)

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

    def view(self) -> Buffer:
        """The header and all rows. Raises OSError."""
        return self._folder.disk.view(self._fd, self._size)

    # -- private -------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return self._folder.data(self.key)

    @contextmanager
    def _reading(self) -> Iterator[Buffer]:
        """The view. Raises StorageError, and CacheFileError for a MalformedLine inside the block."""
        with as_storage_error(f"read {self._path}"):
            view = self.view()
            with refusing_malformed_lines(self._folder, self.key, view):
                yield view

    @contextmanager
    def _refusing(self, at: int, text: bytes) -> Iterator[None]:
        """Turn a ValueError inside the block into a CacheFileError for the first line at `at` that is not a row."""
        try:
            yield
        except ValueError as error:
            wrong = MalformedLine(at + (csv_bytes.first_malformed(text) or 0))
            raise refused_line(self._folder, self.key, self.view(), wrong) from error

    def _texts(
        self, since: int | None, until: int | None, limit: int | None, *, last: bool
    ) -> Iterator[tuple[int, bytes]]:
        """The selected lines in pieces, and the offset of each."""
        with self._reading() as view:
            at, stop = self._bounds(view, since, until, limit, last=last)
            while at < stop:
                cut = _piece_end(view, at, stop)
                yield at, view[at:cut]
                at = cut

    def _bounds(
        self, view: Buffer, since: int | None, until: int | None, limit: int | None, *, last: bool
    ) -> tuple[int, int]:
        """Where the selected lines are. Raises MalformedLine where a line met on the way is not a row."""
        end = len(view)
        start = START if since is None else csv_bytes.bisect(view, since, START, end)
        until = self._latest if until is None else min(until, self._latest)
        stop = csv_bytes.bisect(view, until, start, end)
        if limit is not None and last:
            start = csv_bytes.cut_before(view, start, stop, limit)
        elif limit is not None:
            stop = csv_bytes.cut_after(view, start, stop, max(limit, 0))
        return start, stop

    @contextmanager
    def _index(self) -> Iterator[ColumnIndex | None]:
        """The index of this key; None where there is none that can be opened."""
        with ExitStack() as stack:
            index = None
            try:
                fd = stack.enter_context(self._folder.opened(self._folder.columns(self.key)))
                index = ColumnIndex(self._folder.disk, fd) if fd is not None else None
            except OSError as error:
                _unreadable.occurs(**self.key._asdict(), reason=str(error))
            yield index

    def _known(self, index: ColumnIndex | None, view: Buffer, at: int, stop: int) -> Record | None:
        """What the index has of the line at `at`, if enough is read to look it up."""
        if index is None or stop - at < column_index.WORTH_BYTES:
            return None
        try:
            return index.covering(view, at)
        except OSError as error:
            _unreadable.occurs(**self.key._asdict(), reason=str(error))
            return None


def _piece_end(view: Buffer, start: int, stop: int) -> int:
    """The end of the lines that are converted at once, of those at `[start, stop)`."""
    if stop - start <= PIECE_BYTES:
        return stop
    return (view.rfind(b"\n", start, start + PIECE_BYTES) + 1) or csv_bytes.line_end(view, start, stop)


def _ascending(date: int, before: int | None) -> int:
    """The date. Raises ValueError when it is not after the one before it."""
    if before is not None and date <= before:
        raise ValueError("rows that do not ascend")
    return date


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
