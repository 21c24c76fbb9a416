"""The engine of `make compose-test`, and the packages of `make dist`, one for all files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import docker_engine
from deployment.docker_engine import Engine, NoEngine
from deployment.installed_program import ROOT, UV, run


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine; where none can be had, the reason is the word of these tests."""
    try:
        with docker_engine.engine(tmp_path_factory.mktemp("engine")) as running:
            yield running
    except NoEngine as reason:
        pytest.skip(f"no Docker engine here: {reason}")


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    if "DIST" in os.environ:
        return Path(os.environ["DIST"])
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--out-dir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def wheel(packages: Path) -> Path:
    """The wheel."""
    (found,) = packages.glob("*.whl")
    return found
