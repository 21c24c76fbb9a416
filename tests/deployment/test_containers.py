"""docker-compose.yml and the Dockerfile on a real engine, with a simulator as the exchange: `make compose-test`.

The tests are the life of one deployment, in this order; each goes on where the one before it stopped.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployment import composed
from deployment.composed import SERVICES
from deployment.deployments import all_written, desk, following, goes_on, standing, until, written
from deployment.docker_engine import Engine, Project

pytestmark = [pytest.mark.system, pytest.mark.compose, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def single(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """docker-compose.yml."""
    with standing(engine, tmp_path_factory.mktemp("single"), "docker-compose.yml") as made:
        yield made


@pytest.fixture(scope="module")
def ids(single: Project) -> Iterator[Callable[[], list[int]]]:
    """One program follows the feed through all that happens."""
    with following(single) as seen:
        yield seen


def test_every_container_is_healthy_and_confined(single: Project, ids: Callable[[], list[int]]) -> None:
    for name, service in composed.composed()["services"].items():
        if name in ("streams", "volumes"):
            (ended,) = [single.engine.inspect(each) for each in single.compose("ps", "--all", "--quiet", name).split()]
            assert ended["State"]["ExitCode"] == 0
            continue
        (container,) = single.containers(name)
        found = single.engine.inspect(container)
        assert found["State"]["Health"]["Status"] == "healthy"
        host = found["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["CapAdd"]) == (True, ["ALL"], None)
        status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
        user = service.get("user", "10001").partition(":")[0]
        assert re.search(r"^Uid:\s+(\d+)", status, re.M)[1] == user, name  # type: ignore[index]
        assert set(re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\s+(\w+)", status, re.M)) == {"0" * 16}, name
        assert "NoNewPrivs:\t1" in status
        refused = single.engine.docker("exec", container, "sh", "-c", "touch /x || touch /tmp/x", check=False)
        assert refused == ""
    assert single.engine.docker("exec", single.containers("cache")[0], "stat", "-c", "%u", "/data") == "10001"
    assert single.engine.docker("exec", single.containers("nats")[0], "stat", "-c", "%u", "/data/jetstream") == "10002"


def test_an_image_has_the_version_of_the_checkout(single: Project) -> None:
    version = single.secrets["TICKWIRE_VERSION"]
    for service in SERVICES:
        said = single.engine.docker("exec", single.containers(service)[0], "tickwire", "--version")
        assert said == f"tickwire {version}"
        labels = single.engine.inspect(single.containers(service)[0])["Config"]["Labels"]
        assert labels["org.opencontainers.image.version"] == version


def test_a_desk_fetches_and_follows_and_an_operator_sees_it(single: Project, ids: Callable[[], list[int]]) -> None:
    argv = [sys.executable, "-m", "tickwire.cli.main", "candles", "fetch", "binance", "BTC/USDT", "1m"]
    argv += ["--since", "2024-01-01T00:00", "--until", "2024-01-01T02:00"]
    done = subprocess.run(argv, env=desk(single), cwd=single.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = single.engine.docker("exec", single.containers("cache")[0], "cat", "/data/cache/binance_BTC-USDT_1m.csv")
    assert rows.count("\n") == 120
    goes_on(ids)
    said = single.compose("run", "--rm", "streams", "status")
    assert all(name in said for name in ("trade binance BTC/USDT", "TRADES", *SERVICES))
    all_written(single, ids())


def test_instances_are_added_and_restarted_one_after_another(single: Project, ids: Callable[[], list[int]]) -> None:
    single.compose("up", "--detach", "--wait", "--scale", "streamer=2", "--scale", "cache=2", "--scale", "fetcher=2")
    assert [len(single.containers(name)) for name in ("streamer", "cache", "fetcher")] == [2, 2, 2]
    for container in single.containers("streamer"):
        single.engine.docker("restart", container)

        def healthy(container: str = container) -> bool:
            return bool(single.engine.inspect(container)["State"]["Health"]["Status"] == "healthy")

        until(healthy, "a streamer does not start again")
        goes_on(ids)


def test_a_new_version_takes_over_from_the_old_one(single: Project, ids: Callable[[], list[int]]) -> None:
    """As docs/deployment.md says."""
    old = single.containers("streamer")
    env = single.folder / ".env"
    version = single.secrets["TICKWIRE_VERSION"]
    env.write_text(env.read_text().replace(f"TICKWIRE_VERSION={version}", "TICKWIRE_VERSION=99.9.9"))
    single.compose("build", "streamer")
    single.compose("up", "--detach", "--no-deps", "--no-recreate", "--wait", "--scale", "streamer=4", "streamer")
    assert set(old) < set(single.containers("streamer"))
    for container in old:
        single.engine.docker("stop", container)
        single.engine.docker("rm", container)
    new = single.containers("streamer")
    assert len(new) == 2
    for container in new:
        assert single.engine.docker("exec", container, "tickwire", "--version") == "tickwire 99.9.9"
    goes_on(ids)
    env.write_text(env.read_text().replace("TICKWIRE_VERSION=99.9.9", f"TICKWIRE_VERSION={version}"))


def test_a_killed_process_is_replaced(single: Project, ids: Callable[[], list[int]]) -> None:
    for name in ("streamer", "sink", "cache"):
        container = single.containers(name)[0]
        init = single.engine.inspect(container)["State"]["Pid"]
        (process,) = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        os.kill(int(process), signal.SIGKILL)

        def again(container: str = container) -> bool:
            found = single.engine.inspect(container)
            return bool(found["RestartCount"] >= 1 and found["State"]["Health"]["Status"] == "healthy")

        until(again, f"{name} does not start again")
    goes_on(ids)
    all_written(single, ids())


def test_a_broker_that_stops_and_starts_loses_nothing(single: Project, ids: Callable[[], list[int]]) -> None:
    single.compose("stop", "nats")
    single.compose("start", "nats")
    goes_on(ids)
    all_written(single, ids())


def test_all_is_there_after_down_and_up(single: Project, ids: Callable[[], list[int]]) -> None:
    before = written(single)
    single.compose("down", "--timeout", "30")
    single.compose("up", "--detach", "--wait")
    goes_on(ids)
    all_written(single, ids())
    assert written(single)[: len(before)] == before
