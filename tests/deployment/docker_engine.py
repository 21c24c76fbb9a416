"""A Docker engine of the tests' own, with the images that no registry gives them, and compose projects on it.

Nothing of it reaches beyond this machine but builds, which install from the package index by this machine's network.
The engine makes no rules in the firewall and forwards nothing: containers reach each other on their bridge, and
programs here reach published ports by Docker's proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from deployment import composed
from deployment.composed import ROOT
from support.ports import free_port
from tickwire.bus import embedded

HERE = Path(__file__).with_name("engine")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tickwire" / "compose-test"
CGROUP = "tickwire-compose-test"
NAME = "compose-test"
"""Of the compose project."""
DATA_BYTES = 12 << 30
STAND_INS = {"python": "python:3.11-slim-bookworm", "nats": "", "influxdb": "", "prometheus": "", "grafana": ""}
"""Targets of engine/Dockerfile; without a name here, that of the compose file."""


class NoEngine(Exception):
    """An engine cannot be had here; the reason."""


@dataclass
class Engine:
    """A running dockerd, and the environment in which `docker` asks it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def docker(self, *arguments: str, timeout_s: float = 600, check: bool = True) -> str:
        """What a command of docker prints; it fails with all it said."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKWIRE_", "COMPOSE_"))}
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            env=clean | self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert not check or done.returncode == 0, f"docker {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """All about a container."""
        (found,) = json.loads(self.docker("inspect", container))
        assert isinstance(found, dict)
        return found


def prepare() -> None:
    """Install what an engine needs, from Debian's packages. Raises NoEngine where that is impossible."""
    done = subprocess.run([HERE / "prepare.sh", CACHE], capture_output=True, text=True)
    if done.returncode == 3:
        raise NoEngine(done.stderr.strip())
    assert done.returncode == 0, done.stderr


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine within the block; after it nothing of it is left. Raises NoEngine where it does not start."""
    prepare()
    made = Engine(folder, {"DOCKER_HOST": f"unix://{folder}/socket", "DOCKER_CONFIG": str(CACHE / "docker")})
    pid = folder / "pid"
    argv: list[str | Path] = [
        "dockerd",
        "--data-root",
        folder / "data",
        "--exec-root",
        folder / "exec",
        "--pidfile",
        pid,
    ]
    argv += ["--host", f"unix://{folder}/socket", "--cgroup-parent", CGROUP, "--bridge=none"]
    argv += ["--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    _more_cpu()
    _in_memory(folder / "data")
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _until_it_answers(made, process)
        _starts_a_container(made)
        _stand_ins(made)
        yield made
    finally:
        if made.docker("info", check=False):
            for container in made.docker("ps", "--all", "--quiet", check=False).split():
                made.docker("rm", "--force", "--volumes", container, check=False)
            made.docker("network", "prune", "--force", check=False)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(100)
        finally:
            process.kill()
            _remove(folder)


def _more_cpu() -> None:
    """With version 1 of cgroups all containers share what one process here has; they get what four have."""
    group = Path("/sys/fs/cgroup/cpu") / CGROUP
    if group.parent.is_dir():
        group.mkdir(exist_ok=True)
        (group / "cpu.shares").write_text("4096")


def _in_memory(data: Path) -> None:
    """Images and volumes are in memory where there is enough: removing them from a disk takes minutes."""
    data.mkdir()
    if psutil.virtual_memory().available > DATA_BYTES:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DATA_BYTES}", "tickwire", data], check=False)


def _until_it_answers(made: Engine, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 100
    while not made.docker("info", "--format", "{{.ServerVersion}}", check=False):
        if process.poll() is not None or time.monotonic() > ends:
            said = [line for line in (made.folder / "log").read_text().splitlines() if "level=info" not in line]
            raise NoEngine("dockerd does not start: " + (said or ["no answer"])[-1])
        time.sleep(0.2)


def _starts_a_container(made: Engine) -> None:
    """Raise NoEngine, with what the engine says, where this machine starts no containers."""
    with tarfile.open(made.folder / "probe.tar", "w") as file:
        file.add(CACHE / "programs/busybox", "bin/busybox")
    try:
        made.docker("import", str(made.folder / "probe.tar"), "probe")
        made.docker("run", "--rm", "--network=none", "probe", "/bin/busybox", "true")
    except AssertionError as said:
        # The command, then what it said; a hint may come last.
        raise NoEngine(f"dockerd starts no container: {str(said).splitlines()[1]}") from said


def _stand_ins(made: Engine) -> None:
    """Build what stands for the images of others."""
    context = made.folder / "context"
    shutil.copytree(HERE, context)
    shutil.copytree(CACHE / "programs", context / "programs")
    for path in (CACHE / "python.tar", embedded.server_path(), "/etc/ssl/certs/ca-certificates.crt"):
        shutil.copy(path, context)
    for path in (Path("/etc/pip.conf"), Path("/etc/uv/uv.toml")):
        (context / path.name).write_text(path.read_text() if path.is_file() else "")
    services = composed.composed()["services"]
    tags = {name: tag or services[name]["image"] for name, tag in STAND_INS.items()}
    # The engine has no network for builds but this machine's.
    common = {"context": str(context), "network": "host"}
    wanted = {name: {"image": tag, "build": common | {"target": name}} for name, tag in tags.items()}
    file = made.folder / "stand-ins.yml"
    file.write_text(json.dumps({"services": wanted}))
    made.docker("compose", "--file", str(file), "build", "--progress", "plain", timeout_s=1200)
    shutil.rmtree(context)


def _remove(folder: Path) -> None:
    """Unmount and remove all that the engine had."""
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
    shutil.rmtree(folder, ignore_errors=True)
    for group in Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"):
        # Builds have groups below it.
        for each in sorted(path for path in (group, *group.rglob("*")) if path.is_dir())[::-1]:
            with suppress(OSError):
                each.rmdir()


@dataclass
class Project:
    """The compose files on an engine, with an exchange of their own."""

    engine: Engine
    folder: Path
    files: Sequence[str]
    secrets: dict[str, str]
    port: int = field(default_factory=free_port)

    def compose(self, *arguments: str, timeout_s: float = 900) -> str:
        """What `docker compose` prints."""
        settings = self.folder / "tickwire.toml"
        self.engine.env |= {
            "LIVE_FROM": str(self.since),
            "NATS_PORT": str(self.port),
            "SETTINGS": str(settings),
        }
        options = [word for name in self.files for word in ("--file", name)]
        options += ["--file", str(HERE / "override.yml"), "--env-file", str(self.folder / ".env")]
        return self.engine.docker(
            "compose",
            "--project-name",
            NAME,
            "--progress",
            "plain",
            *options,
            *arguments,
            timeout_s=timeout_s,
        )

    def __post_init__(self) -> None:
        self.since = int(time.time() * 1000)
        """When the exchange's live market begins, ms: a container that is made again has the same one."""

    def containers(self, service: str) -> list[str]:
        """The ids of a service's running containers. Asked of the engine, in a tenth of compose's time."""
        labels = (f"project={NAME}", f"service={service}", "oneoff=False")
        filters = [f"--filter=label=com.docker.compose.{each}" for each in labels]
        return self.engine.docker("ps", "--quiet", *filters).split()

    def address(self, service: str, port: int) -> str:
        """Where a published port is on this machine."""
        (container,) = self.containers(service)
        return self.engine.docker("port", container, f"{port}/tcp")
