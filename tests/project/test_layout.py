"""The tests themselves: where their files stand, how they are marked and named, and how much code supports them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
# Concerns that are no folder of the source: what several services do together, and the project itself.
OWN_FOLDERS = {"deployment", "docs", "fetch", "pipeline", "project", "security", "tickers"}
COSTS = {"pure", "golden", "actors", "faults", "system"}
FILES = sorted(TESTS.rglob("test_*.py"))


def marks(path: Path) -> set[str]:
    """Names under `pytest.mark` in the file's `pytestmark`."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Assign(targets=[ast.Name("pytestmark")], value=value):
                return {each.attr for each in ast.walk(value) if isinstance(each, ast.Attribute)} - {"mark"}
    return set()


def test_each_test_file_is_in_the_folder_of_a_concern() -> None:
    patterns = (
        "shared/tickwire/*/",
        "cli/tickwire/*/",
        "services/*/tickwire/*/",
        "services/*/tickwire/*/*/",
        "simulator/*/*/",
    )
    source = {path.name for pattern in patterns for path in ROOT.glob(pattern)}
    assert [path for path in FILES if path.parent.parent != TESTS] == []
    assert {path.parent.name for path in FILES} - source - OWN_FOLDERS == set()


def test_each_test_file_is_marked_with_one_cost() -> None:
    assert {str(path.relative_to(TESTS)): found for path in FILES if len(found := marks(path) & COSTS) != 1} == {}


def test_each_name_of_a_test_is_a_sentence_below_80_characters() -> None:
    found = [
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert len(found) > 1000
    assert [name for name in found if len(name) >= 80] == []
