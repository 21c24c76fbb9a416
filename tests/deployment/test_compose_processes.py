"""The commands, environment and health checks of the compose file, run as plain processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from deployment import composed
from deployment.composed import ROOT, SERVICES, Composed
from support import live
from support.influx_api import Server, serving
from support.ports import free_port
from support.processes import SimulatorProcess
from support.scraping import scraper
from tickwire.bus.connection import connect
from tickwire.model.feeds import Feed
from tickwire.model.messages import Candles, CandlesRequest, FetchAccepted, FetchRequest
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.system

BTC = Feed("trade", "binance", "BTC/USDT")
SINCE = 1_700_000_040_000
RATE = 50
"""Trades of each symbol a second."""
GATEWAY = """
[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
"""


@asynccontextmanager
async def standing(
    folder: Path, simulator: SimulatorProcess, pythons: dict[str, Path]
) -> AsyncIterator[tuple[Composed, Server]]:
    """Everything that docker-compose.yml starts of ours, in its order, healthy."""
    services = composed.composed()["services"]
    # The file that an operator edits: here it says where the exchange is.
    edited = folder / "tickwire.toml"
    edited.write_text((ROOT / "deploy/tickwire.toml").read_text() + GATEWAY.format(gateway=simulator.url))
    made = Composed(folder, services, composed.passwords(folder), pythons=pythons)
    monitor, port = free_port(), free_port()
    secret = made.secrets["TICKWIRE_INFLUX_TOKEN"]
    wanted = {"org": "tickwire", "bucket": "tickwire", "precision": "ns"}
    async with AsyncExitStack() as stack:
        influx = await stack.enter_async_context(serving(Server(f"Token {secret}", "/api/v2/write", wanted)))
        made.hosts = {
            "nats:4222": f"127.0.0.1:{port}",
            "0.0.0.0:4222": f"127.0.0.1:{port}",
            "0.0.0.0:8222": f"127.0.0.1:{monitor}",
            "127.0.0.1:8222": f"127.0.0.1:{monitor}",
            "http://influxdb:8086": influx.url,
            "8420": str(free_port()),
            str(ROOT / "deploy/tickwire.toml"): str(edited),
        }
        for name in ("nats", "streams", *SERVICES):
            for other, condition in services[name].get("depends_on", {}).items():
                # Everything stands by now that this one waits for.
                assert condition["condition"] in ("service_healthy", "service_completed_successfully"), other
            if name == "streams":
                code, said = await made.once(name)
                assert code == 0, said
            else:
                await stack.enter_async_context(made.running(name))
                if name == "nats":
                    await made.healthy(name)
        for name in SERVICES:
            await made.healthy(name)
        yield made, influx


async def works(made: Composed, influx: Server) -> None:
    """What a user does first: fetch, read, follow; and Prometheus scrapes, and the database is written to."""
    settings = NatsSettings(
        url=made.environment("cache")["TICKWIRE_NATS_URL"],
        user="desk",
        password=made.secrets["TICKWIRE_DESK_PASSWORD"],  # type: ignore[arg-type]
    )
    async with connect(settings, name="desk") as bus, live.seeing(bus, BTC) as seen:
        await live.start(bus, BTC, "desk", ttl_s=30)
        ask = FetchRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m", since=SINCE, until=SINCE + 600_000)
        await bus.request("fetcher.fetch", ask, FetchAccepted)
        await seen.until(lambda: len(seen.trades) > 50)
        read = CandlesRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m")
        async with asyncio.timeout(100):
            while len((await bus.request("cache.get", read, Candles)).rows) < 10:
                await asyncio.sleep(0.1)
            while not any("symbol=BTC/USDT" in series for series, _ in influx.taken):
                await asyncio.sleep(0.1)
    for name in SERVICES:
        async with scraper(made.monitors[name]) as from_:
            # The page holds none.
            wanted = "tickwire_broker_connected" if name == "web" else "tickwire_leases_held"
            assert wanted in (await from_.scrape()).types
    assert (Path(made.mounts("cache")["/data"]) / "cache" / "binance_BTC-USDT_1m.csv").is_file()


async def test_commands_environment_and_health_checks_of_compose_work_as_processes(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    async with standing(tmp_path, busy, {}) as (made, influx):
        await works(made, influx)
        for asked in (made.checked("cache"), made.once("cache", "health")):
            assert await asked == (0, "ready\n")
        assert "iolation" not in (tmp_path / "nats.log").read_text()
    for asked in (made.checked("cache"), made.once("cache", "health")):
        code, said = await asked
        assert code == 1
        assert said.startswith("nothing answers at 127.0.0.1:")


def test_a_health_check_loads_next_to_nothing() -> None:
    """Neither settings nor an event loop: it runs in every container every ten seconds."""
    code = "import sys, tickwire.observe.healthcheck as check; code = check.main(); print(*sys.modules); sys.exit(code)"
    env = {"TICKWIRE_METRICS_HOST": "0.0.0.0", "TICKWIRE_METRICS_PORT": str(free_port())}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    answer, modules = done.stdout.splitlines()
    assert answer.startswith("nothing answers at 127.0.0.1:")
    heavy = {"pydantic", "asyncio", "aiohttp", "nats", "msgspec", "structlog", "typer", "rich"}
    assert set(modules.split()) & heavy == set()


def test_where_the_environment_does_not_say_it_the_settings_have_the_port(tmp_path: Path) -> None:
    (tmp_path / "tickwire.toml").write_text(f"[metrics]\nport = {(port := free_port())}\n")
    check = [sys.executable, "-m", "tickwire.observe.healthcheck"]
    done = subprocess.run(check, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith(f"nothing answers at 127.0.0.1:{port}:")) == (1, True)
    (tmp_path / "tickwire.toml").write_text("")
    done = subprocess.run(check, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("tickwire: metrics.port is not set")


@pytest.mark.images
@pytest.mark.timeout(600)
async def test_each_service_starts_and_works_from_its_images_own_dependencies(
    busy: SimulatorProcess, tmp_path: Path
) -> None:
    pythons = composed.images(tmp_path / "images")
    async with standing(tmp_path, busy, pythons) as (made, influx):
        await works(made, influx)
        code, said = await made.once("streams", "status")
        assert code == 0, said
        assert all(name in said for name in ("streamer", "trade binance BTC/USDT", "TRADES"))
        code, said = await made.once("cache", "service", "fetcher")
        assert code == 2
        assert "pip install 'tickwire[fetcher]'" in said
    version = composed.passwords(tmp_path)["TICKWIRE_VERSION"]
    for python in pythons.values():
        assert not list(python.parent.glob("pip*"))
        shown = subprocess.run([python.parent / "tickwire", "--version"], check=True, capture_output=True, text=True)
        assert shown.stdout == f"tickwire {version}\n"
    for service, absent in (("cache", "ccxt"), ("cache", "pandas"), ("sink", "numpy"), ("streamer", "influxdb_client")):
        done = subprocess.run([pythons[service], "-c", f"import {absent}"], capture_output=True, check=False)
        assert b"ModuleNotFoundError" in done.stderr, (service, absent)
