"""Encodings of arguments and output: no output fails because the terminal lacks a character."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable

_DRAWN = range(0x2500, 0x2900)
"""Box drawing, block elements, geometric shapes and Braille patterns (Unicode): the characters of bars and charts."""
_ERRORS = "tickwire.shown"


def _shown(error: UnicodeError) -> tuple[str, int]:
    """Return a replacement for unencodable characters: # for a piece of a drawing, an escape for any other."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    drawn = ("#" if ord(each) in _DRAWN else each.encode("ascii", "backslashreplace").decode() for each in missing)
    return "".join(drawn), error.end


codecs.register_error(_ERRORS, _shown)


def for_people() -> None:
    """Make both outputs replace characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def for_programs() -> None:
    """Make standard output UTF-8, whatever the terminal's encoding, as JSON (RFC 8259, 8.1) and our CSV require."""
    if isinstance(sys.stdout, io.TextIOWrapper) and codecs.lookup(sys.stdout.encoding).name != "utf-8":
        sys.stdout.reconfigure(encoding="utf-8")


def arguments(given: Iterable[str]) -> list[str]:
    """Decode arguments as UTF-8, also where Python decoded them with the locale's encoding."""
    return [os.fsencode(each).decode(errors="surrogateescape") for each in given]
