"""What the documents tell their readers to type, read from there."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from support.processes import TICKWIRE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
EXAMPLES_README = (EXAMPLES / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""What readers follow: not the decisions, nor the pages that are made from code."""
FENCED = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.S)
INDENTED = re.compile(r"(?:<!-- not run: (?P<why>[^>]+) -->\n\n?)?(?P<text>(?:^    \S.*\n)+)", re.M)


UP, OFFLINE = "tickwire up", 'TICKWIRE_EXCHANGE=\'{"binance": {"gateway": "http://127.0.0.1:8700"}}\' tickwire up'
SIMULATOR = "tickwire simulator --port 8700"
BACKUP, MOVED = "cp -a tickwire-data backup", "TICKWIRE_DATA_DIR=backup tickwire up"
STARTED = (UP, OFFLINE, SIMULATOR, BACKUP, MOVED)
"""Lines that the fixture and the last test run: they are the pipeline of the others."""
ELSEWHERE = {
    "adding-a-venue.md": "tests/docs/test_adding_a_venue.py",
    "archive.md": "tests/archive_files/test_documented_reading.py",
    "deployment.md": "tests/deployment/test_compose.py",
    "plugins.md": "tests/deployment/test_dist.py",
}
"""Pages whose blocks need something else than a `tickwire up`, and what checks them."""
OURS = re.compile(r"(?:\w+=\S+ )*(?:export \w+=\$\()?tickwire\b")
"""A line of the command line, perhaps with variables before it."""


@dataclass(frozen=True)
class Block:
    """A block of code. `why` is why a test does not run it: a comment above it says so. `shown` is the output below."""

    page: Path
    language: str
    text: str
    why: str | None
    shown: str = ""

    def __str__(self) -> str:
        first = next((line for line in self.text.splitlines() if line.strip()), "")
        return f"{self.page.name}: {first.strip()[:60]}"

    @property
    def lines(self) -> list[str]:
        """Commands: a line that ends with a backslash or && goes on in the next."""
        joined = re.sub(r"(\\|&&)\n\s*", lambda found: "&& " if found[1] == "&&" else "", self.text)
        return [line.strip() for line in joined.splitlines() if line.strip()]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page; those that are set by four blanks are of the shell."""
    text = page.read_text()
    found = []
    for each in FENCED.finditer(text):
        after = re.match(r"\n```text\n(.*?)```", text[each.end() :], re.S)
        found.append(Block(page, each["language"], each["text"], each["why"], after[1] if after else ""))
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    return found + [Block(page, "sh", each["text"], each["why"]) for each in INDENTED.finditer(prose)]


BLOCKS = [each for page in PAGES for each in blocks_of(page)]


def blocks(text: str, language: str) -> list[str]:
    """The code of a document in a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def shape(line: str) -> str:
    """A line of output without what differs each time: figures, sides, and the width of columns."""
    return " ".join(re.sub(r"[-+]?\d[\d,.:]*|\b(buy|sell)\b", "0", line).split())


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
    programs = {"python": python, ".venv/bin/python": python, "tickwire": TICKWIRE, "node": ["node"]}
    return [*programs[first], *rest]
