"""The reason why a process is not ready: the causes, not their consequences."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tickwire.observe.readiness import Readiness

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ({}, None),
        ({"serving": "starting or stopping"}, "starting or stopping"),
        ({"storage": "full", "serving": "starting or stopping"}, "full"),
        ({"storage": "full", "session": "not renewed"}, "full; not renewed"),
        ({"storage": "full", "broker": "not connected", "serving": "starting or stopping"}, "not connected"),
    ],
)
def test_the_reason_names_causes_and_leaves_out_that_nothing_is_served(
    failing: dict[str, str], reason: str | None
) -> None:
    ready = Readiness()
    with ExitStack() as checks:
        for name, text in failing.items():
            checks.enter_context(ready.checked(name, lambda text=text: text))  # type: ignore[misc]
        assert ready.reason() == reason
        assert ready.failing() == failing
    assert ready.reason() is None
