"""docker-compose.cluster.yml on a real engine: `make compose-test`, after test_containers.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployment.deployments import all_written, following, goes_on, standing
from deployment.docker_engine import Engine

pytestmark = [pytest.mark.system, pytest.mark.compose, pytest.mark.timeout(1200)]


def test_a_cluster_goes_on_without_one_of_its_brokers(
    engine: Engine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with standing(engine, tmp_path, "docker-compose.yml", "docker-compose.cluster.yml") as made, following(made) as ids:
        goes_on(ids)
        for name in ("nats", "nats-2", "nats-3"):
            (broker,) = made.containers(name)
            assert engine.inspect(broker)["Config"]["User"] == "10002:10002"
            assert engine.docker("exec", broker, "stat", "-c", "%u", "/data/jetstream") == "10002"
        made.compose("kill", "--signal", "KILL", "nats-2")
        silent = goes_on(ids, 1)
        goes_on(ids)
        all_written(made, ids())
        record_property("measured", f"a broker of three was killed: {silent:.1f} s until the next trade")
