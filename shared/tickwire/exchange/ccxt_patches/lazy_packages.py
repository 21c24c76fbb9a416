"""ccxt's packages import each exchange when it is first named.

`import ccxt.pro` imports every exchange three times (sync, async, pro): 4 s of CPU and 106 MB (measured), for the one
or two that are used. Here the three packages are registered without running their `__init__`. A name that is neither
an exchange nor in a base module runs the real `__init__`, so that nothing is missing.

Upstream: https://github.com/ccxt/ccxt/issues/29573.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tickwire.exchange.ccxt_patches import deferred_requests

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")
_HOMES = ("ccxt.base.errors", "ccxt.base.exchange", "ccxt.base.precise", "ccxt.base.decimal_to_precision")
"""The modules that define the names which ccxt's own modules import from `ccxt`."""


class _Package(ModuleType):
    """A package of ccxt that imports its exchanges one by one."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing `ccxt.pro.binance` binds the module; the packages bind the class of that name.
        super().__setattr__(name, _named(name, value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        found = self._exchange(name) or self._of_base(name)
        if found is None:
            self._run()
            found = self.__dict__.get(name)
        if found is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return found

    def _exchange(self, name: str) -> Any:
        if not (Path(self.__path__[0]) / f"{name}.py").is_file():
            return None
        module = importlib.import_module(f"{self.__name__}.{name}")
        # If another thread imports it, the package may have the name only after that.
        return _named(name, module)

    def _of_base(self, name: str) -> Any:
        if self.__name__ != "ccxt":
            return None
        homes = (importlib.import_module(home) for home in _HOMES)
        return next((getattr(home, name) for home in homes if hasattr(home, name)), None)

    def _run(self) -> None:
        spec = self.__spec__
        if self.__dict__.get("_ran") or spec is None or spec.loader is None:
            return
        self.__dict__["_ran"] = True
        spec.loader.exec_module(self)


def _named(name: str, value: Any) -> Any:
    """The class of a module that has one of that name; else the value itself."""
    named = getattr(value, name, None) if isinstance(value, ModuleType) else None
    return named if isinstance(named, type) else value


def install() -> None:
    """Register the packages, unless ccxt is already imported or not installed. Idempotent."""
    if "ccxt" in sys.modules:
        return
    found = importlib.util.find_spec("ccxt")
    if found is None or found.origin is None:
        return
    deferred_requests.install()
    root = Path(found.origin).parent
    for name in _PACKAGES:
        folder = root.joinpath(*name.split(".")[1:])
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert isinstance(spec, ModuleSpec)
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[name] = package
        parent, _, last = name.rpartition(".")
        if parent:
            sys.modules[parent].__dict__[last] = package
