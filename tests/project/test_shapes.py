"""Files, those of tests too, and functions and parameter lists stay short enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
FOLDERS = ("shared", "cli", "services", "simulator", "benchmarks")
FILE_LINES = 350
FUNCTION_LINES = 50
PARAMETERS = 6
OPTIONS = {
    "shared/tickwire/client/connection.py",  # keyword options of the public client
    "shared/tickwire/client/sync.py",
    "shared/tickwire/process/children.py",  # the options of asyncio's subprocesses
    "shared/tickwire/tape/reader.py",
    "cli/tickwire/cli/commands/archive.py",  # options of a command line
    "cli/tickwire/cli/commands/candles.py",
    "cli/tickwire/cli/commands/feeds.py",
    "cli/tickwire/cli/commands/trades.py",
}
"""Files with functions that have more parameters, because each is an option with a default."""


def sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, text in sources(*FOLDERS):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    found = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([each for each in found if each.arg not in ("self", "cls")])


def test_no_file_is_longer_than_350_lines() -> None:
    assert [name for name, text in sources(*FOLDERS, "tests") if text.count("\n") > FILE_LINES] == []


def test_no_function_is_longer_than_50_lines() -> None:
    long = [(name, each.name) for name, each in functions() if (each.end_lineno or 0) - each.lineno >= FUNCTION_LINES]
    assert long == []


def test_no_function_has_more_than_six_parameters_unless_they_are_options() -> None:
    many = {name for name, each in functions() if parameters(each) > PARAMETERS}
    assert many == OPTIONS
