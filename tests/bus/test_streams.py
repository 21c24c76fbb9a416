"""The streams as the configuration wants them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from support.brokers import Server
from support.ports import free_port
from tape.places import BTC_SUBJECT, TRADES_STREAM
from tickwire import settings as config
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import ConfigError, StorageError
from tickwire.settings import NatsSettings, SinkSettings, TapeSettings

pytestmark = pytest.mark.actors

TAPE = """
[tape]
trades_age_s = 7200
trades_bytes = 33554432
deltas_age_s = 60
deltas_bytes = 16777216
"""


async def limits(bus: Bus, stream: str) -> tuple[int, int]:
    """Age (ns) and bytes by the broker's own words."""
    answer = await bus.client.request(f"$JS.API.STREAM.INFO.{stream}")
    found: dict[str, Any] = json.loads(answer.data)["config"]
    return found["max_age"], found["max_bytes"]


async def test_a_changed_retention_of_the_tape_reaches_existing_streams(bus: Bus, tmp_path: Path) -> None:
    assert await limits(bus, "TRADES-7") == (86_400 * 10**9, 1 << 27)
    file = tmp_path / "tickwire.toml"
    file.write_text(TAPE)
    await streams.declare_for(bus.jetstream, config.load(file))
    assert await limits(bus, "TRADES-0") == (7200 * 10**9, 4_194_304)
    assert await limits(bus, "BOOK_DELTAS-7") == (60 * 10**9, 2_097_152)


async def test_a_tape_of_another_number_of_partitions_is_refused_and_left_as_it_is(bus: Bus) -> None:
    """A market would be in two partitions, with two owners."""
    with pytest.raises(ConfigError, match=r"has 8 partitions, and tape.partitions is 4; set tape.partitions = 8"):
        await streams.declare(bus.jetstream, 8, 3, TapeSettings(partitions=4))
    info = await bus.jetstream.stream_info("TRADES-0")
    assert (info.config.metadata or {})["tickwire-partitions"] == "8"


async def test_the_oldest_trades_go_when_the_bytes_are_used_up(bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text("[tape]\ntrades_bytes = 1048576\n")
    await streams.declare_for(bus.jetstream, config.load(file))
    for number in range(20):
        ack = await bus.append(BTC_SUBJECT, bytes(100_000), message_id=str(number))
    state = (await bus.jetstream.stream_info(TRADES_STREAM)).state
    assert state.last_seq == ack.seq == 20
    # Ten of them, and what each takes besides.
    assert state.first_seq == 11
    assert state.bytes <= 1_048_576


@asynccontextmanager
async def room_for(folder: Path, mebibytes: int) -> AsyncIterator[Bus]:
    """A broker that may store so much, without any stream."""
    folder.mkdir()
    port = free_port()
    store = f'jetstream {{ store_dir: "{folder}", max_file_store: {mebibytes}MB }}'
    config_file = folder / "nats-server.conf"
    config_file.write_text(f'listen: "127.0.0.1:{port}"\n{store}\n')
    server = Server(folder, config_file, port)
    await server.start()
    try:
        async with connect(NatsSettings(url=server.url), name="test") as bus:
            yield bus
    finally:
        await server.kill()


@pytest.mark.parametrize(("mebibytes", "stream"), [(300, "OHLCV"), (900, "TRADES-1"), (2200, "TICKERS")])
async def test_advice_to_a_broker_without_room_can_be_followed(tmp_path: Path, mebibytes: int, stream: str) -> None:
    settings = config.load(None)
    async with room_for(tmp_path / "small", mebibytes) as bus:
        with pytest.raises(StorageError, match=f"of stream {stream}, of ") as refused:
            await streams.declare_for(bus.jetstream, settings)
    sizes = re.findall(r"\w+_bytes", refused.value.remedy)
    assert "ohlcv_bytes" in sizes
    (least,) = map(int, re.findall(r"take (\d+) MiB in all", refused.value.remedy))
    (wanted,) = map(int, re.findall(r"(\d+) MiB in all", refused.value.message))
    # As told: with the least that each of these may be, and with all that is wanted.
    lowered = tmp_path / "tickwire.toml"
    lowered.write_text("[tape]\n" + "".join(f"{size} = {least_of(size)}\n" for size in sizes))
    async with room_for(tmp_path / "least", least) as bus:
        await streams.declare_for(bus.jetstream, config.load(lowered))
        assert await limits(bus, "OHLCV") == (0, least_of("ohlcv_bytes"))
    async with room_for(tmp_path / "all", wanted) as bus:
        await streams.declare_for(bus.jetstream, settings)
    async with room_for(tmp_path / "less", least - 1) as bus:
        with pytest.raises(StorageError) as refused:
            await streams.declare_for(bus.jetstream, config.load(lowered))
    assert "max_file_store" in refused.value.remedy
    assert "lower" not in refused.value.remedy, "they are as low as they can be"


def least_of(size: str) -> int:
    """The least that a setting of the tape may be, by what the configuration refuses."""
    found = 1
    while True:
        try:
            TapeSettings.model_validate({size: found})
        except ValidationError:
            found *= 2
            continue
        return found


async def test_advice_to_a_broker_without_room_for_a_sink_names_its_own_setting(tmp_path: Path) -> None:
    async with room_for(tmp_path / "small", 2800) as bus:
        await streams.declare(bus.jetstream, 8, 5.0)
        with pytest.raises(StorageError, match="of stream SINK") as refused:
            await streams.declare_sink(bus.jetstream, SinkSettings())
    assert "lower sink.held_bytes" in refused.value.remedy
