"""Packages that not every installation has: which extra of tickwire brings each of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from tickwire.errors import ConfigError

PACKAGES = {
    "anyio": ("client",),
    "ccxt": ("fetcher", "streamer"),
    "influxdb_client": ("sink",),
    "numpy": ("cache", "cli", "client", "simulator"),
    "pandas": ("cli", "client"),
    "plotext": ("cli",),
    "pyarrow": ("cli",),
    "stamina": ("fetcher", "sink"),
}
"""The extras of pyproject.toml that a package to be imported is in."""
SERVER = "cli"
"""The extra that has nats-server: a program, not a package to be imported."""


def install(extras: Iterable[str]) -> str:
    """What to type."""
    return f"pip install 'tickwire[{','.join(sorted(set(extras)))}]'"


def absent(error: BaseException) -> str | None:
    """The package that is not there, where an error, or one within or beneath it, is about that."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := absent(each))), None)
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return package if package not in ("", "tickwire") else None
    return absent(error.__cause__) if error.__cause__ is not None else None


def explained(package: str, asked: str = "") -> str:
    """What is said where a package is not there; `asked` is the service that was to run, if one was."""
    extras = PACKAGES.get(package)
    if extras is None:
        remedy = f"{install(['all'])}, or that package"
    else:
        remedy = install([next((each for each in (asked, "cli") if each in extras), extras[0])])
    return f"{package} is not installed here, and this command needs it; {remedy}"


def require(extras: Iterable[str], *, server: bool = True) -> None:
    """Raises ConfigError naming everything that is not installed of these extras; not `server`: nor nats-server is."""
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
