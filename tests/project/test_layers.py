"""The contracts of pyproject.toml speak of all that there is."""

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
    placed = {name for layer in layers for name in layer.split(" | ")}
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
