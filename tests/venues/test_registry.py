"""Profiles and dialects are found in the modules of `venues/`: in a folder and in a zip file, without a list."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tickwire.venues import generic, registry
from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import Profile

pytestmark = pytest.mark.pure

SHARED = Path(__file__).parents[2] / "shared"
FOLDER = SHARED / "tickwire" / "venues"
PRINT = "from tickwire.venues import registry; print(registry.__file__); print(*registry.declared(), sep='\\n')"


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


def declaring() -> list[Path]:
    """The files that assign PROFILE or PROFILES."""
    found = []
    for path in sorted(FOLDER.glob("*.py")):
        targets = [
            target
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        ]
        if any(isinstance(each, ast.Name) and each.id in ("PROFILE", "PROFILES") for each in targets):
            found.append(path)
    return found


def printed(path: Path) -> list[str]:
    """What another process finds with `path` before msgspec's folder; the editable installation is not seen."""
    packages = Path(msgspec.__file__).parents[1]
    source = f"import sys; sys.path[:0] = [{str(path)!r}, {str(packages)!r}]; {PRINT}"
    argv = [sys.executable, "-S", "-c", source]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def pack(path: Path, **more: str) -> None:
    """A zip file of `shared`, with further modules in `venues/`. A namespace package needs an entry of its folder."""
    with zipfile.ZipFile(path, "w") as file:
        for each in sorted((SHARED / "tickwire").rglob("*")):
            if each.suffix == ".py" or (each.is_dir() and each.name != "__pycache__"):
                file.write(each, each.relative_to(SHARED))
        file.mkdir("tickwire")
        for name, source in more.items():
            file.writestr(f"tickwire/venues/{name}.py", source)


def test_every_module_that_declares_a_profile_is_found() -> None:
    ids = {each for path in declaring() for each in [path.stem]}
    assert len(ids) >= 20
    assert {"binance", "okx", "coinbaseexchange", "binancecoinm"} <= registry.declared().keys()
    # Modules are named after a venue, except for the two that stand for several.
    assert ids - {"generic", "limited"} <= registry.declared().keys()


def test_a_zip_file_declares_what_the_folder_declares(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    pack(packed)
    origin, *found = printed(packed)
    assert origin.startswith(str(packed))
    origin, *expected = printed(SHARED)
    assert origin.startswith(str(FOLDER))
    assert found == expected == list(registry.declared())


def test_a_module_dropped_into_the_folder_is_a_venue(tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    pack(packed, eleventh="from tickwire.venues.profile import Profile\nPROFILE = Profile(exchanges=('eleventh',))\n")
    assert "eleventh" in printed(packed)


def test_a_dialect_reads_the_exchanges_of_its_profile_alone() -> None:
    one, other = Profile(exchanges=("a", "b")), Profile(exchanges=("c",))
    reads = Dialect(decode=lambda text: None)
    found = registry.collect({"x": module("x", PROFILE=one, PROFILES=(one, other), DIALECT=reads)})
    assert {name: venue.dialect for name, venue in found.items()} == {"a": reads, "b": reads, "c": generic.DIALECT}
    assert found["c"].profile is other


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({"x": {"PROFILE": Profile(exchanges=("a",))}, "y": {"PROFILE": Profile(exchanges=("a",))}}, "y declares a"),
        ({"x": {"DIALECT": Dialect()}}, "no PROFILE"),
        ({"x": {"PROFILE": Profile(exchanges=("a",)), "PROFILES": ()}}, "not one of its PROFILES"),
    ],
)
def test_contradicting_declarations_are_refused(modules: dict[str, dict[str, Any]], reason: str) -> None:
    with pytest.raises(registry.AmbiguousVenue, match=reason):
        registry.collect({name: module(name, **names) for name, names in modules.items()})


def test_nothing_is_imported_before_a_venue_is_asked_for() -> None:
    """The command line imports the registry for its help."""
    source = (
        "import sys; from tickwire.venues import registry; assert 'tickwire.venues.okx' not in sys.modules;"
        "registry.profile_of('okx'); assert 'tickwire.venues.okx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
