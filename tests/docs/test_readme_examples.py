"""What README.md and examples/README.md print runs as printed against a `tickwire up`; read from there."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from docs.browser import browsing
from docs.documents import EXAMPLES, EXAMPLES_README, README, ROOT, argv, blocks, examples, shown
from support.commands import CONFIG, command
from support.ports import free_port
from support.processes import TICKWIRE, environment, running_simulator
from tickwire.process import children
from tickwire.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

TYPED = [line for line in shown(README) if line.startswith(".venv/bin/tickwire")]
UP, FETCH, *AFTER = TYPED
(EXPORTED,) = [line for line in shown(README) if line.startswith("export NATS_URL=")]
URL = EXPORTED.removeprefix("export NATS_URL=$(").removesuffix(")")
PROGRAMS = {path.relative_to(EXAMPLES).as_posix(): printed for path, printed in examples().items()}
PAGE = "javascript/browser.html"
TRADE = r"\{\"id\":\"\d+\",.*\}"
CANDLE = r"\d{13} [\d.]+ [\d.]+ open"


@dataclass(frozen=True)
class Reader:
    """Who typed `tickwire up`: the folder and the environment of the next terminal, and the ports."""

    folder: Path
    env: Mapping[str, str]
    pages_port: str
    websocket_url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Reader]:
    """`tickwire up` as README.md prints it, configured as examples/README.md prints it, on a simulated exchange.

    The folder is all that tells programs where the broker is, as in a clone: no variable does.
    """
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(EXAMPLES)
    pages, websocket = str(free_port()), str(free_port())
    (printed,) = blocks(EXAMPLES_README, "toml")
    async with running_simulator("--live-rate", "50") as exchange:
        ports = printed.replace("8443", websocket).replace("8000", pages)
        (folder / "tickwire.toml").write_text(CONFIG.format(gateway=exchange.url) + ports)
        env = environment(folder, PYTHONUNBUFFERED="1")
        del env["TICKWIRE_DATA_DIR"]
        async with command(folder, env, *argv(UP)[len(TICKWIRE) :]) as running:
            await running.says("ready:")
            # What a reader has typed before anything else.
            before = Reader(folder, env, "", "")
            (url,) = await output(before, *argv(URL))
            (websocket_url,) = await output(before, *argv(f"{URL} --websocket"))
            made = Reader(folder, env | {"NATS_URL": url}, pages, websocket_url)
            assert re.search("complete", "\n".join(await output(made, *argv(FETCH))))
            yield made


async def output(
    reader: Reader, *arguments: str | Path, lines: int | None = None, cwd: Path | None = None, quiet: bool = False
) -> list[str]:
    """What a program prints: to its end, or its first lines where it goes on until Ctrl-C; then `quiet` is checked."""
    async with children.child(
        arguments, stdout=children.PIPE, stderr=children.PIPE, env=reader.env, cwd=cwd or reader.folder
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found: list[str] = []
        async with asyncio.timeout(100):
            while (lines is None or len(found) < lines) and (text := await process.stdout.readline()):
                found.append(text.decode().rstrip("\n"))
            if process.returncode is None and lines is not None:
                process.send_signal(signal.SIGINT)
            errors = (await process.communicate())[1].decode()
        assert lines is None or len(found) == lines, errors
        assert not quiet or "Traceback" not in errors, errors
        if lines is None:
            assert process.returncode == 0, errors
    return found


async def test_every_command_that_the_readme_shows_is_run_somewhere() -> None:
    """Those of tickwire here, those of make by .ci/run, those of docker by tests/deployment."""
    others = [line for line in shown(README) if line not in (*TYPED, EXPORTED)]
    assert len(TYPED) >= 6
    files = [ROOT / ".ci" / "run", *sorted((ROOT / "tests" / "deployment").glob("test_*.py"))]
    checked = "".join(path.read_text() for path in files)
    unknown = [line for line in others if line not in checked and line.split()[0] != "docker"]
    assert unknown in ([], ["make .env"])


@pytest.mark.parametrize("text", [README, EXAMPLES_README], ids=["README", "examples"])
async def test_what_a_reader_pastes_means_the_same_in_zsh(text: str) -> None:
    """Typed into zsh, `#` begins no comment, and `$name` is one word however many are in it (zsh's FAQ, 3.1)."""
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    pasted = [line for line in prose.splitlines() if line.startswith("    ")] + "".join(blocks(text, "sh")).splitlines()
    assert [line for line in pasted if re.search(r"(^|\s)#|\bin \$\w+;", line)] == []


@pytest.mark.parametrize("printed", AFTER)
async def test_a_command_of_the_readme_runs_as_printed(reader: Reader, printed: str) -> None:
    kind = " ".join(printed.split()[1:3])
    expected, lines = {
        "candles get": (r"\d+ rows of \d+ not shown; .*", None),
        "watch trade": (r".*\d+\.\d+.*", 3),
        "watch book": (r".*\d+\.\d+.*", 3),
        "watch candle": (r".*\d+\.\d+.*", 3),
    }[kind]
    if kind == "candles get":
        # An hour may have ended since: then its candle is not there, and the command says so.
        await output(reader, *argv(FETCH))
    assert re.fullmatch(expected, (await output(reader, *argv(printed), lines=lines))[-1])


@pytest.mark.parametrize("number", range(len(blocks(README, "python"))))
async def test_a_python_program_of_the_readme_runs_as_printed(reader: Reader, number: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(blocks(README, "python")[number])
    expected, lines = {
        # A heading of two lines and three rows.
        0: (r"20\d\d-\d\d-\d\d .*\+00:00( +[\d.]+){5}", None),
        # Eight figures and the name of the column, then trades.
        1: (r"\d{13} (buy|sell) [\d.]+ [\d.]+", 15),
        # A heading of two lines and five rows, then five trades.
        2: (r"Trade\(id='\d+', timestamp=\d{13}, .*\)", 12),
        3: (r"\[(\[\d{13}(, [\d.]+){5}\](, )?){5}\]", 1),
        4: (r"\d{13} (buy|sell) [\d.]+ [\d.]+", 4),
    }[number]
    assert re.fullmatch(expected, (await output(reader, sys.executable, program, lines=lines))[-1])


@pytest.mark.needs("node")
async def test_a_javascript_program_of_the_readme_runs_as_printed(reader: Reader) -> None:
    (program,) = blocks(README, "js")
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


@pytest.mark.parametrize("printed", blocks(README, "toml") + blocks(EXAMPLES_README, "toml"))
async def test_a_configuration_of_the_documents_is_one(printed: str) -> None:
    Settings(**tomllib.loads(printed))
