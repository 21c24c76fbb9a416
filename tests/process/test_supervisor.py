"""Supervision of real processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from tickwire.bus.connection import connect
from tickwire.bus.kept_broker import kept_broker
from tickwire.errors import BrokerUnavailable, ConfigError
from tickwire.process import supervisor
from tickwire.process.supervisor import Program
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

TALKATIVE = "print('here', flush=True); print('x' * 1_000_000, flush=True)"
SLOW = """
import pathlib, signal, sys, time

def finish(*_):
    time.sleep(11)
    pathlib.Path(sys.argv[1]).write_text("all of it")
    sys.exit(0)

signal.signal(signal.SIGTERM, finish)
print("here", flush=True)
signal.pause()
"""


async def answers(url: str) -> bool:
    """Whether a broker is there."""
    try:
        async with connect(NatsSettings(url=url), name="test"):
            return True
    except BrokerUnavailable:
        return False


async def kept(program: Program, stop: asyncio.Event, said: asyncio.Queue[str]) -> None:
    async with asyncio.timeout(100):
        await supervisor.keep([program], stop, said.put_nowait)


async def test_a_program_may_say_more_than_its_first_line() -> None:
    """More than a pipe and a reader's buffer hold."""
    stop, said, line = asyncio.Event(), asyncio.Queue[str](), asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(kept(Program("one", [sys.executable, "-c", TALKATIVE], first_line=line), stop, said))
        assert await line == b"here\n"
        assert (await said.get()).startswith("one ended (exit code 0)")
        stop.set()


async def test_a_program_has_longer_than_ten_seconds_to_finish_what_it_accepted(tmp_path: Path) -> None:
    stop, line = asyncio.Event(), asyncio.get_running_loop().create_future()
    argv: list[str | Path] = [sys.executable, "-c", SLOW, tmp_path / "done"]
    async with asyncio.TaskGroup() as group:
        group.create_task(kept(Program("one", argv, first_line=line), stop, asyncio.Queue()))
        await line
        stop.set()
    assert (tmp_path / "done").read_text() == "all of it"


async def test_once_all_were_ready_a_refusal_to_start_takes_nobody_down(tmp_path: Path) -> None:
    """A configuration that was changed meanwhile, a permission that was taken: its neighbours go on."""
    stop, settled, said, line = asyncio.Event(), asyncio.Event(), asyncio.Queue[str](), asyncio.Future[bytes]()
    settled.set()
    script = "import signal; print('here', flush=True); signal.pause()"
    lasting = Program("lasting", [sys.executable, "-c", script], first_line=line)
    refusing = Program("refusing", [sys.executable, "-c", "raise SystemExit(2)"])
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep([lasting, refusing], stop, said.put_nowait, settled))
        await line
        for _ in range(3):
            assert (await said.get()).startswith("refusing ended (exit code 2); starting it again")
        stop.set()
    assert said.empty()


async def test_before_that_a_refusal_to_start_ends_them_all() -> None:
    stop, said = asyncio.Event(), asyncio.Queue[str]()
    refusing = Program("refusing", [sys.executable, "-c", "raise SystemExit(2)"])
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(60):
            await supervisor.keep([refusing], stop, said.put_nowait, asyncio.Event())
    assert ended.group_contains(ConfigError, match="refusing refused to start")


async def test_a_broker_that_cannot_be_started_again_just_now_is_tried_until_it_can(tmp_path: Path) -> None:
    """Its folder takes no file for a while: a full disk, a permission that is taken."""
    said = asyncio.Queue[str]()
    async with asyncio.timeout(100), kept_broker(tmp_path, None, said.put_nowait) as url:
        in_the_way = tmp_path / "nats-server.conf.new"
        in_the_way.mkdir()
        for child in psutil.Process().children(recursive=True):
            if child.name() == "nats-server":
                child.kill()
        while "cannot write" not in await said.get():
            pass
        in_the_way.rmdir()
        while not await answers(url):
            await asyncio.sleep(0.05)


async def test_once_all_were_ready_a_program_that_cannot_be_started_takes_nobody_down(tmp_path: Path) -> None:
    stop, settled, said, line = asyncio.Event(), asyncio.Event(), asyncio.Queue[str](), asyncio.Future[bytes]()
    settled.set()
    log = tmp_path / "log"
    log.mkdir()
    script = "import signal; print('here', flush=True); signal.pause()"
    lasting = Program("lasting", [sys.executable, "-c", script], first_line=line)
    logged = Program("logged", [sys.executable, "-c", "pass"], log=log)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(supervisor.keep([lasting, logged], stop, said.put_nowait, settled))
        await line
        assert (await said.get()).startswith("logged cannot be started (Is a directory)")
        log.rmdir()
        while not (await said.get()).startswith("logged ended (exit code 0)"):
            pass
        stop.set()
    assert said.empty()


@pytest.mark.parametrize(("code", "text"), [(3, "exit code 3"), (-9, "SIGKILL"), (-40, "signal 40")])
def test_the_end_of_a_process_is_described_for_signals_without_a_name_too(code: int, text: str) -> None:
    assert supervisor.describe(code) == text
