"""The wheel and the source distribution, as `make dist` builds them: installed by pip where there is no checkout."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from deployment.installed_program import ROOT, UV, program, run, up
from support.commands import CONFIG
from support.ports import free_port

pytestmark = [pytest.mark.system, pytest.mark.dist, pytest.mark.timeout(1200)]

PROGRAM = """
from tickwire.client import Candle, Trade, connect_sync

def last(trade: Trade) -> int:
    return trade.price

with connect_sync() as client:
    reveal_type([each for each in client.trades("binance", "BTC/USDT")])
    client.trades("binance")
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of an environment that was empty, after README's `pip install 'tickwire[all]'`, of our wheel."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=True, with_pip=True)
    found = folder / "bin" / "python"
    run(found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[all]", cwd=folder)
    return found


def names(wheel: Path) -> set[str]:
    """The files of a wheel, without what describes it."""
    with zipfile.ZipFile(wheel) as file:
        return {name for name in file.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_every_module_of_the_project_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = {f"tickwire/{path.partition('/tickwire/')[2]}" for path in listed.splitlines() if "/tickwire/" in path}
    assert names(wheel) == tracked
    assert {"tickwire/py.typed", "tickwire/venues/proven.json"} <= tracked


def test_the_source_distribution_builds_the_same_wheel(packages: Path, wheel: Path, tmp_path: Path) -> None:
    """Without the repository: the version is in it."""
    (source,) = packages.glob("*.tar.gz")
    with tarfile.open(source) as file:
        tops = {name.split("/")[1] for name in file.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "docs", "examples"} <= tops
    assert tops & {"tests", "benchmarks", ".ci", ".git"} == set()
    run(UV, "build", "--wheel", "--out-dir", tmp_path, source, cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    assert (built.name, names(built)) == (wheel.name, names(wheel))


def version_of(wheel: Path) -> str:
    """What `tickwire --version` prints of a wheel."""
    return f"tickwire {wheel.name.split('-')[1].replace('_', '+')}\n"


def test_uvx_runs_the_command_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    printed = run(UV.with_name("uvx"), "--from", wheel, "tickwire", "--version", cwd=tmp_path)
    assert printed == version_of(wheel)


@pytest.mark.parametrize("installer", [(UV.with_name("uvx"), "pipx"), (UV, "tool")], ids=["pipx", "uv tool"])
def test_it_is_installed_as_a_command_of_its_own(installer: tuple[Path, str], wheel: Path, tmp_path: Path) -> None:
    folders = {"PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin", "UV_TOOL_DIR": "uv", "UV_TOOL_BIN_DIR": "bin"}
    env = {name: str(tmp_path / folder) for name, folder in folders.items()}
    run(*installer, "install", wheel, cwd=tmp_path, env=env)
    assert run(tmp_path / "bin" / "tickwire", "--version", cwd=tmp_path) == version_of(wheel)


async def test_up_runs_where_there_is_no_checkout(python: Path, tmp_path: Path) -> None:
    """With the simulator of the package as the exchange; candles are fetched and read."""
    command = python.with_name("tickwire")
    where = (
        "import json, tickwire.cli, tickwire.fetcher; print(tickwire.cli.__file__); print(tickwire.fetcher.__file__)"
    )
    assert all(str(python.parents[1]) in line for line in run(python, "-c", where, cwd=tmp_path).splitlines())
    port = str(free_port())
    (tmp_path / "tickwire.toml").write_text(CONFIG.format(gateway=f"http://127.0.0.1:{port}"))
    async with program(tmp_path, command, "simulator", "--port", port) as exchange:
        assert exchange.stdout is not None
        assert json.loads(await exchange.stdout.readline())["url"].endswith(port)
        async with up(tmp_path, command):
            fetched = run(command, "candles", "fetch", "binance", "BTC/USDT", "1h", "--since", "2d", cwd=tmp_path)
            assert "complete" in fetched
            rows = run(command, "candles", "get", "binance", "BTC/USDT", "1h", "--last", "5", "--json", cwd=tmp_path)
            assert len(rows.splitlines()) == 5
    assert (tmp_path / "tickwire-data" / "cache" / "binance_BTC-USDT_1h.csv").exists()


async def test_plug_ins_are_found_once_they_are_installed(python: Path, tmp_path: Path) -> None:
    """The examples: facts about a venue, and a sink to which a service writes every trade."""
    command, port = python.with_name("tickwire"), str(free_port())
    before = run(command, "venues", "p2b", "--json", cwd=tmp_path)
    for each in ("venue", "sink"):
        run(UV, "pip", "install", "--python", python, ROOT / "examples" / "plugins" / each, cwd=tmp_path)
    assert run(command, "venues", "p2b", "--json", cwd=tmp_path) != before
    sink = '[sink]\nplugin = "line-files"\noptions = { folder = "points" }\nkinds = ["trade"]\n'
    (tmp_path / "tickwire.toml").write_text(CONFIG.format(gateway=f"http://127.0.0.1:{port}") + sink)
    async with (
        program(tmp_path, command, "simulator", "--port", port, "--live-rate", "50") as exchange,
        up(tmp_path, command),
    ):
        assert exchange.stdout is not None
        await exchange.stdout.readline()
        run(command, "start", "trade", "binance", "BTC/USDT", cwd=tmp_path)
        ids: set[int] = set()
        async with asyncio.timeout(120):
            while len(ids) < 200:
                await asyncio.sleep(0.1)
                text = "".join(path.read_text() for path in (tmp_path / "points").glob("*.lp"))
                ids = {int(found) for found in re.findall(r'^trades,.*\bid="(\d+)"', text, re.M)}
    assert ids == set(range(min(ids), max(ids) + 1))


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_of_another_project_sees_the_types(checker: str, python: Path, tmp_path: Path) -> None:
    source = tmp_path / "program.py"
    source.write_text(PROGRAM)
    options = {
        "mypy": ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", f"--python-executable={python}"],
        "pyright": [f"--pythonpath={python}"],
    }[checker]
    argv = [sys.executable, "-m", checker, *options, str(source)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    found = [line for line in done.stdout.splitlines() if "program.py:" in line and "note: " not in line]
    errors = [line for line in found if "error" in line]
    assert ["program.py:5:" in errors[0], "program.py:9:" in errors[1]] == [True, True], said
    assert "Trade" in "".join(line for line in done.stdout.splitlines() if "list[" in line), said
    assert len(errors) == 2, said
