"""The import contracts of pyproject.toml cover every package."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
PORTIONS = ("shared", "cli", "services/*", "simulator")


def test_every_folder_has_its_place_among_the_layers() -> None:
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in linted if each["name"].startswith("Layers:")]
    placed = {name.strip("()") for layer in layers for name in layer.split(" | ")}
    found = {
        f"tickwire.{path.stem}"
        for portion in PORTIONS
        for folder in ROOT.glob(f"{portion}/tickwire")
        for path in folder.iterdir()
        if path.suffix in ("", ".py") and path.name != "__pycache__"
    }
    assert placed == found


def test_no_private_module_of_a_library_is_imported() -> None:
    """They may be gone with any version; attributes are another matter where a library is pinned exactly."""
    found = []
    for path in [
        *(ROOT / "shared").rglob("*.py"),
        *(ROOT / "cli").rglob("*.py"),
        *(ROOT / "services").rglob("*.py"),
        *(ROOT / "simulator").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{each.name}" for each in node.names]
            found += [
                (path.name, name)
                for name in names
                if not name.startswith(("tickwire.", "__future__"))
                and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
            ]
    assert found == []


def test_classes_of_ccxt_are_used_in_one_folder() -> None:
    """`exchange/ccxt_patches/`, where each has a reason; `ccxt.base` has the errors and constants that are public."""
    found = []
    for portion in PORTIONS:
        for path in [path for folder in ROOT.glob(f"{portion}/tickwire") for path in folder.rglob("*.py")]:
            if path.parent.name != "ccxt_patches":
                nodes = ast.walk(ast.parse(path.read_text()))
                modules = [each.module or "" for each in nodes if isinstance(each, ast.ImportFrom)]
                found += [(path.name, each) for each in modules if each.startswith(("ccxt.async_support", "ccxt.pro"))]
    assert found == []


PATCHES_OF_NATS_PY = ("natspy.py", "ordered_consumers.py", "pull.py")
"""In `bus`."""


def test_private_names_of_nats_py_are_used_in_its_patches_only() -> None:
    """Names of a named tuple are public; one's own are one's own."""
    found = []
    for portion in PORTIONS:
        for path in [path for folder in ROOT.glob(f"{portion}/tickwire") for path in folder.rglob("*.py")]:
            tree = ast.parse(path.read_text())
            if path.name in PATCHES_OF_NATS_PY or not any("nats" in name for name in imported(tree)):
                continue
            for node in ast.walk(tree):
                match node:
                    case ast.Attribute(ast.Name("self" | "cls"), _):
                        pass
                    case ast.Attribute(_, "_asdict" | "_fields" | "_replace"):
                        pass
                    case ast.Attribute(_, name) if name.startswith("_") and not name.startswith("__"):
                        found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert found == []


def imported(tree: ast.Module) -> set[str]:
    """The first names of the modules that a file imports."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(aliases):
                names |= {each.name.partition(".")[0] for each in aliases}
            case ast.ImportFrom(str(module)):
                names.add(module.partition(".")[0])
    return names
