"""A sink that appends points to files, one for each day (UTC), in InfluxDB's line protocol.

    [sink]
    plugin = "line-files"
    options = { folder = "points" }

Points may be written again after a crash: whoever reads the files keeps one of equal lines.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tickwire.errors import ConfigError
from tickwire.settings import SinkSettings


class LineFiles:
    """The files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.rejected = 0
        self.failures = 0
        self._folder = folder

    async def check(self) -> None:
        """The folder can be made. Raises ConfigError."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"sink.options.folder: {error}", "name a folder that can be written") from error

    async def prepare(self) -> None:
        """Nothing to do."""

    async def write(self, lines: Sequence[str]) -> int:
        """Append lines durably; while the disk is full it is tried again each second."""
        while True:
            try:
                await asyncio.to_thread(self._append, lines)
            except OSError:
                self.failures += 1
                await asyncio.sleep(1)
            else:
                return len(lines)

    def _append(self, lines: Sequence[str]) -> None:
        by_day = defaultdict(list)
        for line in lines:
            # The time is behind the last blank, in ns.
            time = datetime.fromtimestamp(int(line.rpartition(" ")[2]) / 1e9, UTC)
            by_day[f"{time:%Y-%m-%d}"].append(line)
        for day, of_day in by_day.items():
            with (self._folder / f"{day}.lp").open("a", encoding="utf-8") as file:
                file.write("\n".join(of_day) + "\n")
                file.flush()
                os.fsync(file.fileno())


@asynccontextmanager
async def open_files(settings: SinkSettings) -> AsyncIterator[LineFiles]:
    """Open the sink for as long as the block lasts. Raises ConfigError."""
    yield LineFiles(Path(settings.options.get("folder", "points")))
