"""The service processes that `up` and `demo` start: command lines, environments, folders and ports."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from tickwire.errors import ConfigError, StorageError
from tickwire.process import optional_packages, ports, supervisor
from tickwire.settings import Settings

PAGE = 8420
"""The port of the page, as `tickwire service web` has it."""
COMMAND = (sys.executable, "-m", "tickwire.cli.main")


def service_programs(
    counts: Mapping[str, int],
    config: Path | None,
    env: Mapping[str, str],
    *,
    log_dir: Path | None = None,
    metrics_port: int | None = None,
    umasks: Mapping[str, int] | None = None,
) -> list[supervisor.Program]:
    """Return the processes of each service, as many as `counts` says.

    They log into `log_dir`, else to our standard error. The first serves metrics at `metrics_port`, each further one
    at the next port. `umasks` are by service; those without one have ours.
    """
    option = ["--config", str(config)] if config else []
    instances = [(name, number) for name, count in counts.items() for number in range(1, count + 1)]
    return [
        supervisor.Program(
            name=name if counts[name] == 1 else f"{name} {number}",
            argv=[*COMMAND, "service", name, *option],
            env=env if metrics_port is None else {**env, "TICKWIRE_METRICS_PORT": str(metrics_port + index)},
            log=log_dir / f"{name}.log" if log_dir else None,
            umask=(umasks or {}).get(name),
        )
        for index, (name, number) in enumerate(instances)
    ]


def check_metrics_ports(settings: Settings, count: int) -> None:
    """Raise ConfigError where one of the metrics ports of `count` processes is taken."""
    first, host = settings.metrics.port, settings.metrics.host
    if first is None:
        return
    ours = {settings.nats.port: "nats.port", settings.nats.websocket_port: "nats.websocket_port"}
    for port in range(first, first + count):
        setting = ours.get(port) if settings.nats.url is None else None
        if setting is not None or not ports.is_free(port, host):
            at = f"{host}:{port}" + (f" (from {first} on, one for each process)" if port != first else "")
            by = f"is also {setting}" if setting else "is taken by another program"
            raise ConfigError(f"metrics.port: {at} {by}", "choose another metrics.port, or leave it out")


def page_port(settings: Settings) -> int | None:
    """Return the port of the page: that of the settings, else the usual one, else any free one. None without a page.

    It is chosen once, so that a page that is restarted is found where it was.
    """
    if not settings.web.enabled or not optional_packages.are_installed("web"):
        return None
    if settings.web.port is not None:
        return settings.web.port
    tried = [PAGE, *random.sample(ports.CHOICE, ports.TRIES)]
    return next((each for each in tried if ports.is_free(each, settings.web.host)), PAGE)


def check_writable(folder: Path) -> None:
    """Create a folder if it is absent. Raises StorageError when files cannot be created in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to the folder {folder}: {error.strerror}", "set data_dir or cache.dir, or its permissions"
        ) from error


def shared_folders(settings: Settings) -> dict[str, Path]:
    """Return the folders of services that are not in the data folder: one elsewhere may be shared on purpose."""
    folders = {"cache": settings.cache_dir}
    if settings.archive.root is not None and "://" not in settings.archive.root:
        folders["archive"] = Path(settings.archive.root)
    data = settings.data_dir.absolute()
    return {service: each for service, each in folders.items() if not each.absolute().is_relative_to(data)}


def adoption(settings: Settings) -> dict[str, str]:
    """Return the environment that lets the caches of `up` adopt their folder when its broker's data were lost.

    Only with an embedded broker and a cache in its own data folder: `up` holds that folder's lock, so no other broker
    uses it.
    """
    return (
        {"TICKWIRE_CACHE_ADOPT": "true"}
        if settings.nats.url is None and "cache" not in shared_folders(settings)
        else {}
    )
