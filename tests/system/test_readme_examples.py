"""Each program in README.md runs as printed, and so does each in examples/python; read from there."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire import broker as embedded_broker
from tickwire.config import Settings
from tickwire.subjects import Key

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PRINTED = "nats://127.0.0.1:4222"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def blocks(language: str) -> list[str]:
    """The code of README.md in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Every service, with what the examples ask the cache for."""
    folder = tmp_path_factory.mktemp("readme")
    async with (
        embedded_broker.embedded(folder / "nats") as url,
        running_simulator("--live-rate", "50") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer")) as running,
    ):
        now = (await exchange.clock())["now"]
        await running.fetch(Key("binance", "BTC/USDT", "1h"), now - 24 * 3_600_000)
        yield running


async def output(line: Pipeline, *argv: str | Path, lines: int, cwd: Path | None = None) -> list[str]:
    """What a program prints: to its end, or its first lines where it has none."""
    env = {**os.environ, "TICKWIRE_NATS_URL": line.bus.url, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *map(str, argv), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env, cwd=cwd
    )
    assert process.stdout is not None
    assert process.stderr is not None
    found: list[str] = []
    async with asyncio.timeout(60):
        while len(found) < lines and (text := await process.stdout.readline()):
            found.append(text.decode().rstrip("\n"))
    if process.returncode is None and len(found) == lines:
        process.kill()
    errors = (await process.communicate())[1].decode()
    assert len(found) == lines, errors
    return found


@pytest.mark.parametrize("number", range(len(blocks("python"))))
async def test_a_python_program_of_the_readme_runs_as_printed(line: Pipeline, number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(blocks("python")[number].replace(PRINTED, line.bus.url))
    expected, lines = {
        # Eight figures and the name of the column, then trades.
        0: (r"\d{13} (buy|sell) [\d.]+ [\d.]+", 15),
        # A heading of two lines and five rows, then five trades.
        1: (r"Trade\(id='\d+', timestamp=\d{13}, .*\)", 12),
        2: (r"\[(\[\d{13}(, [\d.]+){5}\](, )?){5}\]", 1),
        3: (r"\d{13} (buy|sell) [\d.]+ [\d.]+", 4),
    }[number]
    assert re.fullmatch(expected, (await output(line, sys.executable, program, lines=lines))[-1])


@pytest.mark.needs("node")
async def test_a_javascript_program_of_the_readme_runs_as_printed(line: Pipeline) -> None:
    (program,) = (text.replace(PRINTED, line.bus.url) for text in blocks("js"))
    found = await output(line, "node", "--input-type=module", "--eval", program, lines=5, cwd=ROOT / "examples")
    assert re.search(r"\d{13},", " ".join(found))


@pytest.mark.parametrize(
    ("name", "arguments", "expected", "lines"),
    [
        ("candles", ("binance", "BTC/USDT", "1h", "30d"), "complete", 16),
        ("trades", ("binance", "BTC/USDT"), r"\{\"id\":\"\d+\",.*\}", 5),
        ("history_then_live", ("binance", "BTC/USDT"), r"\d{13} [\d.]+ [\d.]+ open", 18),
        ("notebook", ("binance", "BTC/USDT"), r"Trade\(id='\d+', .*\)", 14),
    ],
)
async def test_a_python_example_runs(
    line: Pipeline, name: str, arguments: tuple[str, ...], expected: str, lines: int
) -> None:
    program = ROOT / "examples" / "python" / f"{name}.py"
    assert re.fullmatch(expected, (await output(line, sys.executable, program, *arguments, lines=lines))[-1])


async def test_every_example_is_run_by_a_test() -> None:
    """Those that are not run here are in test_languages."""
    tests = "".join(
        (ROOT / "tests" / "system" / name).read_text() for name in ("test_languages.py", Path(__file__).name)
    )
    known = [path for path in (ROOT / "examples").rglob("*.*") if "node_modules" not in path.parts]
    programs = [path for path in known if path.suffix in (".py", ".mjs", ".html")]
    assert len(programs) >= 9
    asked_elsewhere = {"nats.mjs", "validate.mjs"}
    assert [p.name for p in programs if p.stem not in tests and p.name not in asked_elsewhere] == []


@pytest.mark.parametrize("number", range(len(blocks("toml"))))
async def test_a_configuration_of_the_readme_is_one(number: int) -> None:
    Settings(**tomllib.loads(blocks("toml")[number]))
