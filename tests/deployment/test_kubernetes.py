"""deploy/kustomization.yaml, rendered by kubectl: valid, and the same as the compose files of a cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import composed
from deployment.composed import ROOT, SERVICES

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
COMPOSE = composed.composed("docker-compose.yml", "docker-compose.cluster.yml")["services"]
RUNNING = (*SERVICES, "streams", "nats", "influxdb")
HOSTS = {"nats": "nats-0.brokers", "nats-2": "nats-1.brokers", "nats-3": "nats-2.brokers"}
"""Of the brokers, in compose and here."""
DOWNWARD = {"fieldRef": {"fieldPath": "metadata.name"}}
Resource = dict[str, Any]


@pytest.fixture(scope="module")
def rendered() -> str:
    """What `kubectl apply` gets."""
    argv = [str(BIN / "kubectl"), "kustomize", str(ROOT / "deploy")]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def resources(rendered: str) -> list[Resource]:
    return list(yaml.safe_load_all(rendered))


@pytest.fixture(scope="module")
def workloads(resources: list[Resource]) -> dict[str, Resource]:
    """Deployments, stateful sets and the job, by name."""
    kinds = ("Deployment", "StatefulSet", "Job")
    return {each["metadata"]["name"]: each for each in resources if each["kind"] in kinds}


def pod(workload: Resource) -> Resource:
    found = workload["spec"]["template"]["spec"]
    assert isinstance(found, dict)
    return found


def container(workload: Resource) -> Resource:
    (found,) = pod(workload)["containers"]
    assert isinstance(found, dict)
    return found


def there(name: str, value: object) -> object:
    """The value of a variable of the compose files, as it is in a container's `env` here."""
    text = str(value)
    if whole := re.fullmatch(r"\$\{(\w+)[^}]*\}", text):
        return {"secretKeyRef": {"name": "tickwire", "key": whole[1]}}
    if name == "NATS_NAME":
        return DOWNWARD
    text = re.sub(r"\$\{(\w+)[^}]*\}", r"$(\1)", text)
    return re.sub(r"(?<=[/@])(nats(?:-\d)?)(?=:\d)", lambda found: HOSTS[found[1]], text)


