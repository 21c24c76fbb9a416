"""Runs the coroutine of a command. Every command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")


def invoke(
    command: Callable[Concatenate[asyncio.Event, P], Awaitable[int | None]], *args: P.args, **kwargs: P.kwargs
) -> int:
    """Run `command(stop, ...)` on an event loop, where SIGINT and SIGTERM set `stop`; return its exit code."""
    from tickwire.process import imports, lifecycle

    async def main(stop: asyncio.Event) -> int | None:
        return await command(stop, *args, **kwargs)

    with imports.collected():
        try:
            return lifecycle.run(main)
        except BrokenPipeError as error:
            # With an errno, click would end the process with 1, as if the command had failed.
            raise BrokenPipeError from error


def ask(
    command: Callable[Concatenate[asyncio.Event, P], Awaitable[int | None]], *args: P.args, **kwargs: P.kwargs
) -> int:
    """As `invoke`, for a command that only asks services: a signal ends it at once, whatever it waits for."""

    async def asked(stop: asyncio.Event) -> int:
        from tickwire.process import lifecycle

        code = await lifecycle.unless_stopped(stop, command(stop, *args, **kwargs))
        return lifecycle.Exit.INTERRUPTED if code is None else code

    return invoke(asked)
