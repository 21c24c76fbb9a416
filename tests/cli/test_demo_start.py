"""A demo whose programs do not start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tickwire.cli.demo import demo
from tickwire.errors import NoSuchService

pytestmark = pytest.mark.pure


async def test_a_program_of_the_demo_that_does_not_start_is_named_with_its_logs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "START_TIMEOUT_S", 0.01)
    with pytest.raises(NoSuchService, match="the cache is not ready") as refusal:
        await demo.started(tmp_path, "cache", asyncio.Event().wait())
    assert str(tmp_path) in refusal.value.remedy
