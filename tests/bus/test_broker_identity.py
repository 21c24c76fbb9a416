"""Detection of a replaced broker, and the readiness of a process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.ports import free_port
from support.processes import Service, environment
from tape.places import TRADES_STREAM
from tickwire.bus import broker_identity, streams
from tickwire.bus import embedded as embedded_broker
from tickwire.bus.broker_identity import broker_unchanged, describe_change
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BrokerChanged
from tickwire.observe.metrics import Metrics
from tickwire.observe.readiness import Readiness
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

NAMES = st.dictionaries(st.sampled_from(["TRADES", "BOOKS", "JOBS"]), st.none() | st.integers(1, 3), min_size=1)


@given(NAMES)
def test_a_broker_that_is_the_same_has_not_changed(made: dict[str, int | None]) -> None:
    assert describe_change(made, dict(made)) is None


@given(NAMES, st.data())
def test_whatever_stream_is_gone_or_made_anew_is_a_change(made: dict[str, int | None], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(made)))
    other = data.draw((st.none() | st.integers(1, 3)).filter(lambda value: value != made[name]))
    said = describe_change(made, {**made, name: other})
    assert said is not None
    assert name in said or len(made) > 1


async def test_a_stream_that_is_deleted_and_made_again_ends_the_block(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_identity, "EVERY_S", 0.1)
    config = (await bus.jetstream.stream_info(streams.TICKERS)).config
    with pytest.raises(BrokerChanged, match="TICKERS"):
        async with asyncio.timeout(60), broker_unchanged(bus, [TRADES_STREAM, streams.TICKERS], Metrics()):
            await bus.jetstream.delete_stream(streams.TICKERS)
            await bus.jetstream.add_stream(config)
            await asyncio.Event().wait()


async def test_a_broker_that_was_wiped_is_seen_at_the_reconnection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_identity, "EVERY_S", 1_000)
    async with AsyncExitStack() as old:
        url = await old.enter_async_context(embedded_broker.embedded(tmp_path / "one"))
        async with asyncio.timeout(100), connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            with pytest.raises(BrokerChanged, match="another one, or was wiped"):
                async with broker_unchanged(bus, [TRADES_STREAM, streams.TICKERS], Metrics()):
                    await old.aclose()
                    async with embedded_broker.embedded(tmp_path / "two", port=int(url.rpartition(":")[2])):
                        await asyncio.Event().wait()


def test_readiness_names_each_check_that_fails_and_forgets_those_that_are_over() -> None:
    ready = Readiness()
    assert ready.reason() is None
    with ready.checked("storage", lambda: "no room"), ready.checked("session", lambda: None):
        assert ready.failing() == {"storage": "no room"}
        with ready.checked("storage", lambda: "no room"), ready.checked("storage", lambda: "read-only"):
            assert ready.failing() == {"storage": "no room; read-only"}
        with ready.checked("broker", lambda: "not connected"):
            assert ready.reason() == "not connected"
            assert set(ready.failing()) == {"storage", "broker"}
    assert ready.reason() is None


async def test_a_service_goes_on_by_itself_on_a_broker_that_was_wiped(tmp_path: Path) -> None:
    """In the same process: nobody supervises it here."""
    log = tmp_path / "fetcher.log"
    async with AsyncExitStack() as old:
        url = await old.enter_async_context(embedded_broker.embedded(tmp_path / "one"))
        port = free_port()
        variables = {"TICKWIRE_NATS_URL": url, "TICKWIRE_LEASES_TTL_S": "1", "TICKWIRE_METRICS_PORT": str(port)}
        async with Service("fetcher", environment(tmp_path, **variables), log=log) as fetcher:
            await fetcher.says('"event": "serving"')
            assert await ready(port) == {"ready": True}
            before = len(fetcher.log)
            await old.aclose()
            found = await ready(port)
            assert found["failing"]["broker"] == found["reason"] == "not connected to the broker"
            async with embedded_broker.embedded(tmp_path / "two", port=int(url.rpartition(":")[2])):
                await fetcher.says('"event": "serving"', after=before)
                async with connect(NatsSettings(url=url), name="asks") as bus:
                    assert await bus.client.request("$SRV.PING.fetcher", b"", timeout=10)
                assert await ready(port) == {"ready": True}
                assert fetcher.process.returncode is None


async def ready(port: int) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/health/ready") as answer:
        found: dict[str, Any] = await answer.json()
        assert (answer.status == 200) == found["ready"]
        return found
