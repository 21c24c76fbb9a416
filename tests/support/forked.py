"""Programs forked from a process that has imported their modules: 10 to 70 ms of CPU time a start, not 250 to 390.

Each has a session, environment, memory, descriptors and signals of its own, and runs what `python -m` runs. For each
program a process waits to be forked. Between both stands one that says how the program ended, or ends it with tests.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn

from tickwire.process import children
from tickwire.process.imports import uncollected

# No test reaches a public host, and aiohttp reads this machine's authorities twice at each start (40 ms of CPU).
NO_AUTHORITIES = {"SSL_CERT_FILE": os.devnull}


class Forked:
    """A forked program, with what tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self._ended = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(status, 32))

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        return int(self._ended.result()) if self._ended.done() else None

    async def wait(self) -> int:
        """The same once it has ended."""
        return int(await asyncio.shield(self._ended))

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Running = Forked | Process


@asynccontextmanager
async def running(
    program: str,
    arguments: Sequence[str | Path],
    env: Mapping[str, str],
    outputs: tuple[int, int] = (1, 2),
    cwd: Path | None = None,
) -> AsyncIterator[Running]:
    """`simulator`, a service or another `command` for as long as the block lasts; then SIGTERM, SIGKILL 10 s later.

    Executed where the interpreter and libraries would begin with another environment than the process that is forked.
    """
    if sys.platform != "linux" or _read_at_start(env) != _read_at_start(os.environ | NO_AUTHORITIES):
        module = "tickwire.simulator" if program == "simulator" else "tickwire.cli.main"
        argv = [sys.executable, "-m", module, *arguments]
        async with children.child(argv, env=env, stdout=outputs[0], stderr=outputs[1], cwd=cwd) as executed:
            yield executed
        return
    status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with status:
        with theirs:
            request = json.dumps([[str(each) for each in arguments], dict(env), str(cwd or Path.cwd())]).encode()
            socket.send_fds(_forking(program), [request], [theirs.fileno(), *outputs])
        status.setblocking(False)
        process = Forked(int(await asyncio.get_running_loop().sock_recv(status, 32)), status)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await process.wait()
            process.kill()
            await process.wait()


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(("TICKWIRE_", "PYTEST_"))}


@functools.cache
def _forking(program: str) -> socket.socket:
    """A connection to the process that is forked, which lives as long as this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "support.forked", program, str(theirs.fileno())]
    env = os.environ | NO_AUTHORITIES | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with theirs:
        null, fds = subprocess.DEVNULL, [theirs.fileno()]
        process = subprocess.Popen(argv, env=env, stdin=null, stdout=null, pass_fds=fds, start_new_session=True)
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


def _import(program: str) -> Callable[[], int]:
    """Import what a program imports before it reads its settings, in the same order; its function."""
    importlib.import_module("uvloop")
    if program == "simulator":
        importlib.import_module("tickwire.simulator.server")
        simulator: Callable[[], int] = importlib.import_module("tickwire.simulator.__main__").main
        return simulator
    if program == "command":
        importlib.import_module("tickwire.cli.connection")
        importlib.import_module("tickwire.cli.output.tables")
    else:
        importlib.import_module("tickwire.cli.processes.service")
        importlib.import_module("tickwire.exchange.ccxt_patches.lazy_packages").install()
        importlib.import_module(f"tickwire.{program}.service")
    command: Callable[[], int] = importlib.import_module("tickwire.cli.main").run
    return command


def _fork_on_request(control: socket.socket) -> None:
    """Fork for each request: returns in the programs only. Ends when the tests do."""
    while True:
        request, fds, *_ = socket.recv_fds(control, 1 << 20, 3)
        with suppress(ChildProcessError):  # Reaped, so that their time is counted.
            while os.waitpid(-1, os.WNOHANG if request else 0)[0]:
                pass
        if not request:
            sys.exit()
        if os.fork():
            for each in fds:
                os.close(each)
            continue
        control.close()
        if pid := os.fork():
            _report(pid, *fds)
        _become(*json.loads(request), *fds)
        return


def _report(pid: int, status: int, out: int, err: int) -> NoReturn:
    """Say how a program ended. End it when nobody listens any more: the tests have died."""
    os.close(out)
    os.close(err)
    os.write(status, str(pid).encode())
    ended = os.pidfd_open(pid)
    if ended not in select.select([status, ended], [], [])[0]:
        os.kill(pid, signal.SIGTERM)
        if not select.select([ended], [], [], 10)[0]:
            os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(status, str(code).encode())
    os._exit(0)


def _become(arguments: list[str], env: dict[str, str], folder: str, status: int, out: int, err: int) -> None:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    for each in (status, out, err):
        os.close(each)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv[1:] = arguments


if __name__ == "__main__":
    _, program, descriptor = sys.argv
    sys.path.remove(os.environ.pop("PYTHONPATH"))
    with uncollected():
        run = _import(program)
    _fork_on_request(socket.socket(fileno=int(descriptor)))
    sys.exit(run())
