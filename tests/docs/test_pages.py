"""What README.md, docs/*.md and examples/README.md print runs as printed against a `tickwire up`; read from there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from docs.browser import browsing
from docs.documents import (
    BACKUP,
    BLOCKS,
    ELSEWHERE,
    EXAMPLES,
    EXAMPLES_README,
    MOVED,
    OFFLINE,
    OURS,
    ROOT,
    STARTED,
    Block,
    argv,
    blocks,
    examples,
    shape,
)
from support.commands import CONFIG, Command, command
from support.ports import free_port
from support.processes import environment, running_simulator, tickwire
from tickwire.process import children

pytestmark = [pytest.mark.system, pytest.mark.documents, pytest.mark.asyncio(loop_scope="module")]

HERE = [each for each in BLOCKS if each.page.name not in ELSEWHERE and each.why is None]
SHELL = [each for each in HERE if each.language == "sh" and OURS.match(each.text) and each.lines[0] not in STARTED]
ENDLESS = re.compile(r"tickwire watch (?!.*--(count|for))")
TRADED = r"\d{13} (buy|sell) [\d.]+ [\d.]+"
EXPECTED: dict[str, list[tuple[str, int | None]]] = {
    "README.md": [(r"20\d\d-\d\d-\d\d .*\+00:00( +[\d.]+){5}", None)],
    "bots.md": [
        # Nine lines about the candles, then trades.
        (TRADED, 15),
        (r"\d{13} [\d.]+ [\d.]+ (open|closed)", 16),
        (r"[\d.]+( [\d.]+){3}", 5),
        (r"[1-9]\d* trades on one clock", None),
    ],
    "duckdb.md": [(r"\[.*'open', 'high', 'low', 'close', .*\]", None)],
    "languages.md": [(r"\[(\[\d{13}(, [\d.]+){5}\](, )?){5}\]", 1), (TRADED, 4)],
    "many-venues.md": [(r"20\d\d-.* (binance|okx) BTC/USDT [\d.]+ [\d.]+", 4)],
    "notebooks.md": [(r"Name: close, dtype: float64", None), (r"\['id', .*'exchange', 'symbol'\]", None)],
    "quick-start.md": [(r"Trade\(id='\d+', timestamp=\d{13}, .*\)", None)],
}
"""Of the programs of each page the last line, and of how many, where it goes on until Ctrl-C."""
PYTHON = [
    pytest.param(block, *expected, id=str(block) + str(number))
    for name, all_expected in EXPECTED.items()
    for number, (block, expected) in enumerate(
        zip([e for e in HERE if (e.page.name, e.language) == (name, "python")], all_expected, strict=True)
    )
]
PROGRAMS = {path.relative_to(EXAMPLES).as_posix(): printed for path, printed in examples().items()}
PAGE = "javascript/browser.html"
TRADE = r"\{\"id\":\"\d+\",.*\}"
CANDLE = r"\d{13} [\d.]+ [\d.]+ open"


@dataclass(frozen=True)
class Reader:
    """Who typed `tickwire up`: the folder and the environment of the next terminal, and the ports."""

    folder: Path
    env: Mapping[str, str]
    up: Command
    pages_port: str = ""
    websocket_url: str = ""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reader]:
    """The simulator and `up` as docs/running.md prints them, configured as docs/duckdb.md and examples/README.md do.

    The folder is all that tells programs where the broker is, as in a clone: no variable does.
    """
    folder = tmp_path_factory.mktemp("reader")
    (folder / "examples").symlink_to(EXAMPLES)
    pages, websocket = str(free_port()), str(free_port())
    (printed,) = blocks(EXAMPLES_README, "toml")
    async with running_simulator("--live-rate", "20", "--history-rate", "2") as exchange:
        config = CONFIG.format(gateway=exchange.url) + f'[exchange.okx]\ngateway = "{exchange.url}"\n'
        config += '[archive]\nroot = "archive"\npart_minutes = 0.05\n'
        (folder / "tickwire.toml").write_text(config + printed.replace("8443", websocket).replace("8000", pages))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = environment(folder, PYTHONUNBUFFERED="1", PATH=path, COLUMNS="200")
        del env["TICKWIRE_DATA_DIR"]
        (assigned,) = re.findall(r"^(\w+)='(.*)' tickwire up$", OFFLINE)
        offline = {assigned[0]: assigned[1].replace("http://127.0.0.1:8700", exchange.url)}
        async with command(folder, env | offline, "up") as running:
            await running.says("ready:")
            made = Reader(folder, env, running, pages)
            (url,) = await output(made, *argv("tickwire url"))
            (websocket_url,) = await output(made, *argv("tickwire url --websocket"))
            made = replace(made, env=env | {"NATS_URL": url}, websocket_url=websocket_url)
            for exchange_id in ("binance", "okx"):
                started = await tickwire(made.env, "start", "trade", exchange_id, "BTC/USDT", cwd=folder)
                assert started.code == 0, started.err
            fetched = await tickwire(
                made.env, "candles", "fetch", "binance", "BTC/USDT", "1h", "--since", "7d", cwd=folder
            )
            assert fetched.code == 0, fetched.err
            async with asyncio.timeout(100):
                while (await tickwire(made.env, "archive", "days", "binance", "BTC/USDT", cwd=folder)).code:
                    await asyncio.sleep(0.2)
            yield made


async def output(
    reader: Reader,
    *arguments: str | Path,
    lines: int | None = None,
    cwd: Path | None = None,
    quiet: bool = False,
    codes: tuple[int, ...] = (0,),
) -> list[str]:
    """What a program prints: to its end, or its first lines where it goes on until Ctrl-C; then `quiet` is checked."""
    async with children.child(
        arguments, stdout=children.PIPE, stderr=children.PIPE, env=reader.env, cwd=cwd or reader.folder
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found: list[str] = []
        async with asyncio.timeout(250):
            while (lines is None or len(found) < lines) and (text := await process.stdout.readline()):
                found.append(text.decode().rstrip("\n"))
            if process.returncode is None and lines is not None:
                process.send_signal(signal.SIGINT)
            errors = (await process.communicate())[1].decode()
        assert lines is None or len(found) == lines, errors
        assert not quiet or "Traceback" not in errors, errors
        if lines is None:
            assert process.returncode in codes, errors
    return found


@pytest.mark.parametrize("block", SHELL, ids=str)
async def test_what_is_typed_into_a_shell_runs_as_printed(reader: Reader, block: Block) -> None:
    """And prints lines as those that are shown below it, but for figures."""
    lines = 3 if any(map(ENDLESS.match, block.lines)) else None
    assert lines is None or len(block.lines) == 1, "what goes on until Ctrl-C has a block of its own"
    # An hour may have ended since it was fetched: then its candle is not there, and the command says so.
    codes = (0, 3) if "candles get" in block.text else (0,)
    found = await output(reader, "bash", "-euc", block.text.strip(), lines=lines, codes=codes, quiet=True)
    assert found or "export" in block.text or "--output" in block.text
    shapes = {shape(each) for each in found}
    assert [each for each in block.shown.splitlines() if shape(each) not in shapes] == [], found


@pytest.mark.parametrize(("block", "expected", "lines"), PYTHON)
async def test_a_program_runs_as_printed(
    reader: Reader, block: Block, expected: str, lines: int | None, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text)
    found = await output(reader, sys.executable, program, lines=lines)
    assert re.fullmatch(expected, found[-1]), found
    assert {shape(each) for each in block.shown.splitlines()} <= {shape(each) for each in found}, found


@pytest.mark.needs("node")
async def test_a_javascript_program_runs_as_printed(reader: Reader) -> None:
    (program,) = (each.text for each in HERE if each.language == "js")
    found = await output(reader, "node", "--input-type=module", "--eval", program, cwd=EXAMPLES)
    assert re.search(r"\d{13},", " ".join(found))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=pytest.mark.needs("node") if "node" in each else ())
        for each in PROGRAMS
        if each != PAGE
    ],
)
async def test_an_example_runs_as_its_table_prints_it(reader: Reader, name: str) -> None:
    expected, lines = {
        "python/candles.py": ("complete", None),
        "python/trades.py": (TRADE, 5),
        "python/history_then_live.py": (CANDLE, 18),
        "python/notebook.py": (r"Trade\(id='\d+', .*\)", None),
        "javascript/node.mjs": (TRADE, 5),
        "socket/trades.py": (r"\{\"id\": \"\d+\",.*\}", 5),
    }[name]
    printed = argv(PROGRAMS[name])
    assert re.fullmatch(expected, (await output(reader, *printed, lines=lines, quiet=True))[-1])


@pytest.mark.needs("chromium")
async def test_the_page_works_as_examples_tells_to_serve_and_open_it(reader: Reader, tmp_path: Path) -> None:
    (printed,) = re.findall(r"then `(python -m http\.server [^`]+)`", EXAMPLES_README)
    (url,) = re.findall(r"`(http://localhost:8000/[^`]+)`", EXAMPLES_README)
    serving = argv(printed, **{"8000": reader.pages_port})
    url = url.replace("8000", reader.pages_port).replace("URL", reader.websocket_url)
    with (tmp_path / "log").open("wb") as log:
        async with children.child(serving, cwd=reader.folder, stdout=log.fileno(), stderr=log.fileno()):
            async with asyncio.timeout(100):
                while b"Serving HTTP" not in (tmp_path / "log").read_bytes():
                    await asyncio.sleep(0.05)
            async with browsing(url, tmp_path / "chromium") as page:
                # Of a feed that runs already trades come before the answer to its start.
                state = "document.getElementById('state').textContent"
                await page.until(f"window.seen && window.seen.length > 0 && {state} !== 'connecting'", timeout_s=100)
                assert await page.evaluate(state) == "live"
                assert await page.evaluate("document.getElementById('title').textContent") == "BTC/USDT on binance"
                times = [row[0] for row in await page.evaluate("window.candles")]
                # The newest ones that were closed when it was opened, in the present.
                assert len(times) == 3
                assert times[0] > (time.time() - 600) * 1000


async def test_every_example_is_in_the_table_or_part_of_one_that_is() -> None:
    files = {
        path
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".mjs", ".html") and "node_modules" not in path.parts
    }
    parts = {path.parent / name for path in examples() for name in re.findall(r'from "\./([^"]+)"', path.read_text())}
    (validator,) = re.findall(r'"(\w+\.mjs)"', (ROOT / "tests" / "docs" / "test_asyncapi.py").read_text())
    # `make dist` installs them: tests/deployment/test_dist.py.
    plugins = {path for path in files if EXAMPLES / "plugins" in path.parents}
    assert files - plugins == examples().keys() | parts | {EXAMPLES / validator}
    assert len(plugins) == 2
    assert len(parts) == 2


async def test_the_data_folder_is_moved_as_printed(reader: Reader) -> None:
    """The last test: it ends the `up` of the others."""
    get = ("candles", "get", "binance", "BTC/USDT", "1h", "--since", "7d", "--until", "1d", "--format", "csv")
    before = await tickwire(reader.env, *get, cwd=reader.folder)
    assert await reader.up.stop(signal.SIGINT) == 130
    await output(reader, "bash", "-euc", BACKUP)
    assignment, *rest = shlex.split(MOVED)
    moved = dict(reader.env) | dict([assignment.split("=")])
    async with command(reader.folder, moved, *rest[1:]) as running:
        await running.says("ready:")
        after = await tickwire(moved, *get, cwd=reader.folder)
        assert (after.code, after.out) == (0, before.out), after.err
        assert after.out.count("\n") > 140
