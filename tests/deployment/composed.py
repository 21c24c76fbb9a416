"""docker-compose.yml without Docker: what it says, and its commands, environments and health checks as processes.

A container's path is the path that is mounted there; a container's host and port are a port of this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from support.ports import free_port
from support.processes import Program
from tickwire.bus import embedded

ROOT = Path(__file__).parents[2]
SERVICES = ("cache", "fetcher", "streamer", "sink", "archive", "web")
_VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")


def composed(*files: str) -> dict[str, Any]:
    """The services of compose files, a later one over an earlier one, as `docker compose --file` merges them."""
    merged: dict[str, Any] = {}
    for name in files or ("docker-compose.yml",):
        merged = _over(merged, yaml.safe_load((ROOT / name).read_text()))
    return merged


def _over(below: Any, above: Any, name: str = "") -> Any:
    """Maps are merged, volumes by their place in the container; lists are appended, but for commands."""
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _over(below.get(key), value, key) for key, value in above.items()}
    if isinstance(below, list) and isinstance(above, list) and name not in ("command", "entrypoint", "test"):
        if name == "volumes":
            return list({each.split(":")[1]: each for each in (*below, *above)}.values())
        assert not set(below) & set(above), f"compose refuses {name}: {below}, then {above}"
        return below + above
    return above


def passwords(folder: Path) -> dict[str, str]:
    """What `make .env` makes, in a folder of the test's."""
    make = ["make", "--silent", "--file", str(ROOT / "Makefile"), ".env", f"PYTHON={sys.executable}"]
    subprocess.run(make, check=True, cwd=folder, capture_output=True)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each on one line, without mounts: they are where the folders are."""
    text = re.sub(r"\\\n\s*|--mount=\S+\s+", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def image_environment() -> dict[str, str]:
    """What the image sets, but for the path."""
    variables: dict[str, str] = {}
    for instruction, rest in dockerfile():
        if instruction == "ENV":
            variables |= dict(pair.split("=", 1) for pair in rest.split())
    del variables["PATH"]
    return variables


@dataclass
class Composed:
    """The services of a compose file on this machine."""

    folder: Path
    services: dict[str, Any]
    secrets: dict[str, str]
    hosts: dict[str, str] = field(default_factory=dict)
    """`host:port` in a container, and what it is here."""
    monitors: dict[str, int] = field(default_factory=dict)
    pythons: dict[str, Path] = field(default_factory=dict)
    """The interpreter of each service's image; else the one of the tests."""

    def here(self, value: str, mounts: Mapping[str, str]) -> str:
        """A value of the file as it is on this machine."""
        value = _VARIABLE.sub(lambda found: self.secrets[found[1]], value)
        for container, host in sorted(mounts.items(), key=lambda each: -len(each[0])):
            if value == container or value.startswith(f"{container}/"):
                value = host + value.removeprefix(container)
        for there, here in self.hosts.items():
            value = value.replace(there, here)
        return value

    def mounts(self, name: str) -> dict[str, str]:
        """Container path to path here; a named volume is a folder of the test's."""
        found = {}
        for volume in self.services[name].get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                found[target] = str(ROOT / source)
            else:
                (self.folder / source).mkdir(exist_ok=True)
                found[target] = str(self.folder / source)
        return found

    def environment(self, name: str) -> dict[str, str]:
        """The environment of a container of a service, and nothing of ours but the path and the home."""
        mounts = self.mounts(name)
        own = {key: self.here(str(value), mounts) for key, value in self.services[name].get("environment", {}).items()}
        image = image_environment() if name != "nats" else {}
        if image:
            port = self.monitors.setdefault(name, free_port())
            data = self.folder / f"{name}-data"
            data.mkdir(exist_ok=True)
            image |= {"TICKWIRE_METRICS_PORT": str(port), "TICKWIRE_METRICS_HOST": "127.0.0.1"}
            image["TICKWIRE_DATA_DIR"] = mounts.get("/data", str(data))
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | image | own

    def argv(self, name: str) -> list[str]:
        """The command of a service: the image's entry point, and the file's command."""
        command = [self.here(str(word), self.mounts(name)) for word in self.services[name]["command"]]
        if name.startswith("nats"):
            return [str(embedded.server_path()), *command]
        return [*self.tickwire(name), *command]

    def python(self, name: str) -> Path:
        """The interpreter of a service's image."""
        return self.pythons.get(self.services[name]["image"].removeprefix("tickwire-"), Path(sys.executable))

    def tickwire(self, name: str) -> list[str]:
        """The entry point of a service's image."""
        (entry,) = [rest for instruction, rest in dockerfile() if instruction == "ENTRYPOINT"]
        assert entry == '["tickwire"]'
        python = self.python(name)
        script = python.parent / "tickwire"
        return [str(script)] if self.pythons else [str(python), "-m", "tickwire.cli.main"]

    def check(self, name: str) -> list[str]:
        """The health check of a service's image."""
        (check,) = [rest for instruction, rest in dockerfile() if instruction == "HEALTHCHECK"]
        python, *arguments = json.loads(check.partition(" CMD ")[2])
        assert python == "python"
        return [str(self.python(name)), *arguments]

    def running(self, name: str) -> Program:
        """A service, within the block; its output goes to `<name>.log`."""
        return Program(self.argv(name), self.folder / f"{name}.log", self.environment(name))

    async def once(self, name: str, *command: str) -> tuple[int, str]:
        """A command of a service's image, to its end: the exit code and all it said."""
        return await self._ended(name, [*self.tickwire(name), *command] if command else self.argv(name))

    async def _ended(self, name: str, argv: list[str]) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *argv, env=self.environment(name), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(100):
            said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def healthy(self, name: str, timeout_s: float = 100) -> None:
        """Wait until the service's health check passes, run again and again as Docker runs it."""
        async with asyncio.timeout(timeout_s):
            while not await self._is_healthy(name):
                await asyncio.sleep(0.2)

    async def checked(self, name: str) -> tuple[int, str]:
        """The health check of a service's image, once: the exit code and all it said."""
        return await self._ended(name, self.check(name))

    async def _is_healthy(self, name: str) -> bool:
        test = self.services[name].get("healthcheck", {}).get("test")
        if test is not None:
            # The broker's image has wget, this machine need not.
            assert test[:4] == ["CMD", "wget", "--quiet", "--output-document=-"]
            try:
                async with aiohttp.ClientSession() as http, http.get(self.here(test[4], {})) as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False
        return await self.checked(name) == (0, "ready\n")


