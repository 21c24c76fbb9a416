"""Requests with a reply subject that the program chose: replies go nowhere but to inboxes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.js.errors
import pytest
from nats.aio.msg import Msg

from security.secured_pipeline import declared, secured
from support import brokers
from support.brokers import Server, as_user, variables_of
from support.pipeline import Pipeline
from support.processes import running_simulator, tickwire
from tape.places import BTC_SUBJECT, TRADES_STREAM, place_of
from tickwire.bus.connection import Bus, connect
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trades

pytestmark = pytest.mark.faults

BTC = Feed("trade", "binance", "BTC/USDT")
SERVICES = ("cache", "fetcher", "streamer")
KEY = b'{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1h"}'
FIRST = b'{"seq":1}'
LEVEL = b'{"level":"info","logger":"tickwire"}'
REQUESTS = [
    *((f"$SRV.PING.{service}", b"") for service in SERVICES),
    ("$SRV.STATS", b""),
    ("cache.coverage", KEY),
    ("cache.get", KEY),
    ("cache.list", b"{}"),
    ("cache.verify", KEY),
    ("fetcher.fetch", KEY),
    ("fetcher.cancel", b'{"id":"a.b"}'),
    ("fetcher.markets", b'{"exchange":"binance"}'),
    ("streamer.list", b"{}"),
    ("streamer.market", b"{}"),
    ("streamer.start", b"{}"),
    (f"$JS.API.DIRECT.GET.{TRADES_STREAM}", FIRST),
    (
        f"$JS.API.DIRECT.GET.{TRADES_STREAM}",
        json.dumps({"next_by_subj": place_of(BTC).subject, "seq": 1, "batch": 2}).encode(),
    ),
    (f"$JS.API.DIRECT.GET.{TRADES_STREAM}.{place_of(BTC).subject}", b""),
    ("$JS.API.STREAM.MSG.GET.JOB_RESULTS", FIRST),
    ("$JS.API.STREAM.INFO.TRADES-0", b""),
]
"""Requests of a program, each answered by a user with more permissions than the program."""
REPLIES = [
    "foo.bar",
    BTC_SUBJECT,
    BTC_SUBJECT.replace("BTC", "NEW"),
    "tape.ohlcv.binance.BTC-USDT.1h",
    "md.trade.binance.BTC-USDT",
    "md.stored.binance.BTC-USDT.1h",
    "md.job.x",
    "jobs.fetch.binance",
    "control.log",
    "cache.repair",
    "cache.partition.0.get",
    *(f"$KV.LEASES.{service}.lease.zzz" for service in SERVICES),
    "$KV.INTEREST.trade.binance.BTC-USDT.zzz",
    "$KV.SINK.zzz",
    f"$JS.API.STREAM.DELETE.{TRADES_STREAM}",
    f"$JS.API.STREAM.PURGE.{TRADES_STREAM}",
    "_INBOX.cache.x",
]
"""Where each would do harm. At a subject that a program may ask, an answer is one more request of it."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with declared(tmp_path / "nats") as running:
        yield running


class Ear:
    """What is said where others than programs hear it, but for what the services say of themselves."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    async def take(self, message: Msg) -> None:
        ours = message.subject in ("cache.coverage", "fetcher.fetch", "fetcher.cancel")
        if not ours and "instance" not in message.subject:
            self.heard.append((message.subject, message.data))


async def listening(bus: Bus) -> Ear:
    """An operator's ear, at every subject where tickwire speaks."""
    ear = Ear()
    for subject in ("foo.>", "tape.>", "md.>", "jobs.>", "control.>", "cache.repair", "cache.partition.*.get",
                    "$KV.*.*.lease.zzz", "$KV.INTEREST.>", "$KV.SINK.>"):  # fmt: skip
        await bus.subscribe(subject, ear.take)
    await bus.client.flush()
    return ear


