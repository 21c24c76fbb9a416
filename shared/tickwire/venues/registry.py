"""The profile and the dialect of each ccxt id, found in the modules of this folder.

A module declares `PROFILE`, or several `PROFILES`, and may declare a `DIALECT`, which reads the frames of the exchanges
of its `PROFILE`. A new venue is a new module: nothing lists them. They are imported when the first is asked for. So are
the modules of plug-ins (entry points `tickwire.venues`, docs/plugins.md).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import NamedTuple

from tickwire import plugins, venues
from tickwire.errors import ConfigError
from tickwire.model.timeframes import Grid, grid
from tickwire.venues import generic
from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import Profile


class Venue(NamedTuple):
    """What is declared of an exchange."""

    profile: Profile
    dialect: Dialect


class AmbiguousVenue(ValueError):
    """Two modules declare one exchange, or a dialect has no profile: a bug."""


def collect(modules: Mapping[str, ModuleType]) -> dict[str, Venue]:
    """What modules declare, by ccxt id. Raises AmbiguousVenue."""
    found: dict[str, Venue] = {}
    for name, module in sorted(modules.items()):
        one: Profile | None = getattr(module, "PROFILE", None)
        dialect: Dialect | None = getattr(module, "DIALECT", None)
        if dialect is not None and one is None:
            raise AmbiguousVenue(f"{name} has a DIALECT, but no PROFILE that names its exchanges")
        profiles: tuple[Profile, ...] = getattr(module, "PROFILES", () if one is None else (one,))
        if one is not None and one not in profiles:
            raise AmbiguousVenue(f"{name} has a PROFILE that is not one of its PROFILES")
        for profile in profiles:
            reads = dialect if profile is one and dialect is not None else generic.DIALECT
            for exchange in profile.exchanges:
                if exchange in found:
                    raise AmbiguousVenue(f"{name} declares {exchange}, which another module or profile declares, too")
                found[exchange] = Venue(profile, reads)
    return found


@cache
def declared() -> Mapping[str, Venue]:
    """What is declared, by ccxt id, in the order of the modules' names.

    Raises AmbiguousVenue, and ConfigError where a plug-in cannot be used.
    """
    # `pkgutil` reads folders, zip files and frozen programs alike.
    names = sorted(each.name for each in pkgutil.iter_modules(venues.__path__))
    own = __name__.rpartition(".")[2]
    ours = {each: importlib.import_module(f"{venues.__name__}.{each}") for each in names if each != own}
    found = collect(ours)
    added = {name: plugins.load(point) for name, point in plugins.installed(plugins.VENUES).items()}
    if not added:
        return found
    try:
        return collect(ours | {f"plug-in {name}": module for name, module in added.items()})
    except AmbiguousVenue as error:
        raise ConfigError(
            f"tickwire.venues: {error}", "uninstall the plug-in, or have it declare others only"
        ) from error


def profile_of(exchange: str) -> Profile:
    """The profile of a ccxt exchange id; `generic` where nothing is declared."""
    venue = declared().get(exchange)
    return generic.PROFILE if venue is None else venue.profile


def dialect_of(exchange: str) -> Dialect:
    """The dialect of a ccxt exchange id; `generic` where ccxt reads everything."""
    venue = declared().get(exchange)
    return generic.DIALECT if venue is None else venue.dialect


def grid_of(exchange: str, timeframe: str, opens_at: int | None = None) -> Grid:
    """The grid of a venue's candles by its profile; `opens_at` (ms), if known for a key, replaces the profile's.

    Raises UnsupportedTimeframe.
    """
    return grid(timeframe, profile_of(exchange).candles.opens_at.get(timeframe) if opens_at is None else opens_at)
