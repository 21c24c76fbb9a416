"""The compose files: every service whole, its image, volumes, passwords and broker; a new version can be reverted."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import composed
from deployment.composed import ROOT, SERVICES
from tickwire import settings as config
from tickwire.bus import embedded
from tickwire.errors import ConfigError
from tickwire.process import supervisor

pytestmark = pytest.mark.system

FILES = ("docker-compose.yml", "docker-compose.cluster.yml")


def test_each_broker_of_the_cluster_has_its_own_volume_and_none_the_single_brokers() -> None:
    def store(service: dict[str, Any]) -> str:
        (found,) = [volume.split(":")[0] for volume in service["volumes"] if volume.split(":")[1] == "/data"]
        return str(found)

    single = composed.composed("docker-compose.yml")
    cluster = composed.composed(*FILES)
    stores = [store(cluster["services"][name]) for name in ("nats", "nats-2", "nats-3")]
    assert len({*stores, store(single["services"]["nats"])}) == 4
    assert set(stores) <= cluster["volumes"].keys()


DOCKER = """#!/bin/sh
echo "$@" >> "$RECORD"
case "$*" in
    "compose ps --quiet streamer") echo old1; echo old2 ;;
    "compose ps --all --quiet streamer") echo old1; echo new1; echo old2; echo new2 ;;
    "$FAILS"*) exit 1 ;;
    stop*) echo "$2" ;;
esac
"""
"""What stands for `docker`: it writes down what it is asked, and fails where it is told to."""


@pytest.mark.parametrize("fails", ["nothing", "compose build", "compose run", "compose up"])
def test_a_new_version_that_does_not_start_leaves_old_instances_and_can_be_reverted(tmp_path: Path, fails: str) -> None:
    text = (ROOT / "docs" / "deployment.md").read_text().split("For a new version", 1)[1]
    renew, back = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[:2]
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    record = tmp_path / "record"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(record), "FAILS": fails}
    subprocess.run(["sh", "-c", renew], env=env, check=False, timeout=60)
    asked = record.read_text().splitlines()
    removed = [line for line in asked if line.startswith(("stop", "rm"))]
    if fails == "nothing":
        assert removed == ["stop old1", "stop old2", "rm old1 old2"]
        return
    assert removed == []
    assert asked[-1].startswith(fails), "it went on"
    record.unlink()
    subprocess.run(["sh", "-c", f"old='old1\nold2'\n{back}"], env=env, check=True, timeout=60)
    assert [line for line in record.read_text().splitlines() if "rm" in line] == [
        "rm --force new1",
        "rm --force new2",
    ]


def test_the_brokers_of_the_compose_files_are_the_one_that_the_tests_run() -> None:
    said = subprocess.run([embedded.server_path(), "--version"], capture_output=True, text=True, check=True).stdout
    version = said.strip().removeprefix("nats-server: v")
    services = composed.composed(*FILES)["services"]
    assert {services[name]["image"] for name in ("nats", "nats-2", "nats-3")} == {f"nats:{version}-alpine"}


def test_one_service_builds_each_image_and_every_other_waits_for_it() -> None:
    services = composed.composed()["services"]
    ours = {name: service for name, service in services.items() if service["image"].startswith("tickwire-")}
    builders = [service["image"] for service in ours.values() if "build" in service]
    assert sorted(builders) == sorted({service["image"] for service in ours.values()})
    for service in ours.values():
        if "build" not in service:
            # Nobody else's image of that name.
            assert service["pull_policy"] == "never"
            builder = next(name for name, each in ours.items() if each["image"] == service["image"] and "build" in each)
            assert builder in service["depends_on"]


@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_every_service_of_the_compose_files_is_whole(files: tuple[str, ...], tmp_path: Path) -> None:
    found = composed.composed(*files)
    services, volumes = found["services"], found["volumes"]
    secrets = composed.passwords(tmp_path)
    # Without what is opted into: account EXPORT.
    accounts = re.sub(r"^\s*#.*$", "", (ROOT / "deploy/nats/accounts.conf").read_text(), flags=re.M)
    users = dict(re.findall(r"user: (\w+), password: \$(\w+)", accounts))
    for name, service in services.items():
        assert "container_name" not in service, "it could not be scaled"
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in volumes, source
        for value in service.get("environment", {}).values():
            for variable in re.findall(r"\$\{(\w+)", str(value)):
                assert variable in secrets, f"{name} wants {variable}, which `make .env` does not make"
        own = service.get("environment", {})
        if name not in ("streams", *SERVICES):
            assert "healthcheck" in service, name
            assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), "it would change by itself"
        else:
            if (build := service.get("build")) is not None:
                assert service["image"] == f"tickwire-{build['args']['SERVICE']}"
            assert service["read_only"] is True
            for variable in own:
                config.refuse_unknown_variables({variable: "x"})
            # The broker knows that user by the same password.
            (variable,) = re.findall(r"\$\{(\w+)", own["TICKWIRE_NATS_PASSWORD"])
            assert users[own["TICKWIRE_NATS_USER"]] == variable
        if name.startswith("nats"):
            asked = set(
                re.findall(
                    r"\$((?:NATS|TICKWIRE)_\w+)",
                    accounts + (ROOT / "deploy/nats" / Path(service["command"][1]).name).read_text(),
                )
            )
            assert asked <= own.keys(), f"{name}: {sorted(asked - own.keys())}"
    for name in SERVICES:
        assert services[name]["command"] == ["service", name]
        assert services[name]["stop_grace_period"] == f"{supervisor.GRACE_S:.0f}s"


def test_a_password_that_is_there_stays_and_one_that_is_new_is_added(tmp_path: Path) -> None:
    first = composed.passwords(tmp_path)
    assert len(set(first.values())) == len(first)
    old = {name: value for name, value in first.items() if name != "TICKWIRE_INFLUX_TOKEN"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in old.items()))
    second = composed.passwords(tmp_path)
    assert second.keys() == first.keys()
    assert {name: second[name] for name in old} == old


def test_a_variable_that_does_not_exist_would_be_seen() -> None:
    with pytest.raises(ConfigError):
        config.refuse_unknown_variables({"TICKWIRE_NATS_USR": "x"})


def test_prometheus_asks_every_service_of_the_compose_file_at_the_port_of_the_image() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    (found,) = [each for job in scraped for each in job["dns_sd_configs"]]
    assert set(found["names"]) == set(SERVICES)
    assert str(found["port"]) == composed.image_environment()["TICKWIRE_METRICS_PORT"]
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/tickwire.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel} == {sources[0]["uid"]}
