"""Everything that can be sent to a whole pipeline is sent as it should not be: every process stays, and works.

The subjects and messages are those of docs/asyncapi.json's source, so that a new one is among them by itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from archive.written_tape import rows_of
from support import hostile, live
from support.hearing import hearing, reports
from support.influx import influxdb
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import running_simulator
from support.programs import absent
from tape.places import TRADES_STREAM
from tickwire.model import asyncapi_subjects, messages
from tickwire.model.asyncapi_subjects import Message
from tickwire.model.feeds import Candle, Feed, Trades
from tickwire.model.messages import ErrorReply, SinkReport, SinkRequest
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

MINUTE = 60_000
SINCE = 1_704_067_200_000
KEY = Key("binance", "BTC/USDT", "1m")
TRADES = Feed("trade", "binance", "BTC/USDT")
CANDLES = Feed("candle", "binance", "BTC/USDT", "1s")
FILLED = {
    "exchange": ("binance", "x" * 300),
    "token": ("BTC-USDT", "=ZZ", "x" * 3_000),
    "timeframe": ("1m", "1s", "0m"),
    "kind": ("trade", "candle", "y"),
    "id": ("0123", "z" * 2_000),
    "name": ("past", "n" * 3_000),
    "instance": ("streamer-0", "nobody"),
    "service": ("cache", "fetcher", "streamer", "sink", "archive", "other"),
    "lease": ("0", "binance", "influxdb", "slot.3"),
    "subscriber": ("me", "s" * 3_000),
    "partition": tuple(map(str, range(8))),
    "stream": (TRADES_STREAM, "NONE"),
    "p": (TRADES_STREAM[-1], "7", "x"),
}
HONEST = {
    "exchange": "binance",
    "symbol": "BTC/USDT",
    # A request that loses its `until` is valid: of hours it orders thirty pages, of minutes 1,500.
    "timeframe": "1h",
    "since": SINCE,
    "until": SINCE + 600 * MINUTE,
    "kind": "trade",
    "subscriber": "me",
    "level": "info",
}


def addresses() -> list[tuple[str, Message]]:
    """Every subject with its message: those that tickwire publishes on, and those that it answers."""
    published = [(each.address, each.message) for each in asyncapi_subjects.PUBLISHED]
    return [*published, *((each.address, each.request) for each in asyncapi_subjects.ASKED)]


def subjects_of(address: str) -> Iterator[str]:
    """The subjects of an address: each parameter as it may be, and as it may not, one at a time."""
    names = re.findall(r"{(\w+)}", address)
    first = {name: FILLED[name][0] for name in names}
    seen = set()
    for name, value in itertools.chain([("", "")], *([(n, v) for v in FILLED[n]] for n in names)):
        subject = re.sub(r"{(\w+)}", lambda match: ({**first, name: value})[match[1]], address)  # noqa: B023
        if subject not in seen:
            seen.add(subject)
            yield subject


def payloads(message: Message) -> list[bytes]:
    """What does not fit, and what only nearly does."""
    return [*hostile.GARBAGE, *hostile.variants(message, **HONEST)]


@asynccontextmanager
async def whole(broker: str, folder: Path) -> AsyncIterator[Pipeline]:
    """Two caches, a fetcher, a streamer, an archive, and a sink where there is a database."""
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(running_simulator("--live-rate", "20"))
        # Nothing is certified before its exchange says so: what is sent here as trades has times of its own.
        config = CONFIG + f'[archive]\nroot = "{folder / "archive"}"\npart_minutes = 0.01\ncertify_after_s = 1e9\n'
        if not absent("influxdb"):
            influx = await stack.enter_async_context(influxdb(folder / "influx"))
            config += f'[sink]\nurl = "{influx.url}"\nversion = 1\n'
        line = await stack.enter_async_context(pipeline(broker, simulator, folder, (), config, lease_ttl_s=3.0))
        for service, place in (("cache", 0), ("cache", 1), ("fetcher", 0), ("streamer", 0), ("archive", 0)):
            await line.start(service, place, "--instance", f"{service}-{place}")
        if "[sink]" in config:
            await line.start("sink", 0, "--instance", "sink-0")
        for name in line.running:
            service, number = name.split("-")
            await line.started(service, int(number))
        yield line


async def works(line: Pipeline, since: int) -> None:
    """A fetch completes, trades and candles are live, the sink writes them and the archive the trades."""
    job = await line.fetch(KEY, since, since + 10 * MINUTE)
    assert job.complete, job
    assert len([row for row in line.rows(KEY) if since <= row[0] < since + 10 * MINUTE]) == 10
    async with (
        hearing(line.bus, TRADES.public, Trades) as trades,
        hearing(line.bus, CANDLES.public, Candle) as candles,
    ):
        for feed in (TRADES, CANDLES):
            await live.start(line.bus, feed, subscriber="works")
        await trades.until_said(lambda said: len([each for each in said if each.trades]) >= 3)
        await candles.until_said(lambda said: len([each for each in said if each.closed and each.complete]) >= 2)
    async with asyncio.timeout(100):
        while {each.state for each in await reports(line.bus) if each.symbol == "BTC/USDT"} != {"live"}:
            await asyncio.sleep(0.1)
    await goes_on(line)
    # Its trades are archived, too; folders announce nothing.
    root = line.folder / "archive"
    before = len(rows_of(root, "BTC/USDT"))
    async with asyncio.timeout(100):
        while len(rows_of(root, "BTC/USDT")) <= before:
            await asyncio.sleep(0.1)


async def goes_on(line: Pipeline) -> None:
    """Trades go on, and into the database."""
    async with hearing(line.bus, TRADES.public, Trades) as trades:
        before = await written(line)
        await trades.until_said(lambda said: any(each.trades for each in said))
        async with asyncio.timeout(100):
            while before is not None and (await written(line) or 0) <= before:
                await asyncio.sleep(0.1)


async def written(line: Pipeline) -> int | None:
    """How many trades the sink wrote; None where there is none."""
    if "sink-0" not in line.running:
        return None
    return (await line.bus.request("sink.report", SinkRequest(), SinkReport)).trades


@pytest.mark.timeout(600)
async def test_no_message_ends_a_process_or_keeps_it_from_working(broker: str, tmp_path: Path) -> None:
    async with whole(broker, tmp_path) as line, hostile.raw(broker) as raw:
        await works(line, SINCE)
        pids = {name: each.process.pid for name, each in line.running.items()}
        sent = 0
        for address, message in addresses():
            wrong = payloads(message)
            for place, subject in enumerate(subjects_of(address)):
                # All of them where the address is as it should be, every tenth elsewhere.
                for data in wrong if place == 0 else wrong[zlib.crc32(subject.encode()) % 10 :: 10]:
                    await raw.publish(subject.encode(), data, reply=b"_INBOX.nobody")
                    sent += 1
                for headers in hostile.BAD_HEADERS:
                    await raw.publish(subject.encode(), b"", headers=headers, reply=b"_INBOX.nobody")
                    await raw.publish(subject.encode(), b"{}", headers=headers)
                    sent += 2
                # The last word, where a stream keeps one.
                await raw.publish(subject.encode(), b"no json")
            await goes_on(line)
            gone = [name for name, each in line.running.items() if each.process.returncode is not None]
            assert not gone, f"{gone} ended by what was sent to {address}"
        assert sent > 10_000
        await works(line, SINCE + 60 * MINUTE)
        assert {name: each.process.pid for name, each in line.running.items()} == pids
        assert all(each.process.returncode is None for each in line.running.values())


async def refused(line: Pipeline, subject: str, data: bytes) -> ErrorReply:
    """The error that a request is answered with, as any program gets it."""
    answer = await line.bus.client.request(subject, data, timeout=20)
    assert (answer.headers or {}).get("Nats-Service-Error-Code") == "400", (subject, answer.data[:200])
    return messages.decode(answer.data, ErrorReply)


async def test_every_endpoint_refuses_what_is_beyond_its_bounds_and_says_what_is_right(
    broker: str, tmp_path: Path
) -> None:
    """With a typed error of one short line, and at once: nothing of it reaches a stream, a lease or a file."""
    async with whole(broker, tmp_path) as line:
        tried = 0
        for asked in asyncapi_subjects.ASKED:
            if asked.private or asked.address == "control.log" or asked.address.split(".")[0] not in running(line):
                continue
            honest = hostile.honest(asked.request, **HONEST)
            for name, value in honest.items():
                if name not in HONEST or name == "level":
                    continue
                wrong = (-1, 10**18, 2**63) if type(value) is int else ("x" * 4_096, "\u5e01" * 65)
                for each in wrong:
                    error = await refused(line, asked.address, json.dumps({**honest, name: each}).encode())
                    assert error.code in ("bad_request", "unsupported_timeframe"), (asked.address, name, error)
                    assert error.remedy
                    assert len(error.message) < 400
                    tried += 1
            for data in (b"no json", b"[" * 100_000, b'{"a":' * 2_000):
                assert (await refused(line, asked.address, data)).code == "bad_request"
        assert tried > 40
        names = [name for info in await line.bus.jetstream.streams_info() for name in (info.config.name,)]
        for name in names:
            found = await line.bus.jetstream.stream_info(str(name), subjects_filter=">")
            assert all(len(subject) <= 512 for subject in found.state.subjects or {})


def running(line: Pipeline) -> set[str]:
    """The services that run."""
    return {name.split("-")[0] for name in line.running}
