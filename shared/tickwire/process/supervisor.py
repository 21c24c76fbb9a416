"""Supervises several processes: restarts each that ends, with exponential back-off.

The caller stops services before the broker, so that they can still publish.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tickwire.errors import ConfigError
from tickwire.process import children, lifecycle
from tickwire.process.backoff import Backoff
from tickwire.process.lifecycle import Exit
from tickwire.task_group import TaskGroup

Report = Callable[[str], None]
"""Prints one line on the terminal."""

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 15.0
HEALTHY_AFTER_S = 10.0
"""A process that ran this long restarts with the first delay."""
GRACE_S = 30.0
"""How long a program may take to finish accepted work, such as a batch of the database. The same as in compose."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Program:
    """A process to keep alive. The first line of its standard output is set as result of `first_line`, if given."""

    name: str
    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    log: Path | None = None
    """The file of its standard error; default: that of this process."""
    first_line: asyncio.Future[bytes] | None = None
    umask: int | None = None
    """The umask of the process; default: that of this process."""


def restart_backoff() -> Backoff:
    """The delays between two starts of one program."""
    return Backoff(FIRST_DELAY_S, MAX_DELAY_S, at_once=False)


async def keep(
    programs: Sequence[Program], stop: asyncio.Event, report: Report, settled: asyncio.Event | None = None
) -> None:
    """Run every program until `stop` is set, then end them all, each with SIGTERM first.

    Raises ConfigError when one refuses its configuration (exit code 2): a restart would change nothing. Once `settled`
    is set, all were ready, and a refusal is a failure like any other: the program is restarted.
    """
    async with TaskGroup() as group:
        for program in programs:
            group.create_task(_keep(program, stop, report, settled or asyncio.Event()))


async def _keep(program: Program, stop: asyncio.Event, report: Report, settled: asyncio.Event) -> None:
    backoff = restart_backoff()
    while not stop.is_set():
        began = time.monotonic()
        try:
            code = await _run(program, stop)
            if code is None:
                return
            how = f"ended ({describe(code)})"
        except OSError as error:
            # No process, descriptor or file is available now; other programs are not affected.
            if not settled.is_set():
                raise
            code, how = Exit.FAILED, f"cannot be started ({error.strerror or repr(error)})"
        if code == Exit.USAGE and not settled.is_set():
            raise ConfigError(
                f"{program.name} refused to start", f"see {program.log}" if program.log else "its message is above"
            )
        if time.monotonic() - began > HEALTHY_AFTER_S:
            backoff.worked()
        delay = backoff.next()
        report(f"{program.name} {how}; starting it again in {delay:.1f} s")
        await lifecycle.pause(stop, delay)


async def _run(program: Program, stop: asyncio.Event) -> int | None:
    """Run a program once: its exit code, or None when it was stopped."""
    wants_line = program.first_line is not None and not program.first_line.done()
    with _log_of(program) as log:
        async with children.child(
            program.argv,
            env=program.env or None,
            stdout=children.PIPE if wants_line else None,
            stderr=log.fileno() if log else None,
            grace_s=GRACE_S,
            umask=program.umask,
        ) as process:
            stopped = asyncio.ensure_future(stop.wait())
            ended = asyncio.ensure_future(_life(process, program.first_line if wants_line else None))
            try:
                await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
                return ended.result() if ended.done() and not stop.is_set() else None
            finally:
                stopped.cancel()
                ended.cancel()


@contextmanager
def _log_of(program: Program) -> Iterator[BinaryIO | None]:
    if program.log is None:
        yield None
    else:
        with program.log.open("ab") as file:
            yield file


async def _life(process: children.Process, first_line: asyncio.Future[bytes] | None) -> int:
    if first_line is not None and process.stdout is not None:
        line = await process.stdout.readline()
        if line and not first_line.done():
            first_line.set_result(line)
        # The rest is discarded: a full pipe would block the program.
        while await process.stdout.read(_CHUNK):
            pass
    return await process.wait()


def describe(code: int) -> str:
    """How a process ended: `exit code 1`, `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        # A real-time signal: of those only the first and the last have names.
        return f"signal {-code}"
