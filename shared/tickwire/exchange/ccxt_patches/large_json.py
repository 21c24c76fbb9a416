"""Parses large JSON texts in slices, outside the event loop.

A parser in C holds the interpreter's lock until it has read the whole text: the listing of 4,000 markets stops every
thread for 18 ms (measured). Here the text is parsed value by value, so that the loop has its turn between two of them.
Numbers are those of `exact_json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

LARGE = 65_536
"""Texts from this length on (characters) are parsed in slices."""

_postpones: ContextVar[bool] = ContextVar("postpones_large_json", default=False)
_OBJECTS = 2
"""Levels of objects that are sliced: listings are one or two levels deep."""


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


_scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
"""(text, place) -> the value that begins there, and where it ends. Raises ValueError, RecursionError."""


class Unparsed:
    """A large JSON text that was received and is to be parsed elsewhere.

    `answer` is what ccxt's `handle_errors` gets besides the parsed text.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.answer: tuple[Any, ...] = ()


@contextmanager
def postponed() -> Iterator[None]:
    """Within the block, this task receives large texts as `Unparsed`."""
    before = _postpones.set(True)
    try:
        yield
    finally:
        _postpones.reset(before)


def is_postponed(text: str) -> bool:
    """Whether this task receives a text as `Unparsed`."""
    return _postpones.get() and len(text) >= LARGE


def loads(text: str) -> Any:
    """Parse a JSON text in slices: the values of the outer two objects, and the elements of arrays in them.

    Raises ValueError if it is not JSON or is nested too deeply.
    """
    try:
        value, end = _value(text, _skip(text, 0), _OBJECTS)
    except RecursionError as error:
        raise ValueError(f"not JSON: {error!r}") from error
    if _skip(text, end) != len(text):
        raise ValueError(f"the text goes on after its value, at character {end}")
    return value


def _value(text: str, at: int, objects: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends. So many levels of objects are sliced."""
    if text.startswith("[", at):
        return _array(text, at)
    if objects and text.startswith("{", at):
        return _object(text, at, objects - 1)
    return _scan(text, at)


def _array(text: str, at: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _skip(text, at + 1)
    if text.startswith("]", at):
        return found, at + 1
    while True:
        value, at = _scan(text, at)
        found.append(value)
        at = _skip(text, at)
        if text.startswith("]", at):
            return found, at + 1
        at = _after(text, ",", at)


def _object(text: str, at: int, objects: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _skip(text, at + 1)
    if text.startswith("}", at):
        return found, at + 1
    while True:
        key, at = _scan(text, at)
        if not isinstance(key, str):
            raise ValueError(f"a key of an object is no text, before character {at}")
        found[key], at = _value(text, _after(text, ":", _skip(text, at)), objects)
        at = _skip(text, at)
        if text.startswith("}", at):
            return found, at + 1
        at = _after(text, ",", at)


def _after(text: str, mark: str, at: int) -> int:
    """Where the next value begins after a mark that must be at `at`. Raises ValueError."""
    if not text.startswith(mark, at):
        raise ValueError(f"{mark!r} is missing at character {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """Where the text goes on after white space (RFC 8259, 2)."""
    while at < len(text) and text[at] in " \t\n\r":
        at += 1
    return at
