"""Garbage collection pauses during imports, and imported objects are exempt from later collections."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.pure


def printed(code: str) -> str:
    """What a fresh interpreter prints: what is frozen in this one would stay so."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_package_is_as_if_it_were_absent_within_the_block_and_there_after_it() -> None:
    code = """
from tickwire.process.imports import without
with without("colorsys"):
    try:
        import colorsys
    except ImportError:
        print("absent", end=" ")
import colorsys
with without("colorsys"):
    import colorsys as again
print(again is colorsys)
"""
    assert printed(code) == "absent True"


def test_a_service_imports_no_rich() -> None:
    code = """
import sys, tickwire.cli.main, tickwire.cli.processes.service, tickwire.cache.service
print("rich" in sys.modules)
"""
    assert printed(code) == "False"


def test_a_sink_imports_the_encoder_of_influxdb_and_not_its_client() -> None:
    code = """
import sys, tickwire.sink.points
print(sorted({"influxdb_client", "reactivex", "urllib3", "numpy"} & sys.modules.keys()), end=" ")
from influxdb_client import InfluxDBClient, Point
print(Point is tickwire.sink.points.Point, InfluxDBClient.__name__)
"""
    assert printed(code) == "[] True InfluxDBClient"


def test_nothing_is_collected_within_and_what_is_made_there_is_frozen() -> None:
    code = """
import gc
from tickwire.process.imports import uncollected
runs = []
gc.callbacks.append(lambda phase, _info: runs.append(phase))
with uncollected():
    runs.clear()
    kept = [[] for _ in range(100_000)]
    print(len(runs), end=" ")
print(gc.isenabled(), gc.get_freeze_count() > 100_000, any(each is kept for each in gc.get_objects()))
"""
    assert printed(code) == "0 True True False"


def test_a_command_that_runs_collects_its_garbage_and_leaves_collection_as_it_was() -> None:
    code = """
import gc
from tickwire.process.imports import collected, uncollected
with uncollected():
    with uncollected():
        pass
    print(gc.isenabled(), end=" ")
    with collected():
        print(gc.isenabled(), end=" ")
    print(gc.isenabled(), end=" ")
print(gc.isenabled())
"""
    assert printed(code) == "False True False True"


def test_a_command_runs_with_collection_on() -> None:
    code = """
import gc
from tickwire.cli import main, broker_url
async def url(*_):
    print(gc.isenabled(), gc.get_freeze_count() > 0)
broker_url.url = url
main.run(["url"])
print(gc.isenabled())
"""
    assert printed(code).splitlines() == ["True True", "True"]
