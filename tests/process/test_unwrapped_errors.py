"""A single error of a group of tasks is raised as itself, with its cause."""

from __future__ import annotations

import asyncio

import pytest

from tickwire.process import lifecycle

pytestmark = pytest.mark.pure


async def test_an_error_alone_keeps_its_cause_and_its_context() -> None:
    async def fail(*, explicitly: bool) -> None:
        try:
            raise KeyError("a")
        except KeyError as error:
            if explicitly:
                raise ValueError("b") from error
            raise ValueError("b")  # noqa: B904

    for explicitly in (True, False):
        with pytest.raises(ValueError, match="b") as raised:
            async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
                group.create_task(fail(explicitly=explicitly))
        origin = raised.value.__cause__ if explicitly else raised.value.__context__
        assert isinstance(origin, KeyError)
        assert raised.value.__suppress_context__ == explicitly
