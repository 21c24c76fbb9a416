"""ccxt's base class is imported without requests, the HTTP client of its synchronous exchanges.

requests, urllib3 and charset_normalizer take 60 ms of CPU (measured), a tenth of the start of a service, which uses the
asynchronous exchanges. A synchronous exchange imports them when it opens its session, before it sends anything.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_BASE = "ccxt.base.exchange"
_ERRORS = {
    "HTTPError": "HTTPError",
    "Timeout": "Timeout",
    "TooManyRedirects": "TooManyRedirects",
    "RequestException": "RequestException",
    "requestsConnectionError": "ConnectionError",
}
"""Names in ccxt's module, and in `requests.exceptions`."""


def _session() -> Any:
    """Return a session of requests, whose errors ccxt's module has from now on."""
    requests, errors = importlib.import_module("requests"), importlib.import_module("requests.exceptions")
    base: Any = sys.modules[_BASE]
    base.Session = requests.Session
    for name, original in _ERRORS.items():
        setattr(base, name, getattr(errors, original))
    return requests.Session()


def _default_user_agent() -> str:
    """Return what `requests.utils.default_user_agent` does: ccxt's asynchronous exchanges send it, too."""
    return f"python-requests/{importlib.metadata.version('requests')}"


def _stand_ins() -> dict[str, ModuleType]:
    """Modules with the names that ccxt imports."""
    package, utils, errors = (ModuleType(f"requests{part}") for part in ("", ".utils", ".exceptions"))
    vars(package)["Session"] = _session
    vars(utils)["default_user_agent"] = _default_user_agent
    for original in _ERRORS.values():
        vars(errors)[original] = type(original, (Exception,), {})
    return {each.__name__: each for each in (package, utils, errors)}


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        if "requests" in sys.modules:
            super().exec_module(module)
            return
        stand_ins = _stand_ins()
        sys.modules.update(stand_ins)
        try:
            super().exec_module(module)
        finally:
            for name in stand_ins:
                del sys.modules[name]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _BASE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def install() -> None:
    """Import ccxt's base class so from now on, if it is not imported yet. Idempotent."""
    if _BASE not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
