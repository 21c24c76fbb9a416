"""Mechanisms that exist once: delays of retries, the wall clock in ms, locks on files, child processes, requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("shared", "cli", "services") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        # Exponents of two and jitter are what a computation of growing delays needs.
        (r"random\.uniform|\b2(\.0)? ?\*\* ?min\(", "shared/tickwire/process/backoff.py"),
        (r"time_ns\(\) ?// ?1_000_000|time\.time\(\) \* 1000\)", "shared/tickwire/model/times.py"),
        (r"\bfcntl\b", "shared/tickwire/process/filelock.py"),
        (r"create_subprocess_", "shared/tickwire/process/children.py"),
    ],
)
def test_a_mechanism_stands_in_one_file(pattern: str, home: str) -> None:
    found = {str(path.relative_to(ROOT)) for path in SOURCES if re.search(pattern, path.read_text())}
    assert found == {home}


def test_requests_do_not_use_nats_py_s_own_inbox() -> None:
    """`bus/requests.py` is for all."""
    assert [str(path) for path in SOURCES if re.search(r"\bclient\.request\(", path.read_text())] == []