async def kept(bus: Bus) -> dict[str, tuple[int, int]]:
    """How much each stream has and has had; but for the leases, which are always renewed."""
    infos = await bus.jetstream.streams_info()
    found = {str(info.config.name): (info.state.messages, info.state.last_seq) for info in infos}
    del found["KV_LEASES"]
    return found


async def all_answer(line: Pipeline) -> None:
    """Each service runs, and answers what a program asks."""
    for service in SERVICES:
        assert line.running[f"{service}-0"].process.returncode is None, service
        answer = await line.bus.client.request(f"$SRV.PING.{service}", b"", timeout=60)
        assert json.loads(answer.data)["name"] == service
    assert b'"verified":[]' in (await line.bus.client.request("cache.coverage", KEY, timeout=60)).data
    assert b'"feeds":[]' in (await line.bus.client.request("streamer.list", b"{}", timeout=60)).data


async def ask_all(bus: Bus, subject: str, data: bytes) -> None:
    """One request with each of the replies, and then one with an inbox, whose answer says that those are through."""
    for reply in REPLIES:
        await bus.client.publish(subject, data, reply=reply)
    await bus.client.request(subject, data, timeout=60)


@asynccontextmanager
async def all_services(server: Server, folder: Path) -> AsyncIterator[tuple[Pipeline, Bus]]:
    """Every service as its own user, and the operator's connection."""
    async with (
        running_simulator() as simulator,
        connect(as_user(server.url, "operator"), name="operator") as operator,
        secured(server, simulator, folder, SERVICES) as line,
    ):
        await tape_is_owned(operator)
        yield line, operator


async def tape_is_owned(bus: Bus) -> None:
    """Wait until the streamer has written its hand-over to each partition of the tape: it writes nothing else here."""
    async with asyncio.timeout(100):
        while True:
            sizes = await kept(bus)
            if all(size[0] for name, size in sizes.items() if name.startswith(("TRADES-", "BOOK_DELTAS-"))):
                return
            await asyncio.sleep(0.05)


async def test_no_reply_subject_leaves_its_account_or_enters_a_stream_or_ends_a_service(
    server: Server, tmp_path: Path
) -> None:
    async with all_services(server, tmp_path) as (line, operator):
        trade = Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=0)
        await operator.jetstream.publish(place_of(BTC).subject, messages.encode(trade))
        await all_answer(line)
        ear, before = await listening(operator), await kept(operator)
        for subject, data in REQUESTS:
            await ask_all(line.bus, subject, data)
        await all_answer(line)
        await operator.client.flush()
        assert ear.heard == []
        assert await kept(operator) == before
        for service in SERVICES:
            with pytest.raises(nats.js.errors.NotFoundError):
                await operator.jetstream.get_last_msg("KV_LEASES", f"$KV.LEASES.{service}.lease.zzz")
        with pytest.raises(nats.js.errors.NotFoundError):
            await operator.jetstream.get_last_msg(TRADES_STREAM, BTC_SUBJECT.replace("BTC", "NEW"))
        # The streamer is not shut out either: what it appends next is accepted.
        for service in SERVICES:
            assert await line.stop(service) == 0
    assert "Publish Violation" not in server.log


async def test_a_service_never_answers_on_own_subjects_and_survives_a_refused_reply(
    server: Server, tmp_path: Path
) -> None:
    """The account of the programs aside: the operator, who is in the services' own, asks."""
    async with (
        all_services(server, tmp_path) as (line, operator),
        connect(as_user(server.url, "operator"), name="listener") as listener,
    ):
        await all_answer(line)
        ear, before = await listening(listener), await kept(listener)
        for subject, data in REQUESTS:
            # What the broker answers goes where the operator could publish by itself.
            if not subject.startswith("$JS."):
                await ask_all(operator, subject, data)
        await ask_all(operator, "control.log", LEVEL)
        await all_answer(line)
        await listener.client.flush()
        assert [each for each in ear.heard if each != ("control.log", LEVEL)] == []
        assert await kept(listener) == before
        for service in SERVICES:
            await server.says(f'user:{service}" - Publish Violation - Subject "foo.bar"')
            assert await line.stop(service) == 0
            said = (tmp_path / f"{service}-0.log").read_text()
            assert f"does not let user {service} publish to foo.bar" in said
            assert "requests name a reply subject on which tickwire publishes" in said


