"""The version that services state to NATS, which takes semantic versions only (ADR-32)."""

from __future__ import annotations

import re

import pytest

from tickwire.model.version import VERSION, semantic

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("python", "nats"),
    [
        ("1.2.3", "1.2.3"),
        ("0.1.0.post1.dev981+g560ff8cee.d20261130", "0.1.0"),
        ("2.0rc1", "2.0.0"),
        ("1", "1.0.0"),
        ("1!2.3.4.5", "2.3.4"),
        ("0.1.dev3", "0.1.0"),
    ],
)
def test_of_a_python_version_nats_is_told_three_numbers(python: str, nats: str) -> None:
    assert semantic(python) == nats


def test_the_installed_version_has_three_numbers() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", semantic(VERSION))
