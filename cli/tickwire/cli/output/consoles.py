"""Consoles of rich, which services and most short commands do not import."""

from __future__ import annotations

import sys

from rich.console import Console

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
