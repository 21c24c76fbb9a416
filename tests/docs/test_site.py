"""The site of `make docs`: built strictly, made from the code in its reference, and loading nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

from tickwire import client
from tickwire.cli.main import app
from tickwire.model import asyncapi_subjects, schemas
from tickwire.settings import Settings

pytestmark = [pytest.mark.system, pytest.mark.documents]

DOCS = Path(__file__).parents[2] / "docs"
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
"""What a browser loads by itself, and the attribute that says from where."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of docs/ as the Makefile does."""
    (recipe,) = re.findall(r"^\t\$\(BIN\)/sphinx-build (.*)$", (DOCS.parent / "Makefile").read_text(), re.M)
    assert "--fail-on-warning" in recipe
    out = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "sphinx", *recipe.replace("build/docs", str(out)).split()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=DOCS.parent)
    assert done.returncode == 0, done.stderr
    return out


class Loading(HTMLParser):
    """Collects the addresses from which a page loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each tag."""
        found = dict(attrs)
        self.addresses += [found[LOADED[tag]] or ""] if LOADED.get(tag) in found else []


def test_the_site_loads_no_script_style_font_or_picture_of_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    loading = Loading()
    for page in pages:
        loading.feed(page.read_text())
    assert len(loading.addresses) > 100
    assert {each for each in loading.addresses if re.match(r"(\w+:)?//", each)} == set()
    styles = "".join(path.read_text() for path in (*site.rglob("*.css"), *pages))
    used = list(re.findall(r"url\(\s*[\"']?([^\"')]*)|@import\s+[\"']([^\"']*)", styles))
    assert [each for each in map("".join, used) if re.match(r"(https?:)?//", each)] == []


def text(site: Path, name: str) -> str:
    """A page without its tags."""
    return re.sub(r"<[^>]+>", "", (site / "reference" / f"{name}.html").read_text())


def test_the_reference_has_every_command_setting_subject_message_and_method(site: Path) -> None:
    groups = [("tickwire", typer.main.get_command(app))]
    commands = []
    for path, group in groups:
        for name, each in group.commands.items():  # type: ignore[attr-defined]
            groups += [(f"{path} {name}", each)] if hasattr(each, "commands") else []
            commands += [f"{path} {name}"] if not hasattr(each, "commands") and not each.hidden else []
    assert len(commands) > 30
    sections = [(n, type(value)) for n, value in Settings() if hasattr(type(value), "model_fields")]
    names = {
        "commands": commands,
        "settings": [f"[{name}]" for name, _ in sections] + [key for _, kind in sections for key in kind.model_fields],
        "messages": [each.__name__ for each in schemas.structs()],
        "subjects": [each.address for each in asyncapi_subjects.PUBLISHED]
        + [each.address for each in asyncapi_subjects.ASKED],
        "client": [
            *client.__all__,
            *(each for each in vars(client.Client) if not each.startswith("_") and each != "run"),
        ],
    }
    for page, wanted in names.items():
        found = text(site, page)
        assert [each for each in wanted if each not in found] == [], page
