"""The engine of `make compose-test`, one for all its files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deployment import docker_engine
from deployment.docker_engine import Engine, NoEngine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine; where none can be had, the reason is the word of these tests."""
    try:
        with docker_engine.engine(tmp_path_factory.mktemp("engine")) as running:
            yield running
    except NoEngine as reason:
        pytest.skip(f"no Docker engine here: {reason}")
