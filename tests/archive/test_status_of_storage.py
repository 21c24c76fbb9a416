"""`tickwire status` says that the archive cannot write, as its readiness does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from archive.test_archive_outages import archiving, taped
from tickwire.cli.status import view
from tickwire.cli.status.view import Size
from tickwire.client import survey
from tickwire.client.survey import ServiceStatus
from tickwire.model.times import now_ms

pytestmark = pytest.mark.faults


def pictured(shown: RenderableType, width: int = 200) -> list[str]:
    """What a screen of a width shows."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


async def test_an_archive_whose_root_takes_no_files_is_named_until_it_does(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    root.write_text("a disk that is not mounted")
    async with taped(broker, root) as tape, archiving(broker, root), asyncio.timeout(60):

        async def until(troubled: bool) -> ServiceStatus:
            while True:
                for each in await survey.services(tape.bus):
                    if each.service == "archive" and (each.trouble is not None) == troubled:
                        return each

        trouble = (await until(True)).trouble or ""
        assert f"cannot write {root}" in trouble
        found = await survey.collect(tape.bus)
        shown = [line for line in pictured(view.draw(found, now_ms())) if "not ready" in line]
        assert shown[0].startswith("archive one is not ready: cannot write")
        # It takes one line of a terminal.
        small = pictured(view.draw(found, now_ms(), size=Size(60, 20)), width=60)
        assert len(small) <= 20
        assert sum("not ready" in line for line in small) == 1
        root.unlink()
        assert (await until(False)).trouble is None
