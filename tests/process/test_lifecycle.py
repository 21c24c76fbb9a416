"""Processes: how they end, and what they say then."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import warnings
from collections.abc import Callable

import psutil
import pytest
import uvloop

from tickwire.process import children, lifecycle
from tickwire.task_group import TaskGroup

pytestmark = pytest.mark.actors

PROGRAM = """
import asyncio, sys
from tickwire.process import lifecycle
from tickwire.errors import BadRequest, StorageError
from tickwire.task_group import TaskGroup
async def main(stop):
    print("up", flush=True)
    what = sys.argv[1]
    if what == "wait":
        await stop.wait(); print("cleaned", flush=True); return 3
    if what == "stuck":
        await stop.wait(); print("stopping", flush=True); await asyncio.Event().wait()
    if what == "bad": raise BadRequest("the date is wrong", "write 2024-01-01")
    if what == "disk":
        async with TaskGroup() as group: group.create_task(fail())
    if what == "bug": raise ZeroDivisionError
async def fail(): raise StorageError("the disk is full", "make room")
sys.exit(lifecycle.run(main))
"""


async def run(what: str, *signals: tuple[bytes, signal.Signals]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, what, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    out = await process.stdout.readline()
    for after, number in signals:
        while after not in out:
            out += await process.stdout.readline()
        process.send_signal(number)
    rest, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (out + rest).decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_work_be_finished(number: signal.Signals) -> None:
    assert await run("wait", (b"up", number)) == (3, "up\ncleaned\n", "")


async def test_a_second_ctrl_c_ends_what_does_not_stop() -> None:
    code, out, _ = await run("stuck", (b"up", signal.SIGINT), (b"stopping", signal.SIGINT))
    assert (code, out) == (130, "up\nstopping\n")


async def test_a_foreseen_error_is_one_line_and_an_exit_code() -> None:
    assert await run("bad") == (2, "up\n", "tickwire: the date is wrong; write 2024-01-01\n")
    assert await run("disk") == (1, "up\n", "tickwire: the disk is full; make room\n")


async def test_a_bug_is_loud() -> None:
    code, _, err = await run("bug")
    assert code == 1
    assert "ZeroDivisionError" in err


async def test_a_child_ends_with_the_block_and_by_force_when_it_must() -> None:
    async with children.child(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=-1
    ) as one:
        assert one.stdout is not None
        await one.stdout.readline()
    assert one.returncode == -signal.SIGTERM
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    async with children.child([sys.executable, "-c", stubborn], stdout=-1, grace_s=0.2) as other:
        assert other.stdout is not None
        await other.stdout.readline()
    assert other.returncode == -signal.SIGKILL


GRANDCHILD = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "300"]).pid, flush=True)
signal.pause()
"""
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def leave(new_loop: Callable[[], asyncio.AbstractEventLoop], killed: bool) -> int | None:
    """Leave the block of a child whose own child has its output open; the exit code."""

    async def run() -> children.Process:
        async with children.child([sys.executable, "-c", GRANDCHILD], stdout=children.PIPE, grace_s=0.2) as child:
            assert child.stdout is not None
            grandchild = psutil.Process(int(await child.stdout.readline()))
            if killed:
                child.kill()
                async with asyncio.timeout(100):
                    while child.returncode is None:
                        await asyncio.sleep(0.01)
        assert grandchild.is_running()
        grandchild.kill()
        return child

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run()).returncode


@LOOPS
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
def test_no_pipe_is_left_of_a_child_whose_own_child_has_it_open(
    new_loop: Callable[[], asyncio.AbstractEventLoop], killed: bool
) -> None:
    with warnings.catch_warnings():
        # Of what other tests have left.
        warnings.simplefilter("ignore")
        gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert leave(new_loop, killed) == -signal.SIGKILL
        gc.collect()
    assert [str(each.message) for each in warned] == []


async def test_a_child_that_ended_by_itself_keeps_its_exit_code() -> None:
    async with children.child([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        assert await process.wait() == 7
    async with children.child(["/no/such/program"], stderr=children.DEVNULL) as process:
        assert await process.wait() == 127


async def test_a_task_is_started_in_a_group_until_the_group_ends() -> None:
    ending, may_end = asyncio.Event(), asyncio.Event()
    began: list[str] = []
    groups: list[TaskGroup] = []

    async def work(name: str) -> None:
        began.append(name)
        if name == "slow":
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()
                await may_end.wait()

    async def run() -> None:
        async with TaskGroup() as group:
            groups.append(group)
            assert lifecycle.start(group, work("slow")) is not None
            await asyncio.Event().wait()

    running = asyncio.ensure_future(run())
    while began != ["slow"]:
        await asyncio.sleep(0)
    running.cancel()
    await ending.wait()
    assert lifecycle.start(groups[0], work("while it ends")) is None
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lifecycle.start(groups[0], work("after it")) is None
    assert began == ["slow"]
