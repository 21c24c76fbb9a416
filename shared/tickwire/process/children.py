"""Child processes that end with their parent, even if it is killed."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

# The child's standard input is a pipe without a writer. It closes when the parent ends, even by kill -9, and a shell in
# the background then ends the child ($$ is the child itself after exec). The background shell closes the child's
# outputs; it cannot close descriptors above 9 (dash), so a caller that passes a lock must unlock it explicitly.
_GUARD = """
exec 7<&0 </dev/null
( exec </dev/null >/dev/null 2>&1; read -r _ <&7; kill -TERM $$ ) &
exec 7<&-
exec "$@"
"""


@asynccontextmanager
async def child(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    grace_s: float = 10.0,
    umask: int | None = None,
) -> AsyncIterator[Process]:
    """Run a program for as long as the block lasts: SIGTERM at its end, SIGKILL `grace_s` later, then no pipe is open.

    `umask` defaults to the parent's. `stdout` and `stderr` are as for `asyncio.create_subprocess_exec`. A program that
    does not exist shows as a process that ended with the shell's exit code 127.
    """
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        _GUARD if umask is None else f"umask {umask:04o}\n{_GUARD}",
        "sh",
        *map(str, argv),
        stdin=PIPE,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        cwd=cwd,
        env=None if env is None else dict(env),
        # Ctrl-C in the terminal reaches the parent only, which then stops its children in order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await asyncio.shield(end(process, grace_s))


async def end(process: Process, grace_s: float = 10.0) -> int:
    """Stop a process as `stop` does, then close its pipes; returns its exit code.

    What nobody has read is lost. A pipe that was not read to its end, for example because a child of the process has
    its other side open, stays open in asyncio, and warns when it is collected as garbage.
    """
    try:
        return await stop(process, grace_s)
    finally:
        _close_pipes(process)
        # The event loop closes the descriptors in its next turn.
        await asyncio.sleep(0)


async def stop(process: Process, grace_s: float = 10.0) -> int:
    """End a process with SIGTERM, after `grace_s` with SIGKILL; returns its exit code."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            # asyncio's `wait` waits for the pipes, too, which a child of the process may have open
            # (python/cpython#119710).
            _close_pipes(process)
    code = await process.wait()
    if process.stdin is not None:
        process.stdin.close()
    return code


def _close_pipes(process: Process) -> None:
    # `Process` gives no access to its transport, and its streams none to the pipes that are read. uvloop's transport of
    # a process that has ended does not close them with itself.
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]
    for descriptor in (0, 1, 2):
        if (pipe := transport.get_pipe_transport(descriptor)) is not None:
            pipe.close()
    if process.returncode is not None:
        transport.close()


__all__ = ["DEVNULL", "PIPE", "Process", "child", "end", "stop"]
