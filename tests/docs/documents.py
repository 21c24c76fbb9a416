"""What README.md and examples/README.md tell their readers to type, read from there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from support.processes import TICKWIRE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text()
EXAMPLES_README = (EXAMPLES / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The code of a document in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def shown(text: str) -> list[str]:
    """The lines of a document that are set as code by four blanks, without their comments."""
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    return [line.split(" #")[0].strip() for line in prose.splitlines() if line.startswith("    ")]


def examples() -> dict[Path, str]:
    """The command that examples/README.md has for each file in its table."""
    rows = re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \|[^|]*\| (.*) \|$", EXAMPLES_README, re.M)
    return {EXAMPLES / path: cell.strip("`") for path, cell in rows}


def argv(command: str, **replaced: str) -> list[str]:
    """A command as it is printed, with these texts of it replaced; Python is the one of the tests."""
    for word, text in replaced.items():
        assert word in command, command
        command = command.replace(word, text)
    first, *rest = shlex.split(command)
    python = [sys.executable]
    programs = {"python": python, ".venv/bin/python": python, ".venv/bin/tickwire": TICKWIRE, "node": ["node"]}
    return [*programs[first], *rest]
