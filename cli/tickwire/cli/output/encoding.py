"""Output in the encoding of whoever reads it: nothing that is said fails for its characters."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable

_DRAWN = range(0x2500, 0x2900)
"""Box drawing, block elements, geometric shapes and Braille patterns (Unicode): what bars and charts are made of."""
_ERRORS = "tickwire.shown"


def _shown(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: # for a piece of a drawing, an escape for a letter."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    drawn = ("#" if ord(each) in _DRAWN else each.encode("ascii", "backslashreplace").decode() for each in lacking)
    return "".join(drawn), error.end


codecs.register_error(_ERRORS, _shown)


def for_people() -> None:
    """Have both outputs show what their encoding has, and stand-ins for what it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def for_programs() -> None:
    """Have standard output be UTF-8, whatever the terminal's encoding: JSON is (RFC 8259, 8.1), and so is our CSV."""
    if isinstance(sys.stdout, io.TextIOWrapper) and codecs.lookup(sys.stdout.encoding).name != "utf-8":
        sys.stdout.reconfigure(encoding="utf-8")


def arguments(given: Iterable[str]) -> list[str]:
    """Arguments as UTF-8, also where Python took the bytes of another encoding's terminal for unreadable."""
    return [os.fsencode(each).decode(errors="surrogateescape") for each in given]