def test_everything_is_valid_by_the_schemas_of_kubernetes(rendered: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered)
    done = subprocess.run([BIN / "kubernetes-validate", "--strict", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    file.write_text(rendered.replace("readinessProbe", "readyProbe", 1))
    done = subprocess.run([BIN / "kubernetes-validate", "--strict", file], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_what_runs_is_what_the_compose_files_run(workloads: dict[str, Resource]) -> None:
    """But for what a cluster has already: Prometheus and Grafana."""
    once = {"volumes", "nats-2", "nats-3"}
    assert workloads.keys() == COMPOSE.keys() - once - {"prometheus", "grafana"} == set(RUNNING)
    assert workloads["nats"]["spec"]["replicas"] == 3


@pytest.mark.parametrize("name", RUNNING)
def test_a_container_is_that_of_the_compose_file(name: str, workloads: dict[str, Resource]) -> None:
    ours, service = container(workloads[name]), COMPOSE[name]
    assert ours["image"].removesuffix(":latest") == service["image"]
    assert ours.get("args") == service.get("command")
    env = {each["name"]: each.get("value", each.get("valueFrom")) for each in ours["env"]}
    wanted = {variable: there(variable, value) for variable, value in service["environment"].items()}
    if name == "nats":
        # Named by `$(…)` in the routes, which resolves what stands before it.
        order = [each["name"] for each in ours["env"]]
        assert order.index("TICKWIRE_ROUTE_PASSWORD") < order.index("NATS_ROUTE_1")
    assert env == wanted
    assert ours["resources"]["limits"]["memory"] == service["mem_limit"].replace("g", "Gi")
    published = {int(each.rsplit(":", 1)[1]) for each in service.get("ports", [])}
    assert published <= {each["containerPort"] for each in ours.get("ports", [])}
    if "stop_grace_period" in service:
        assert f"{pod(workloads[name])['terminationGracePeriodSeconds']}s" == service["stop_grace_period"]


@pytest.mark.parametrize("name", RUNNING)
def test_a_pod_is_as_confined_as_the_container_of_compose(name: str, workloads: dict[str, Resource]) -> None:
    """And as the level `restricted` of Kubernetes' Pod Security Standards wants it."""
    (made,) = [rest for instruction, rest in composed.dockerfile() if "useradd" in rest]
    image = re.search(r"--uid (\d+)", made)
    assert image is not None
    user = int(COMPOSE[name].get("user", image[1]).partition(":")[0])
    found = pod(workloads[name])
    context = found["securityContext"]
    assert (context["runAsUser"], context["fsGroup"], context["runAsNonRoot"]) == (user, user, True)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is False
    assert container(workloads[name])["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", RUNNING)
def test_a_pod_has_the_volumes_of_the_compose_file(
    name: str, workloads: dict[str, Resource], resources: list[Resource]
) -> None:
    workload = workloads[name]
    volumes = [each for each in pod(workload)["volumes"] if "persistentVolumeClaim" in each]
    claimed = {each["name"]: each["persistentVolumeClaim"]["claimName"] for each in volumes}
    claims = {each["metadata"]["name"] for each in resources if each["kind"] == "PersistentVolumeClaim"}
    assert set(claimed.values()) <= claims
    kept = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])} | claimed.keys()
    mounts = {each["name"]: each["mountPath"] for each in container(workload)["volumeMounts"]}
    named = [volume.split(":") for volume in COMPOSE[name].get("volumes", []) if not volume.startswith("./")]
    assert {mounts[each] for each in kept} == {target for _, target in named}
    assert "/tmp" in mounts.values()
    read_only = {each["mountPath"] for each in container(workload)["volumeMounts"] if each.get("readOnly")}
    for volume in COMPOSE[name].get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("./"):
            assert target in read_only or str(Path(target).parent) in read_only


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_probed_where_its_image_is(name: str, workloads: dict[str, Resource]) -> None:
    found = container(workloads[name])
    ports = {each["name"]: str(each["containerPort"]) for each in found["ports"]}
    paths = {"livenessProbe": "/health/live", "startupProbe": "/health/live", "readinessProbe": "/health/ready"}
    for probe, path in paths.items():
        asked = found[probe]["httpGet"]
        assert asked["path"] == path
        assert ports[asked["port"]] == composed.image_environment()["TICKWIRE_METRICS_PORT"]


def test_the_brokers_are_probed_as_in_compose(workloads: dict[str, Resource]) -> None:
    found = container(workloads["nats"])
    ports = {each["name"]: each["containerPort"] for each in found["ports"]}
    asked = found["readinessProbe"]["httpGet"]
    url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
    assert COMPOSE["nats"]["healthcheck"]["test"][-1] == url
    for probe in ("startupProbe", "livenessProbe"):
        assert found[probe]["httpGet"]["path"].startswith(asked["path"])


def test_every_password_is_one_that_make_makes(rendered: str, tmp_path: Path) -> None:
    wanted = set(re.findall(r"key: (TICKWIRE_\w+)", rendered))
    made = composed.passwords(tmp_path).keys()
    assert wanted <= made
    assert made - wanted == {"TICKWIRE_GRAFANA_PASSWORD", "TICKWIRE_VERSION"}


def test_selectors_and_ports_name_what_is_there(workloads: dict[str, Resource], resources: list[Resource]) -> None:
    for name, workload in workloads.items():
        assert workload["spec"]["template"]["metadata"]["labels"] == {"app.kubernetes.io/name": name}
    for each in resources:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            (selected,) = spec["selector"].values()
            ports = {port["name"]: port["containerPort"] for port in container(workloads[selected])["ports"]}
            for port in spec["ports"]:
                assert ports[port["name"]] == port["port"]
        elif each["kind"] == "PodDisruptionBudget":
            (selected,) = spec["selector"]["matchLabels"].values()
            assert workloads[selected]["spec"]["replicas"] > 1, "it could never be moved"
        elif each["kind"] == "NetworkPolicy":
            chosen = spec["podSelector"].get("matchLabels", {}).values()
            any_of = [value for one in spec["podSelector"].get("matchExpressions", []) for value in one["values"]]
            allowed = {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
            for selected in (*chosen, *any_of):
                assert allowed <= {port["containerPort"] for port in container(workloads[selected])["ports"]}
    reached = [each for each in resources if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == "metrics"]
    assert set(reached[0]["spec"]["podSelector"]["matchExpressions"][0]["values"]) == set(SERVICES)
