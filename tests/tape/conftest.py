"""What tests of readers stand on."""

from __future__ import annotations

import pytest

from tape.tape_ends import Reader


@pytest.fixture
def reader() -> Reader:
    """A reader that takes every message at once."""
    made = Reader()
    made.open.set()
    return made
