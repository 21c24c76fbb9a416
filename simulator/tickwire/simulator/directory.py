"""The simulated venues, found in the folder `venues/`, by host, path and socket URL. No I/O but imports."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from tickwire.simulator import venues
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.sockets.dialect import Dialect
from tickwire.simulator.tokens import Tokens
from tickwire.simulator.venue import Endpoint, Sockets, Venue

_PARAMETER = re.compile(r"\\\{(\w+)(\\\.\\\.\\\.)?\\\}")


def discovered() -> list[Venue]:
    """Import each module and package in `venues/`; return their `VENUE`, sorted by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(venues.__path__))
    return [importlib.import_module(f"{venues.__name__}.{name}").VENUE for name in names]


def plain(host: str) -> str:
    """Return a host without its port."""
    return host.partition(":")[0]


class Directory:
    """Venues by host; the first that has a host serves it. One of them can have a dialect for each kind of market."""

    def __init__(self, found: Iterable[Venue], exchange: Exchange) -> None:
        self.venues = {venue.name: venue for venue in found}
        self.tokens = {name: Tokens() for name in self.venues}
        self._routes = {name: [_route(*each) for each in venue.endpoints.items()] for name, venue in self._items()}
        self._dialects = {
            f"{name}/{each.name}": each.dialect(exchange) for name, venue in self._items() for each in venue.sockets
        }

    def _items(self) -> Iterable[tuple[str, Venue]]:
        return self.venues.items()

    def venue(self, host: str) -> Venue | None:
        """Return the venue of a host, or None."""
        name = plain(host)
        return next((each for each in self.venues.values() if any(fnmatchcase(name, at) for at in each.hosts)), None)

    def of_exchange(self, exchange: str) -> Venue | None:
        """Return the venue of a ccxt id, or None."""
        return next((each for each in self.venues.values() if exchange in each.exchanges), None)

    def endpoint(self, venue: Venue, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """Return the endpoint of a path, and the parameters that the path names; None where there is none."""
        for verb, pattern, endpoint in self._routes[venue.name]:
            if verb == method and (found := pattern.fullmatch(path)):
                return endpoint, found.groupdict()
        return None

    def sockets(self, venue: Venue, host: str, path: str) -> Sockets | None:
        """Return what serves sockets at a URL, or None."""
        url = f"{plain(host)}/{path}"
        return next((each for each in venue.sockets if any(fnmatchcase(url, at) for at in each.urls)), None)

    def dialect(self, key: str) -> Dialect:
        """Return the dialect with the key `<venue>/<name of its sockets>`."""
        return self._dialects[key]


def _route(key: str, endpoint: Endpoint) -> tuple[str, re.Pattern[str], Endpoint]:
    method, _, path = key.partition(" ")
    pattern = _PARAMETER.sub(lambda name: f"(?P<{name[1]}>{'.*' if name[2] else '[^/]+'})", re.escape(path))
    return method, re.compile(pattern), endpoint
