"""A program that installed the wheel sees the types of the client: `tickwire/py.typed` is in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path

import pytest

from support.installed import python_with

pytestmark = [pytest.mark.system, pytest.mark.images]

ROOT = Path(__file__).parents[2]
PROGRAM = """
from tickwire.client import Client, Trade, connect, connect_sync
from tickwire.errors import TickwireError


async def follow(client: Client) -> None:
    async for trade in client.trades("binance", "BTC/USDT"):
        reveal_type(trade)
    async for candle in client.candles("binance", "BTC/USDT", "1h", since="30d"):
        reveal_type(candle.volume)


async def main() -> None:
    try:
        async with connect() as client:
            reveal_type(client)
            await follow(client)
    except TickwireError as error:
        reveal_type(error.remedy)


def last(trade: Trade) -> int:
    return trade.price


def blocking() -> None:
    with connect_sync() as client:
        client.trades("binance")
"""
FOUND = (
    'Revealed type is "tickwire.client.items.Trade"',
    'Revealed type is "*float"',
    'Revealed type is "tickwire.client.*Client"',
    'Revealed type is "*str"',
    'error: Incompatible return value type (got "float", expected "int")*',
    'error: Argument 1 to "trades" of "*" has incompatible type "str"*',
)


def test_mypy_strict_sees_the_types_of_the_installed_client(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    python = python_with(tmp_path / "venv", "client")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "sources.pth").unlink()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    command += [f"--python-executable={python}", str(program)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line for line in ended.stdout.splitlines() if " error: " in line or " note: Revealed" in line]
    assert len(lines) == len(FOUND), ended.stdout + ended.stderr
    for line, expected in zip(lines, FOUND, strict=True):
        assert fnmatch(line, f"*{expected}")