async def test_an_entry_among_the_leases_that_is_none_ends_nobody_and_is_claimed_over(
    server: Server, tmp_path: Path
) -> None:
    async with all_services(server, tmp_path) as (line, operator):
        await all_answer(line)
        for service in SERVICES:
            for key in ("zzz", "0"):
                for garbage in (b'{"type": "io.nats.micro.v1.ping_response"}', b"\xff"):
                    await operator.jetstream.publish(f"$KV.LEASES.{service}.lease.{key}", garbage)
        async with asyncio.timeout(100):
            for service in SERVICES:
                while "undecodable messages are skipped" not in (tmp_path / f"{service}-0.log").read_text():
                    await asyncio.sleep(0.05)
            # The cache's own lease was overwritten: it is lost, and claimed again.
            while (tmp_path / "cache-0.log").read_text().count('"lease": "0", "epoch"') < 3:
                await asyncio.sleep(0.05)
        await all_answer(line)
        listing = asyncio.ensure_future(tickwire(line.env | variables_of(server.url, "operator"), "status"))
        while not listing.done():
            # As long as a lease: an entry expires.
            await operator.jetstream.publish("$KV.LEASES.cache.lease.zzz", b"{}")
            await asyncio.wait({listing}, timeout=0.2)
        assert listing.result().code == 0
        assert "undecodable messages are skipped" in listing.result().err


async def test_programs_of_two_accounts_cannot_fool_each_other(tmp_path: Path) -> None:
    """A copy of the account DESK, as accounts.conf says; those who share one hear what an answer pretends to be."""
    text = (brokers.DEPLOY / "nats" / "accounts.conf").read_text()
    end = text.rindex("}\nsystem_account")
    copy = text[text.index("  DESK: {") : end].replace("DESK: {", "OTHER: {")
    copy = copy.replace("user: desk, password: $TICKWIRE_DESK_PASSWORD", "user: other, password: p-other")
    (tmp_path / "accounts.conf").write_text(text[:end] + copy.replace("_INBOX.desk", "_INBOX.other") + text[end:])
    shutil.copy(brokers.DEPLOY / "nats" / "secure.conf", tmp_path)
    stored = "md.stored.binance.BTC-USDT.1h"
    async with (
        declared(tmp_path / "nats", str(tmp_path / "secure.conf")) as server,
        connect(as_user(server.url, "operator"), name="operator") as operator,
        connect(as_user(server.url, "desk"), name="forger") as forger,
        connect(as_user(server.url, "desk"), name="beside") as beside,
        connect(as_user(server.url, "other"), name="apart") as apart,
    ):
        await operator.jetstream.publish(place_of(BTC).subject, b'{"forged":true}')
        ears = Ear(), Ear()
        for bus, ear in zip((beside, apart), ears, strict=True):
            await bus.subscribe("md.>", ear.take)
            await bus.client.flush()
        await forger.client.publish(f"$JS.API.DIRECT.GET.{TRADES_STREAM}", FIRST, reply=stored)
        await forger.client.request(f"$JS.API.DIRECT.GET.{TRADES_STREAM}", FIRST, timeout=60)
        await operator.client.publish(stored, b'{"forged":false}')
        async with asyncio.timeout(100):
            while any((stored, b'{"forged":false}') not in ear.heard for ear in ears):
                await asyncio.sleep(0.02)
        assert [ear.heard for ear in ears] == [
            [(stored, b'{"forged":true}'), (stored, b'{"forged":false}')],
            [(stored, b'{"forged":false}')],
        ]
