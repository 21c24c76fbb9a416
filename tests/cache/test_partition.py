"""One partition by itself: how it ends when it cannot go on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import nats.errors
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from support.brokers import serving
from tickwire.bus import requests
from tickwire.bus.connection import connect
from tickwire.bus.leases import Epoch, Lease
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults


async def test_a_partition_is_released_while_its_stream_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is contended for again, and the process with the other partitions goes on."""
    monkeypatch.setattr(requests, "PUBLISH_RETRY_S", 0.1)
    async with serving(tmp_path / "broker") as server:
        settings = NatsSettings(url=server.url, user="cache", password=SecretStr("p-cache"))
        async with connect(settings, name="test") as bus:
            partition = Partition(bus, tmp_path, 0, 8, CacheMetrics(CollectorRegistry()))
            server.suspend()
            try:
                with pytest.raises(nats.errors.TimeoutError):
                    while True:
                        # Its threads stop a moment later; JetStream may have been starting.
                        with suppress(nats.errors.NoRespondersError):
                            await bus.client.request("$JS.API.STREAM.INFO.OHLCV", timeout=0.3)
                await partition.own(Lease("0", Epoch(1, 1), 0))
            finally:
                server.resume()
            assert not partition.owned
