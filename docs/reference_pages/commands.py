"""Every command, from the command line's own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from reference_pages.markdown import cell, prose, table
from tickwire.cli.main import app

HEAD = """# Commands

Made from the help of `tickwire`, which each command prints with `--help`. Exit codes are in
[running.md](../running.md#exit-codes).
"""


def page() -> str:
    """The page."""
    return "\n".join(
        [HEAD, *(part for name, each in commands(typer.main.get_command(app)) for part in _of(name, each))]
    )


def commands(group: Any, path: tuple[str, ...] = ("tickwire",)) -> Iterator[tuple[str, Any]]:
    """Every command that is not hidden, by its name such as `tickwire candles get`."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, (*path, name))
        elif not each.hidden:
            yield " ".join((*path, name)), each


def _of(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}\n"
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{name} {usage}\n```\n"
    yield prose(command.help)
    rows = [_row(each, context) for each in command.params if not getattr(each, "hidden", False)]
    if rows:
        yield table(("argument or option", "meaning"), rows)


def _row(parameter: Any, context: Any) -> tuple[str, str]:
    names, text = parameter.get_help_record(context)
    return f"`{cell(names.removesuffix(' <str>'))}`", cell(text)
