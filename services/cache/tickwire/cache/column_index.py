"""Columns of a data file that were parsed once, kept beside it so that no read parses the same text again.

`<exchange>_<token>_<timeframe>.columns` has a record for each ROWS consecutive lines of the data file: their place, two
checksums of their text, their packed columns, and a checksum of all that. A record counts only if the checksums are
those of itself and of the text at its place now. So whatever happened to either file (a kill, a lost write, a splice,
an edit by another program), a read gives what parsing the text gives. For that reason the file is never synced,
repaired or trusted, and may be removed at any time.

Records begin at multiples of RECORD_BYTES, so that one is found without reading others. Most are shorter: what lies
between is a hole, which takes no space on the disk.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from tickwire.cache import csv_bytes, packed_columns
from tickwire.cache.candle_rows import columns
from tickwire.cache.csv_bytes import START
from tickwire.cache.disk import Buffer, Disk
from tickwire.cache.packed_columns import Packed

ROWS = 10 * 1024
"""Most rows of a record, which fits into a message. The last record may have fewer, and is written again for more."""
NEW_ROWS = 1024
"""Fewer rows behind the last record are not worth one: parsing them takes 0.3 ms."""
RECORD_BYTES = 512 << 10
SPARE_BYTES = 256 << 20
"""Below this much free space no record is added: the space is for candles."""
WORTH_BYTES = 64 << 10
"""Parsing less text than this costs no more than the checksums of a whole record."""

_HEAD = struct.Struct("<qqIQI")
"""Start and end of the text, its checksums, and the length of the columns. A checksum of these and of the columns
follows, then the columns. All of a record is little-endian."""
_CHECKSUM = struct.Struct("<I")
_BEGIN = _HEAD.size + _CHECKSUM.size
_FORMAT = 1
"""Begins the checksum of the text: to be changed with the layout, or with what parsing gives."""
_LONGEST_TEXT = 2 << 20
"""A longer text is not kept: its numbers have more digits than those of any exchange."""


class Record(NamedTuple):
    """The parsed `text` at `[start, end)` of a data file."""

    start: int
    end: int
    text: memoryview
    packed: Packed

    def part(self, start: int, end: int) -> Packed:
        """The rows of the lines at `[start, end)`, both within the record and at the start of a line."""
        before = bytes(self.text[: start - self.start]).count(b"\n")
        behind = bytes(self.text[end - self.start :]).count(b"\n")
        return self.packed.part(before, self.packed.rows - behind)


class ColumnIndex:
    """The records in an open file, for one reader. Methods raise OSError."""

    def __init__(self, disk: Disk, fd: int) -> None:
        self._disk = disk
        self._fd = fd
        self.count = -(-disk.stat(fd)[1] // RECORD_BYTES)
        self.wrong: int | None = None
        """The number of the first record that did not count where it should have; None if all did."""

    def covering(self, view: Buffer, offset: int) -> Record | None:
        """The record of the line that starts at `offset`, None if no record counts there."""
        number = bisect_right(range(self.count), offset, key=self._start) - 1
        found = self.record(view, number) if number >= 0 else None
        if found is not None and offset < found.end:
            return found
        # Behind the last record there is none yet; elsewhere this one is wrong, or the next one is.
        missed = max(0, number if found is None else number + 1)
        if missed < self.count:
            self.wrong = missed if self.wrong is None else min(missed, self.wrong)
        return None

    def record(self, view: Buffer, number: int) -> Record | None:
        """A record, None if it does not count."""
        place = number * RECORD_BYTES
        head = self._disk.read(self._fd, _BEGIN, place)
        if len(head) < _BEGIN:
            return None
        start, end, crc, total, length = _HEAD.unpack_from(head)
        (checksum,) = _CHECKSUM.unpack_from(head, _HEAD.size)
        if not START <= start < end <= len(view) or end - start > _LONGEST_TEXT or view[start - 1 : start] != b"\n":
            return None
        if not 0 < length <= RECORD_BYTES - _BEGIN:
            return None
        data = self._disk.read(self._fd, length, place + _BEGIN)
        if zlib.crc32(data, zlib.crc32(head[: _HEAD.size])) != checksum:
            return None
        text = memoryview(view[start:end])
        return Record(start, end, text, packed_columns.decode(data)) if _checksums(text) == (crc, total) else None

    def _start(self, number: int) -> int:
        data = self._disk.read(self._fd, 8, number * RECORD_BYTES)
        return int.from_bytes(data, "little", signed=True)


def extend(disk: Disk, fd: int, view: Buffer, wrong: int | None) -> bool:
    """Add a record for the first lines of a data file that have none; whether there were enough of them.

    `wrong` is that of a reader: this record and those behind it are dropped before. Raises OSError.
    """
    index = ColumnIndex(disk, fd)
    kept = index.count if wrong is None else min(wrong, index.count)
    last: Record | None = None
    # A splice makes all records behind it wrong: halving finds one before it soon.
    while kept and (last := index.record(view, kept - 1)) is None:
        kept //= 2
    if kept < index.count:
        disk.truncate(fd, kept * RECORD_BYTES)
    start, behind = (last.start, last.end) if last is not None else (START, START)
    if last is not None and last.packed.rows < ROWS:
        kept -= 1
    else:
        start = behind
    data = _encoded(view, start, behind)
    if data is None or disk.free(fd) < SPARE_BYTES + len(data):
        return False
    place = kept * RECORD_BYTES
    try:
        disk.write(fd, data, place)
    except OSError:
        disk.truncate(fd, place)
        raise
    return True


def _encoded(view: Buffer, start: int, behind: int) -> bytes | None:
    """A record of the lines from `start`; None if too few of them are `behind` the last record, or one is not a row."""
    end = csv_bytes.cut_after(view, start, len(view), ROWS)
    # Not only of this record's rows: one that is nearly full has room for fewer.
    new = view[behind : csv_bytes.cut_after(view, behind, len(view), NEW_ROWS)].count(b"\n")
    if end - start > _LONGEST_TEXT or new < NEW_ROWS:
        return None
    text = view[start:end]
    try:
        table = columns(text)
    except ValueError:
        # The read that meets it names the line.
        return None
    data = packed_columns.encode(packed_columns.pack(table))
    head = _HEAD.pack(start, end, *_checksums(text), len(data))
    # Over both, because an interrupted write may leave the head of one record with the columns of another.
    return head + _CHECKSUM.pack(zlib.crc32(data, zlib.crc32(head))) + data


def _checksums(text: bytes | memoryview) -> tuple[int, int]:
    """Two of unlike kinds, because one alone does not notice one change in 2**32. Twice as fast as any of hashlib's."""
    words = np.frombuffer(text, "<u8", len(text) // 8)
    return zlib.crc32(text, _FORMAT), int(words.sum())
