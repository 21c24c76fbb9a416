"""The streams as the configuration wants them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tickwire import config, streams
from tickwire.bus import Bus

TAPE = """
[tape]
trades_age_s = 7200
trades_bytes = 4194304
deltas_age_s = 60
deltas_bytes = 2097152
"""


async def limits(bus: Bus, stream: str) -> tuple[int, int]:
    """Age (ns) and bytes by the broker's own words."""
    answer = await bus.client.request(f"$JS.API.STREAM.INFO.{stream}")
    found: dict[str, Any] = json.loads(answer.data)["config"]
    return found["max_age"], found["max_bytes"]


async def test_how_long_and_how_much_the_tape_keeps_reaches_streams_that_were_there_before(
    bus: Bus, tmp_path: Path
) -> None:
    assert await limits(bus, "TRADES") == (86_400 * 10**9, 1 << 30)
    file = tmp_path / "tickwire.toml"
    file.write_text(TAPE)
    await streams.declare_for(bus.jetstream, config.load(file))
    assert await limits(bus, "TRADES") == (7200 * 10**9, 4_194_304)
    assert await limits(bus, "BOOK_DELTAS") == (60 * 10**9, 2_097_152)


async def test_the_oldest_trades_go_when_the_bytes_are_used_up(bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text("[tape]\ntrades_bytes = 1048576\n")
    await streams.declare_for(bus.jetstream, config.load(file))
    for number in range(20):
        ack = await bus.append("tape.trade.binance.BTC-USDT", bytes(100_000), message_id=str(number))
    state = (await bus.jetstream.stream_info("TRADES")).state
    assert state.last_seq == ack.seq == 20
    # Ten of them, and what each takes besides.
    assert state.first_seq == 11
    assert state.bytes <= 1_048_576
