"""The simulator as a process: one line when it listens, a clean end, one line for invalid arguments."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from support.processes import SimulatorProcess

pytestmark = pytest.mark.actors


async def test_it_tells_its_url_and_ends_at_once_when_told_to(simulator: SimulatorProcess) -> None:
    async with simulator.http.get(f"{simulator.url}/api.binance.com/api/v3/ping") as response:
        assert await response.json() == {}
    # An answer that hangs does not hold it up.
    await simulator.fault("time", "hang")
    port = int(simulator.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api.binance.com/api/v3/time HTTP/1.1\r\nHost: simulator\r\n\r\n")
    while not await simulator.log("/time"):
        continue
    simulator.process.send_signal(signal.SIGTERM)
    assert await simulator.process.wait() == 0
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--port", "x"], "invalid int value: 'x'"),
        (["--prot", "1"], "no such argument: --prot"),
        (["--symbol", "BTCUSDT"], "'BTCUSDT' is not a spot symbol"),
        (["--play", "BTC/USDT=a.csv"], "is not SYMBOL:TIMEFRAME=CSV"),
        (["--play", "BTC/USDT:1m=none.csv"], "cannot read none.csv"),
        (["--live-rate", "99999999"], "live_rate 99999999.0 is not between"),
        (["--config", "sim.toml"], "unknown field `sede`"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, arguments: list[str], what: str) -> None:
    (tmp_path / "sim.toml").write_text("sede = 3\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tickwire.simulator", *arguments, cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert what in err.decode()
    assert err.decode().count("\n") == 1
