"""Without anything that runs: every block of the documents is run somewhere, and every name in them is one."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from docs.documents import BLOCKS, ELSEWHERE, EXAMPLES_README, OURS, PAGES, ROOT, STARTED, Block, blocks
from tickwire.cli.main import app
from tickwire.settings import Settings

pytestmark = pytest.mark.pure

SOURCES = ("shared", "cli", "services")


def test_every_command_that_the_documents_show_is_run_or_says_why_not() -> None:
    """Those of make by .ci/run, those of pip by tests/deployment, those of tickwire by tests/docs/test_pages.py."""
    files = [ROOT / ".ci" / "run", *sorted((ROOT / "tests" / "deployment").glob("test_*.py"))]
    checked = "".join(path.read_text() for path in files)
    lines = [line for each in BLOCKS if each.language == "sh" and each.why is None for line in each.lines]
    assert set(STARTED) <= set(lines)
    here = [each for each in BLOCKS if each.page.name not in ELSEWHERE and each.why is None and each.language == "sh"]
    unknown = [line for each in here for line in each.lines if line not in (*STARTED,) and line not in checked]
    assert [line for line in unknown if not OURS.match(line)] == []
    assert [each for each in ELSEWHERE.values() if not (ROOT / each).exists()] == []


def test_a_block_that_is_not_run_says_so_in_words() -> None:
    assert [str(each) for each in BLOCKS if each.why is not None and len(each.why) < 10] == []


@cache
def commands() -> Any:
    """The command line's parser."""
    return typer.main.get_command(app)


def parsed(words: list[str]) -> None:
    """Parse a command as the command line does. Raises what it raises: an unknown command or option, a wrong number."""
    command = commands()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    if not hasattr(command, "commands"):
        command.make_context("tickwire", words)


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.language == "sh"], ids=str)
def test_every_command_in_a_block_is_one_with_valid_options(block: Block) -> None:
    for line in block.lines:
        if found := re.match(r"(?:\w+=(?:'[^']*'|\S+) )*tickwire (.*)", line):
            parsed(shlex.split(re.split(r" [|>#] ?| #", found[1])[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_in_the_text_is_one_with_valid_options(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for span in re.findall(r"`tickwire ([^`]+)`", prose):
        words = shlex.split(span.replace("\n", " ").replace("\\|", "|"))
        command = commands()
        while hasattr(command, "commands") and words and words[0][0] not in "-…[":
            name = words.pop(0).partition("|")[0]
            assert name in command.commands, span
            command = command.commands[name]
        known = {each for option in command.params for each in option.opts} | {"--help"}
        assert [each for each in words if each.startswith("--") and each.rstrip("]") not in known] == [], span


def test_what_a_reader_pastes_means_the_same_in_zsh() -> None:
    """Typed into zsh, `#` begins no comment, and `$name` is one word however many are in it (zsh's FAQ, 3.1)."""
    pasted = [
        line for each in BLOCKS if each.language == "sh" and "<id>" not in each.text for line in each.text.splitlines()
    ]
    pasted += "".join(blocks(EXAMPLES_README, "sh")).splitlines()
    assert [line for line in pasted if re.search(r"(^|\s)#|\bin \$\w+;", line)] == []


@pytest.mark.parametrize("printed", [e.text for e in BLOCKS if e.language == "toml"] + blocks(EXAMPLES_README, "toml"))
def test_a_configuration_of_the_documents_is_one(printed: str) -> None:
    found = tomllib.loads(printed)
    if "project" in found:
        # Of a package that has a plug-in; `make dist` installs two.
        assert found["project"]["entry-points"].keys() <= {"tickwire.venues", "tickwire.sinks"}
    else:
        Settings(**found)


def test_the_messages_that_troubleshooting_quotes_are_ones_that_are_printed() -> None:
    texts = [
        node.value
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    said = "\n".join(texts)
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = [part.strip() for cell in re.findall(r"^\| `([^`]+)` \|", page, re.M) for part in cell.split("…")]
    assert len(quoted) > 15
    assert [part for part in quoted if part not in said] == []
