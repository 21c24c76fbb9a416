"""Every service of both compose files, ours and others': what it may not do, and that its version does not change."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deployment import composed
from deployment.composed import SERVICES

pytestmark = pytest.mark.pure

SINGLE = composed.composed()["services"]
CLUSTER = composed.composed("docker-compose.yml", "docker-compose.cluster.yml")["services"]
BROKERS = ("nats", "nats-2", "nats-3")
ROOT_ONCE = "volumes"
"""It gives volumes to the broker's user, and ends: root, without a network."""
ALL = [pytest.param(name, each, id=f"single-{name}") for name, each in SINGLE.items()]
ALL += [pytest.param(name, each, id=f"cluster-{name}") for name, each in CLUSTER.items()]
each_service = pytest.mark.parametrize(("name", "service"), ALL)


def test_the_services_are_all_there() -> None:
    ours = {ROOT_ONCE, "streams", *SERVICES, "nats", "influxdb", "prometheus", "grafana"}
    assert SINGLE.keys() == ours
    assert CLUSTER.keys() == ours | {*BROKERS}


@each_service
def test_a_service_has_no_privileges_and_a_root_that_cannot_be_written(name: str, service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN", "DAC_READ_SEARCH"] if name == ROOT_ONCE else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["init"] is True
    assert {"privileged", "pid", "ipc", "devices", "userns_mode"} & service.keys() == set()
    assert service.get("network_mode", "none") == "none"


@each_service
def test_a_service_is_bounded_in_memory_and_processes(name: str, service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[1-4]g", service["mem_limit"])
    assert service["pids_limit"] <= 512
    if name in BROKERS:
        # Go's own bound, below the container's: it frees memory instead of being killed.
        bound = int(service["environment"]["GOMEMLIMIT"].removesuffix("MiB"))
        assert bound < int(service["mem_limit"].removesuffix("g")) * 1024


@each_service
def test_a_service_runs_as_its_user_and_only_one_that_ends_as_root(name: str, service: dict[str, Any]) -> None:
    if service["image"].startswith("tickwire-"):
        assert "user" not in service, "the image has one"
        return
    # These images' own: /etc/passwd of influxdb, prom/prometheus and grafana/grafana; nats has none.
    users = {"influxdb": "1000:1000", "prometheus": "65534:65534", "grafana": "472:0", ROOT_ONCE: "0:0"}
    assert service["user"] == users.get(name, "10002:10002")
    if name == ROOT_ONCE:
        assert (service["restart"], service["network_mode"]) == ("no", "none")
        given = re.search(r"chown (\S+)", service["command"][0])
        assert given is not None
        assert given[1] == SINGLE["nats"]["user"]


@each_service
def test_a_service_is_watched_and_its_version_stays(name: str, service: dict[str, Any]) -> None:
    once = name in (ROOT_ONCE, "streams")
    assert service["restart"] == ("no" if once else "unless-stopped")
    assert service.get("healthcheck", {}).get("disable", False) is once
    if not service["image"].startswith("tickwire-"):
        assert re.search(r":v?\d+\.\d+\.\d+(-alpine)?$", service["image"])
        assert once or service["healthcheck"]["test"][0] == "CMD"


@each_service
def test_a_service_writes_to_volumes_alone_and_listens_on_loopback(name: str, service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        source, _, *options = volume.split(":")
        assert options == (["ro"] if source.startswith("./") else []), volume
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("services", [SINGLE, CLUSTER], ids=["single", "cluster"])
def test_each_broker_waits_until_its_volume_is_its_own(services: dict[str, Any]) -> None:
    given = {volume.split(":")[0] for volume in services[ROOT_ONCE]["volumes"]}
    stores = {
        volume.split(":")[0]
        for name in BROKERS
        if name in services
        for volume in services[name]["volumes"]
        if volume.endswith(":/data")
    }
    # The single broker's volume is there in a cluster too, and not used.
    assert stores == given - ({"nats"} if "nats-2" in services else set())
    for name in {*BROKERS} & services.keys():
        assert services[name]["depends_on"][ROOT_ONCE] == {"condition": "service_completed_successfully"}


def test_an_image_says_which_version_it_has() -> None:
    """Compose passes the version of `.env` on to each build; the build refuses to go on without one."""
    builds = [service["build"]["args"] for service in SINGLE.values() if "build" in service]
    assert len(builds) == len(SERVICES)
    assert {args["VERSION"] for args in builds} == {"${TICKWIRE_VERSION:?run make .env}"}
    instructions = composed.dockerfile()
    assert [rest for instruction, rest in instructions if instruction == "ARG"].count("VERSION") == 2
    assert any('test -n "${VERSION}"' in rest for instruction, rest in instructions if instruction == "RUN")
    (label,) = [rest for instruction, rest in instructions if instruction == "LABEL"]
    assert 'org.opencontainers.image.version="${VERSION}"' in label
