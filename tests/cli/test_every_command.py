"""What holds for every command: facts as JSON, and completion by shells."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tickwire.cli import completion
from tickwire.cli.main import app

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
WITHOUT_FACTS = {"up", "demo", "service", "simulator", "candles chart"}
"""A chart is a picture of what `candles get` prints. The others run until they are stopped, and say what they do on
standard error; the simulator prints its URL as JSON."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command by its name, such as `candles get`."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, (*path, name))
        elif not each.hidden:
            yield " ".join((*path, name)), each


def test_every_command_that_prints_facts_prints_them_as_json() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) > 25
    lacking = {name for name, each in found.items() if not any("--json" in option.opts for option in each.params)}
    assert lacking == WITHOUT_FACTS


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command that needs nothing that runs."""
    argv = [sys.executable, "-m", "tickwire.cli.main", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={"PYTHONUTF8": "1", **env})


def test_the_version_is_that_of_the_installed_package() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"tickwire \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sta", ["status", "start"]),
        ("candles ver", ["verify"]),
        ("watch b", ["book"]),
        ("watch trade krak", ["kraken", "krakenfutures"]),
        ("candles fetch binance,okx,upb", ["binance,okx,upbit"]),
        ("candles get binance BTC/USDT 1m,5", ["1m,5m"]),
        ("candles get --format j", ["jsonl"]),
    ],
)
def test_bash_completes_commands_and_names(typed: str, offered: list[str]) -> None:
    """By the protocol of the script that `tickwire --show-completion bash` prints."""
    words = f"tickwire {typed}"
    done = run(_TICKWIRE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert (done.stdout.split(), done.stderr) == (offered, "")


def test_exchanges_that_are_offered_are_the_declared_ones() -> None:
    assert {"binance", "okx", "coinbase"} < set(completion.exchanges(""))
    assert completion.exchanges("nosuch") == []


def test_the_entry_point_is_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"tickwire": "tickwire.cli.main:run"}
