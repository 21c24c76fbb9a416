"""Consoles of rich, which services and most short commands do not import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live

_PIPED_WIDTH = 200


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise as `print` does, instead of rich's own exit."""
        raise BrokenPipeError


def out() -> Console:
    """Return the console of standard output, for facts. A pipe gets long lines rather than 80 columns."""
    return _Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def err() -> Console:
    """Return the console of standard error, for progress and remarks."""
    return _Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_WIDTH, highlight=False)


@contextmanager
def painting(console: Console, last: Callable[[], RenderableType | None]) -> Iterator[Live]:
    """Paint frames on the terminal's other screen; leave `last()` on the first one at the end, where it is anything.

    On the first screen a terminal that is made narrower breaks the lines of a frame, and leaves pieces of it.
    """
    try:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            yield live
    finally:
        if (left := last()) is not None:
            console.print(left)
