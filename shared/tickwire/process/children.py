"""Child processes that cannot outlive their parent, however it dies."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

# The child's standard input is a pipe that nobody writes to. It closes when the parent is gone, even by kill -9,
# and a shell left behind in the background then ends the child ($$ is the child itself after exec).
# The background shell gives up the child's outputs; descriptors above 9 it cannot close (dash), so whoever passes a
# lock unlocks it in so many words.
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
    """Run a program for as long as the block lasts: SIGTERM at its end, SIGKILL `grace_s` later.

    Without `umask` it has ours. `stdout` and `stderr` are as for `asyncio.create_subprocess_exec`. Raises
    FileNotFoundError through the shell's exit code 127, which the caller sees as a process that ended.
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
        # Ctrl-C in the terminal is for the parent, which then stops its children in order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await asyncio.shield(stop(process, grace_s))


async def stop(process: Process, grace_s: float = 10.0) -> int:
    """End a process: SIGTERM, and SIGKILL when it is still there after `grace_s`; its exit code."""
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            process.kill()
    code = await process.wait()
    if process.stdin is not None:
        process.stdin.close()
    return code


__all__ = ["DEVNULL", "PIPE", "Process", "child", "stop"]
