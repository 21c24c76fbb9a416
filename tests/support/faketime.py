"""A wall clock that a test can step, for processes under libfaketime (Debian's package `faketime`).

The monotonic clock stays true, as it does when an administrator or NTP sets the wall clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")


def library() -> Path | None:
    """The library for programs with threads; None where the package is not installed."""
    found = (path for pattern in LIBRARIES for path in Path("/").glob(f"{pattern[1:]}/libfaketimeMT.so.1"))
    return next(found, None)


@dataclass(frozen=True)
class WallClock:
    """What processes started with `variables` take for the time, by a file that they read again and again."""

    file: Path

    def step(self, seconds: int) -> None:
        """From now on it is so many seconds later than it really is."""
        # In one write to a file that is there: what is half written is no time.
        with self.file.open("r+") as file:
            file.write(f"{seconds:+d}\n".ljust(20))

    @property
    def variables(self) -> dict[str, str]:
        """For the environment of the processes."""
        found = library()
        assert found is not None, "faketime is not installed"
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            # Looked at with each question for the time, rather than every ten seconds.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            # Else a wait for the interpreter's lock returns at once, and a thread that waits for it takes a core.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


def wall_clock(folder: Path) -> WallClock:
    """One that is right to begin with."""
    clock = WallClock(folder / "faketime")
    clock.file.write_text("+0\n".ljust(20))
    return clock
