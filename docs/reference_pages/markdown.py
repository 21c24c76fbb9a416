"""Pieces of Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines) + "\n"


def cell(text: str) -> str:
    """A text as one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A text as code in a table; nothing if it is empty."""
    return f"`{cell(text)}`" if text else ""


def prose(text: str | None) -> str:
    """A docstring as Markdown: what looks like a tag in it is text."""
    return inspect.cleandoc(text or "").replace("<", "\\<") + "\n"
