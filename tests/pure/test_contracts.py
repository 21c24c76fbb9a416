"""The contracts of pyproject.toml speak of all that there is."""

from __future__ import annotations

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
