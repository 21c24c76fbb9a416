"""The workflows in .github: they are valid, and run what is there. `make lint` checks their form, too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def made(job: dict[str, Any]) -> set[str]:
    """The make targets that a job runs, with those of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    found = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(step.get("run", "") for step in job["steps"])))
    return found | set(matrix.get("target", []))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_workflow_runs_make_targets_that_there_are(path: Path) -> None:
    for job in jobs(path).values():
        assert made(job)
        assert made(job) <= TARGETS


def test_the_workflows_test_each_python_that_is_allowed() -> None:
    (matrix,) = [
        job["strategy"]["matrix"]["python"] for path in FILES for job in jobs(path).values() if "pythons" in made(job)
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classified = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert matrix == classified
    assert project["requires-python"] == f">={matrix[0]}"
    (listed,) = re.findall(r"(?m)^PYTHONS := (.*)$", (ROOT / "Makefile").read_text())
    assert listed.split() == matrix


def test_every_action_has_a_version() -> None:
    used = [step["uses"] for path in FILES for job in jobs(path).values() for step in job["steps"] if "uses" in step]
    assert used
    assert [each for each in used if not re.search(r"@(v\d+(\.\d+)*|[0-9a-f]{40})$", each)] == []
