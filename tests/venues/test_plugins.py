"""Plug-ins by entry points: a distribution on the path is found, and one that cannot be used is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tickwire import plugins
from tickwire.errors import ConfigError
from tickwire.settings import SinkSettings
from tickwire.venues.registry import declared, profile_of

pytestmark = pytest.mark.pure

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins" / "venue" / "tickwire_p2b.py"
Install = Callable[[str, str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution on the path: its name, its group, its entry point, and the text of its module."""
    declared.cache_clear()
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)

    def put(name: str, group: str, point: str, text: str) -> None:
        described = tmp_path / f"{name}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(f"[{group}]\n{point}\n")
        module = point.partition("= ")[2].partition(":")[0]
        (tmp_path / f"{module}.py").write_text(text)

    yield put
    for each in set(sys.modules) - modules:
        del sys.modules[each]
    declared.cache_clear()


def test_the_example_of_a_venue_is_known_once_it_is_installed(install: Install) -> None:
    assert profile_of("p2b").candles.since is None
    declared.cache_clear()
    install("tickwire-p2b", "tickwire.venues", "p2b = tickwire_p2b", EXAMPLE.read_text())
    assert profile_of("p2b").candles.since == "ignored"
    assert profile_of("binance").exchanges[0] == "binance"


def test_a_plug_in_that_declares_what_is_declared_is_refused(install: Install) -> None:
    text = 'from tickwire.venues.profile import Profile\nPROFILE = Profile(exchanges=("binance",))\n'
    install("another", "tickwire.venues", "mine = another_binance", text)
    with pytest.raises(ConfigError, match=r"plug-in mine declares binance|binance declares binance.*"):
        declared()


@pytest.mark.parametrize(("text", "said"), [("1 / 0", "ZeroDivisionError"), ("import nosuch", "ModuleNotFoundError")])
def test_a_plug_in_that_fails_is_named_with_its_package(install: Install, text: str, said: str) -> None:
    install("broken", "tickwire.venues", "broken = broken_venue", text)
    with pytest.raises(ConfigError, match=rf"'broken' of broken fails: {said}"):
        declared()


def test_two_plug_ins_of_one_name_are_refused(install: Install) -> None:
    install("one", "tickwire.sinks", "files = one_files:opened", "")
    install("two", "tickwire.sinks", "files = two_files:opened", "")
    with pytest.raises(ConfigError, match="'files'"):
        plugins.installed(plugins.SINKS)


def test_a_sink_that_is_not_installed_is_refused_with_the_nearest_name(install: Install) -> None:
    from prometheus_client import CollectorRegistry

    from tickwire.sink.databases import open_database
    from tickwire.sink.metrics import SinkMetrics

    metrics = SinkMetrics(CollectorRegistry())
    with pytest.raises(ConfigError, match="none is installed"):
        open_database(SinkSettings(plugin="files"), metrics)
    install("files", "tickwire.sinks", "line-files = line_files:opened", "def opened(settings): return settings")
    with pytest.raises(ConfigError, match="did you mean line-files"):
        open_database(SinkSettings(plugin="line-file"), metrics)
    settings = SinkSettings(plugin="line-files", options={"folder": "points"})
    opened: object = open_database(settings, metrics)
    assert opened is settings
    assert settings.place == "plug-in line-files"
