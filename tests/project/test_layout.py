"""The tests themselves: where their files stand, how they are marked and named, and how much code supports them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
# Concerns that are no folder of the source: what several services do together, and the project itself.
OWN_FOLDERS = {"deployment", "docs", "fetch", "pipeline", "project", "security", "tickers", "conformance"}
COSTS = {"pure", "golden", "actors", "faults", "system"}
MOST_SHARED = 2_640
"""Lines of tests/support, which several folders share: 185 of them fork programs, for a sixth less CPU time of all."""
MOST_HELPERS = 0.205
"""The part of all lines in tests/ that is functions and classes which are no tests."""
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
    source |= {path.stem for path in ROOT.glob("shared/tickwire/venues/*.py")}
    # Each venue has a folder of its own below `venues`.
    assert [path for path in FILES if path.parent.parent not in (TESTS, TESTS / "venues")] == []
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


def helper_lines(path: Path) -> int:
    """Lines of a file's functions and classes that are no tests."""
    return sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("test_")
    )


def test_code_that_supports_tests_does_not_grow() -> None:
    assert sum(path.read_text().count("\n") for path in (TESTS / "support").glob("*.py")) < MOST_SHARED
    paths = list(TESTS.rglob("*.py"))
    lines = sum(path.read_text().count("\n") for path in paths)
    assert sum(map(helper_lines, paths)) < MOST_HELPERS * lines


def test_what_one_folder_alone_uses_of_the_support_stands_in_it() -> None:
    """In tests/support is what two folders or more use, directly or through another file there."""
    imports = {path: path.read_text() for path in TESTS.rglob("*.py")}
    for path in (TESTS / "support").glob("*.py"):
        pattern = re.compile(rf"support\.{path.stem}\b|from support import [^\n]*\b{path.stem}\b")
        users = {each.parent.name for each, text in imports.items() if each != path and pattern.search(text)}
        assert len(users) > 1 or users == {"support"}, (path.name, users)


def test_files_of_tests_that_are_named_elsewhere_are_there() -> None:
    places = [ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    # What was changed is told under the names of its time.
    named = {
        name
        for place in places
        if place.name != "CHANGELOG.md"
        for name in re.findall(r"\btests/[\w/*]+(?:\.py)?(?:::\w+)?", place.read_text())
    }
    assert len(named) > 5
    for name in named:
        path, _, test = name.partition("::")
        found = list(ROOT.glob(path))
        assert found, name
        assert not test or f"def {test}(" in found[0].read_text(), name
