"""A Python that has tickwire with some extras only: nothing else can be imported, and no nats-server is beside it."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def _name(text: str) -> str:
    """A distribution's name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", text).lower()


def requirements(extras: Iterable[str]) -> set[str]:
    """The distributions that tickwire needs with extras, and those that they need."""
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [("tickwire", tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        for text in metadata.requires(name) or []:
            each = Requirement(text)
            if each.marker is not None and not any(each.marker.evaluate({"extra": extra}) for extra in wanted or ("",)):
                continue
            if _name(each.name) not in found:
                found.add(_name(each.name))
                waiting.append((each.name, tuple(each.extras)))
    return found - {"tickwire"}


def _tops(name: str) -> Iterator[Path]:
    """The files and folders of a distribution in site-packages."""
    site = Path(sysconfig.get_path("purelib"))
    for top in {file.parts[0] for file in metadata.files(name) or [] if file.parts[0] not in ("..", "__pycache__")}:
        yield site / top


def python_with(folder: Path, *extras: str) -> Path:
    """Make it in a folder; its interpreter. The sources of tickwire are this tree's."""
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    described = [each for each in _tops("tickwire") if each.suffix == ".dist-info"]
    assert described, "tickwire is not installed here"
    for each in described:
        (site / each.name).symlink_to(each)
    for name in requirements(extras):
        try:
            tops = list(_tops(name))
        except metadata.PackageNotFoundError:
            # Wanted on other systems only.
            continue
        for each in tops:
            if not (site / each.name).exists():
                (site / each.name).symlink_to(each)
    root = Path(__file__).parents[2]
    sources = [root / "shared", root / "cli", root / "simulator", *(root / "services").iterdir()]
    (site / "sources.pth").write_text("".join(f"{each}\n" for each in sources))
    python = folder / "bin" / "python"
    subprocess.run([python, "-c", "import tickwire.errors"], check=True, env={})
    assert sys.executable != str(python)
    return python
