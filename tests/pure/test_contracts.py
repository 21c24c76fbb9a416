"""The contracts of pyproject.toml speak of all that there is."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND_LINE = "tickwire.cli"
"""Starts services, so it imports the chosen one."""


def test_every_shared_module_is_held_to_importing_no_service() -> None:
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (held,) = [each["source_modules"] for each in linted if each["name"] == "What is shared imports no service"]
    shared = {f"tickwire.{path.stem}" for path in (ROOT / "shared/tickwire").iterdir() if path.stem != "__pycache__"}
    assert set(held) == shared - {COMMAND_LINE}


def test_no_private_module_of_a_library_is_imported() -> None:
    """They may be gone with any version; attributes are another matter where a library is pinned exactly."""
    found = []
    for path in [
        *(ROOT / "shared").rglob("*.py"),
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
