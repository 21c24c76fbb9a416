"""Programs beyond Python that some tests need, and the one command that installs each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from support import faketime

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUIRED = "REQUIRE_PROGRAMS"
"""With this variable set, a program that is absent is a failure."""

INSTALL = {
    "node": f"apt-get install -y nodejs npm && npm ci --prefix {EXAMPLES.name}",
    "chromium": f"apt-get install -y chromium nodejs npm && npm ci --prefix {EXAMPLES.name}",
    **{name: f"apt-get install -y {name}" for name in ("influxdb", "faketime", "systemd", "tmux", "nginx")},
}


def absent(program: str) -> str | None:
    """Why a test that needs `program` cannot run here, with the command that helps; None where it can."""
    if program == "faketime":
        return None if faketime.library() is not None else f"{program} is not installed: {INSTALL[program]}"
    binary = {"influxdb": "influxd", "systemd": "systemd-analyze"}.get(program, program)
    found = shutil.which(binary) and (program not in ("node", "chromium") or (EXAMPLES / "node_modules").is_dir())
    return None if found else f"{program} is not installed: {INSTALL[program]}"


def required() -> bool:
    """Whether what is absent is a failure rather than a reason to skip."""
    return bool(os.environ.get(REQUIRED))
