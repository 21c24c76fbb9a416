"""Fixtures for all tests: a real nats-server, real processes, and the recorded data where it is available."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from support import programs
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tickwire import redaction
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.process.imports import uncollected
from tickwire.settings import NatsSettings

# A shared machine may stall for a second in mid-example, also while one is made; the suite's own timeout catches what
# hangs.
settings.register_profile("tickwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make bounds` repeats with older libraries what `make test` has tried with the full number of examples.
settings.register_profile("few", settings.get_profile("tickwire"), max_examples=10)
settings.load_profile("tickwire")

# Hundreds of processes are started: without files of bytecode each of them would compile the sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell's background jobs ignore Ctrl-C, and so would every program that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COSTS = ("faults", "system", "actors", "golden", "pure")
"""The markers of what a test costs, in the order in which they are run: what waits longest begins first."""
DATA = Path(__file__).parents[2] / "shared" / "data"
PARTITIONS = 8
LEASE_TTL_S = 2.0
"""As by default: with less, a busy machine loses sessions, and feeds begin again in tests that count beginnings."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Each worker imports every test: a fifth less CPU time without the collections in between."""
    with uncollected():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is alone at the end."""
    items.sort(key=lambda item: next((at for at, cost in enumerate(COSTS) if item.get_closest_marker(cost)), 0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program that is not there, or fail where that was asked for."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if reason := programs.absent(program):
                if programs.required():
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests recorded as property `measured`: pytest shows the output of failed tests only."""
    reports = [each for kind in ("passed", "failed") for each in terminalreporter.getreports(kind)]
    found = [(each.nodeid, str(what)) for each in reports for name, what in each.user_properties if name == "measured"]
    if found:
        terminalreporter.section("measured")
    for test, what in found:
        terminalreporter.write_line(f"{test}\n    {what}")
    if path := os.environ.get("FAILED_TESTS"):
        # Names for `pytest @file`, one a line, which .ci/run runs again.
        reports = [each for kind in ("failed", "error") for each in terminalreporter.getreports(kind)]
        failed = dict.fromkeys(each.nodeid for each in reports)
        Path(path).write_text("".join(f"{each}\n" for each in failed))


@pytest.fixture(autouse=True)
def _own_secrets() -> Iterator[None]:
    """Forget the secrets of each test: the password of one is a plain word in another."""
    before = redaction._hidden.copy()
    yield
    redaction._hidden.intersection_update(before)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Let no later test log to the output of this one, which is closed: each line would print a traceback."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers[:] = before


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def declared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a nats-server with all streams declared, which has ended.

    To declare 28 streams takes a test and its server three times the CPU time of a start with a copy of them.
    """
    folder = tmp_path_factory.mktemp("declared")
    async with embedded_broker.embedded(folder) as url, connect(NatsSettings(url=url), name="declare") as connection:
        await streams.declare(connection.jetstream, PARTITIONS, LEASE_TTL_S)
    return folder


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data folder of the test's broker, which has all streams where the test uses `bus` or `declared`."""
    folder = tmp_path / "nats"
    if {"bus", "declared"} & set(request.fixturenames):
        shutil.copytree(request.getfixturevalue("declared") / "jetstream", folder / "jetstream")
    return folder


@pytest.fixture
async def broker(store: Path) -> AsyncIterator[str]:
    """The URL of a nats-server of this test's own."""
    async with embedded_broker.embedded(store) as url:
        yield url


@pytest.fixture
async def bus(broker: str) -> AsyncIterator[Bus]:
    """A connection to the test's broker, with all streams declared (8 partitions, leases of 2 s)."""
    async with connect(NatsSettings(url=broker), name="test") as connection:
        yield connection


@pytest.fixture
async def simulator() -> AsyncIterator[SimulatorProcess]:
    """A simulator process of this test's own."""
    async with running_simulator() as process:
        yield process


@pytest.fixture
async def busy(request: pytest.FixtureRequest) -> AsyncIterator[SimulatorProcess]:
    """A simulator whose symbols trade RATE times a second, which the test file sets."""
    async with running_simulator("--live-rate", str(request.module.RATE)) as process:
        yield process


@pytest.fixture
def recorded() -> Path:
    """The folder of recorded market data; absent on a user's machine."""
    if not DATA.is_dir():
        pytest.skip("the recorded market data is not beside this checkout (../shared/data)")
    return DATA


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Every service, for all tests of a module, on an exchange where each symbol trades 100 times a second."""
    folder = tmp_path_factory.mktemp("line")
    # The default: the fetcher counts a candle as closed a second after its end.
    settling = CONFIG.replace("settle_ms = 0\n", "")
    async with (
        embedded_broker.embedded(folder / "nats") as url,
        running_simulator("--live-rate", "100", "--symbols", "40") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer"), settling, 5.0) as running,
    ):
        yield running