def images(folder: Path) -> dict[str, Path]:
    """What the Dockerfile installs for each service, by its own commands, in folders of a test; the interpreters."""
    steps = [step for step in dockerfile() if step[0] in ("ARG", "COPY", "RUN")]
    first = steps.index(("ARG", "SERVICE"))
    for step in steps[:first]:
        _build(step, "", folder)
    for service in SERVICES:
        for step in steps[first:]:
            _build(step, service, folder)
    return {service: folder / service / "bin" / "python" for service in SERVICES}


def _build(step: tuple[str, str], service: str, folder: Path) -> None:
    instruction, rest = step
    places = {"/opt/tickwire": folder / service, "/opt/build": folder / "tools", "/build": folder / "context"}
    rest = re.sub(r"(?<![\w}])(/opt/tickwire|/opt/build|/build)\b", lambda found: str(places[found[1]]), rest)
    rest = rest.replace("${SERVICE}", service).replace("python -m venv", f"{sys.executable} -m venv")
    if instruction == "COPY":
        *names, target = rest.split()
        for name in names:
            _copy(ROOT / name, Path(target) / name if target.endswith("/") else Path(target))
    elif instruction == "RUN" and "useradd" not in rest:
        version = subprocess.run(
            [ROOT / "deploy/version.sh"], check=True, capture_output=True, text=True
        ).stdout.strip()
        # Compiling everything takes longer than the test.
        command = rest.replace("--compile-bytecode", "")
        env = dict(os.environ) | {"SERVICE": service, "VERSION": version}
        done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
