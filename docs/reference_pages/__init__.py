"""The pages of the reference that are made from code each time the site is built, in docs/reference/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reference_pages import client, commands, messages, settings, subjects

PAGES: dict[str, Callable[[], str]] = {
    "client": client.page,
    "commands": commands.page,
    "messages": messages.page,
    "settings": settings.page,
    "subjects": subjects.page,
}
"""What makes the Markdown of each page, by the name of its file."""


def written(folder: Path) -> None:
    """Write the pages that are not there as they should be: Sphinx reads again what has changed."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / f"{name}.md", page()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
