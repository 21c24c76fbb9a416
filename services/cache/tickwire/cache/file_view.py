"""The bytes of an open file, read as they are needed.

Not mapped: to touch a page of a mapped file that another program has shortened ends the process (SIGBUS), and an editor
that saves a file shortens it first.
"""

from __future__ import annotations

import errno
import os
import weakref

_FIRST, _MOST = 256, 1 << 16
"""Bytes that are searched at once: a line, then more."""


class FileView:
    """The first `size` bytes of an open file, which may be closed meanwhile. Methods raise OSError.

    Of slices only those with a step of 1; the end of one that is behind the file's is that of the file.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = os.dup(fd)
        self._size = size
        weakref.finalize(self, os.close, self._fd).atexit = False

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        pieces: list[bytes] = []
        while start < stop:
            piece = os.pread(self._fd, stop - start, start)
            if not piece:
                raise OSError(errno.ESTALE, "the file became shorter while it was read")
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def find(self, byte: bytes, start: int, end: int) -> int:
        """As of bytes."""
        step = _FIRST
        while start < end:
            piece = self[start : min(start + step, end)]
            if (at := piece.find(byte)) >= 0:
                return start + at
            start, step = start + step, min(4 * step, _MOST)
        return -1

    def rfind(self, byte: bytes, start: int, end: int) -> int:
        """As of bytes."""
        step = _FIRST
        while start < end:
            begin = max(start, end - step)
            if (at := self[begin:end].rfind(byte)) >= 0:
                return begin + at
            end, step = begin, min(4 * step, _MOST)
        return -1
