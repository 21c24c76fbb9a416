"""Every path that the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
MADE = ROOT / "docs" / "reference"
"""What `make docs` makes from code, and no folder of the repository: only the list of the site's pages may name it."""
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent != MADE),
    *sorted((ROOT / "examples").glob("*.md")),
]
TOP = ("shared", "cli", "services", "simulator", "tests", "docs", "deploy", "examples", "benchmarks", ".ci")
SOURCE_FILE = re.compile(r"[\w./-]+\.(?:py|pyi|mjs|html|conf|toml|yml|yaml)\Z")
FOLDER = re.compile(r"[a-z_]+/\Z")
# Names of users' files, and names that are mentioned because they are not there.
ELSEWHERE = {"tickwire.toml", "__init__.py", "tickwire/"}


def named(document: Path) -> list[tuple[int, str, list[str]]]:
    """(line number, name, folders that it may be in) of everything in backticks or links that is a path.

    The folders are those named before it on the line, and those that the section says its files are in.
    """
    found = []
    code = False
    of_section: list[str] = []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        code ^= line.startswith("```")
        if line.startswith("## "):
            of_section = []
        elif not line.startswith("|"):
            of_section += [each for each in re.findall(r"`([^`\s]+/)`", line) if (ROOT / each).is_dir()]
        folders = [*of_section]
        names = (
            []
            if code or line.startswith("    ")
            else re.findall(r"`([^`\s]+)`|\]\(([^)\s]+)\)|(\bdocs/[\w/.-]*\w)", line)
        )
        for name in ("".join(each) for each in names):
            name = name.partition("#")[0]
            # What stands for several names has a placeholder.
            if name and "<" not in name and not name.startswith(("http", "/")):
                found.append((number, name, [*folders]))
                if (ROOT / name).is_dir() or name.endswith("/"):
                    folders.append(name)
    return found


def exists(base: Path, name: str) -> bool:
    """A decision may be named by its number alone."""
    return any(base.glob(name)) or ("decisions/" in name and any(base.glob(f"{name}-*.md")))


def absent(document: Path) -> list[str]:
    missing = []
    for number, name, folders in named(document):
        bases = [ROOT, document.parent, *(ROOT / each for each in folders)]
        bases += [ROOT / outer / inner for outer in folders for inner in folders]
        is_path = (name.split("/")[0] in TOP and "/" in name) or SOURCE_FILE.fullmatch(name) or FOLDER.fullmatch(name)
        if is_path and name not in ELSEWHERE and not any(exists(base, name) for base in bases):
            missing.append(f"{document.relative_to(ROOT)}:{number}: {name}")
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    assert absent(document) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere_where_it_is_read(document: Path) -> None:
    """In the repository, too, where the site's reference is not, and a role of the site's is no link."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.S | re.M)
    found = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [link for link in found if link and not (document.parent / link).exists() and "…" not in link]
    assert missing + [link for link in found if (document.parent / link).resolve().is_relative_to(MADE)] == []
    assert re.findall(r"\{\w+\}`", text) == []


def test_the_questions_of_newcomers_are_answered_by_files() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Ten questions")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| question")]
    assert len(rows) == 10
    assert [row for row in rows if "?" not in row or not re.search(r"`[\w/]+(?:\.py|/)`", row)] == []


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name.partition("-")[0] for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))
