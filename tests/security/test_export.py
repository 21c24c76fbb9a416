"""Account EXPORT of deploy/nats: connectors have durable consumers on copies of the tape, and no way into ours."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import APIError

from archive.written_tape import SYMBOLS, Tape
from security.secured_pipeline import declared
from support import brokers
from support.brokers import Server, as_user, variables_of
from support.processes import environment, tickwire
from tickwire.bus.connection import Bus, connect
from tickwire.settings import TapeSettings

pytestmark = pytest.mark.faults

SECRETS = {"TICKWIRE_EXPORTER_PASSWORD": "p-exporter", "TICKWIRE_EXPORT_PASSWORD": "p-export"}
STREAM = "EXPORT_TRADES"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A broker whose accounts have the users of EXPORT, and their streams."""
    for name in ("secure.conf", "accounts.conf", "make_accounts.py"):
        shutil.copy(brokers.DEPLOY / "nats" / name, tmp_path)
    subprocess.run([sys.executable, tmp_path / "make_accounts.py", "8", "--export"], check=True)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    async with declared(tmp_path / "nats", str(tmp_path / "secure.conf")) as running:
        ended = await tickwire(
            environment(tmp_path, **variables_of(running.url, "exporter")), "declare", "--export", timeout_s=100
        )
        assert ended.code == 0, ended.err
        yield running


async def connector(server: Server) -> Client:
    """A program without tickwire, as a connector is."""
    return await nats.connect(
        server.url, user="export", password="p-export", inbox_prefix="_INBOX.export", allow_reconnect=False
    )


def ids(messages: list[Msg]) -> list[str]:
    """The ids of the trades in messages."""
    return [str(trade["id"]) for message in messages for trade in json.loads(message.data)["trades"]]


async def consumed(client: Client, count: int) -> list[Msg]:
    """So many messages of the durable consumer, each acknowledged."""
    subscription = await client.jetstream(timeout=60).pull_subscribe("md.trade.>", "elsewhere", STREAM)
    found: list[Msg] = []
    async with asyncio.timeout(100):
        while len(found) < count:
            try:
                some = await subscription.fetch(count - len(found), timeout=5)
            except TimeoutError:
                # Of nats-py, or plain where it has no time left for a second request.
                continue
            for message in some:
                await message.ack_sync(timeout=60)
            found += some
    return found


async def test_a_durable_consumer_of_a_connector_has_every_trade_once_and_continues(server: Server) -> None:
    async with connect(as_user(server.url, "streamer"), name="streamer") as bus:
        tape = Tape(bus, TapeSettings().partitions)
        await write(tape, 5)
        first = await connector(server)
        some = await consumed(first, 7)
        await first.close()
        await server.stop()
        await server.start()
        await bus.client.flush(timeout=60)
        await write(tape, 5)
        second = await connector(server)
        rest = await consumed(second, 40 - 7)
        await second.close()
    for symbol in SYMBOLS:
        subject = f"md.trade.binance.{symbol.replace('/', '-')}"
        assert ids([each for each in some + rest if each.subject == subject]) == [row[0] for row in tape.rows[symbol]]
    # The tape is whole.
    async with connect(as_user(server.url, "operator"), name="test") as bus:
        kept = [await bus.jetstream.stream_info(f"TRADES-{number}") for number in range(8)]
        assert sum(each.state.messages for each in kept) == 40


async def test_more_is_copied_than_the_broker_sends_without_a_confirmation(server: Server) -> None:
    """Its flow control crosses the accounts: the broker sends 32 MiB ahead."""
    async with connect(as_user(server.url, "operator"), name="test") as bus:
        for _ in range(100):
            await bus.jetstream.publish("tape.trade.0.binance.BTC-USDT", bytes(500_000), timeout=60)
        client = await connector(server)
        async with asyncio.timeout(100):
            while (await client.jetstream(timeout=60).stream_info(STREAM)).state.messages < 100:
                await asyncio.sleep(0.05)
        await client.close()


async def write(tape: Tape, rounds: int) -> None:
    """A message of three trades of each symbol, so often."""
    for _ in range(rounds):
        for symbol in SYMBOLS:
            await tape.write(symbol, 3)


async def test_a_connector_may_change_nothing_of_ours_nor_of_the_copies(server: Server) -> None:
    refused: asyncio.Queue[str] = asyncio.Queue()

    async def hear(error: Exception) -> None:
        await refused.put(str(error))

    client = await nats.connect(
        server.url, user="export", password="p-export", inbox_prefix="_INBOX.export", error_cb=hear
    )
    api: tuple[str, ...] = (
        "PURGE.EXPORT_TRADES",
        "DELETE.EXPORT_TRADES",
        "UPDATE.EXPORT_TRADES",
        "CREATE.MINE",
        "PURGE.TRADES-0",
    )
    api += ("DELETE.TRADES-0", "MSG.DELETE.EXPORT_TRADES", "RESTORE.MINE", "SNAPSHOT.EXPORT_TRADES")
    subjects: tuple[str, ...] = (
        "tape.trade.0.binance.BTC-USDT",
        "md.trade.binance.BTC-USDT",
        "fetcher.fetch",
        "cache.get",
    )
    subjects += ("tickwire.api.CONSUMER.CREATE.TRADES-0.mine", "tickwire.export.TRADES-0.x", "$JS.FC.TRADES-0.x")
    for subject in (*subjects, *(f"$JS.API.STREAM.{each}" for each in api)):
        await client.publish(subject, b"{}")
        async with asyncio.timeout(60):
            assert f'Publish to "{subject}"'.lower() in (await refused.get()).lower()
    for subject in ("tape.>", "md.>", "tickwire.>", "$JS.>", "_INBOX.exporter.>", ">"):
        await client.subscribe(subject)
        async with asyncio.timeout(60):
            assert f'Subscription to "{subject}"'.lower() in (await refused.get()).lower()
    await client.close()


async def test_what_a_connector_has_the_broker_deliver_or_answer_does_not_reach_the_tape(server: Server) -> None:
    """The broker delivers and answers on any subject that a consumer, or a request, names: docs/decisions/0019."""
    forged: list[str] = []

    async def hear(message: Msg) -> None:
        forged.append(message.subject)

    async with (
        connect(as_user(server.url, "operator"), name="operator") as operator,
        connect(as_user(server.url, "streamer"), name="streamer") as streamer,
    ):
        await write(Tape(streamer, TapeSettings().partitions), 1)
        for subject in ("tape.>", "md.>", "mine.>", "$JS.API.>"):
            await operator.subscribe(subject, hear)
        await operator.client.flush(timeout=60)
        client = await connector(server)
        jetstream = client.jetstream(timeout=60)
        targets = ("tape.trade.0.binance.BTC-USDT", "md.stored.x", "tickwire.api.CONSUMER.CREATE.TRADES-0.mine")
        for number, target in enumerate((*targets, "$JS.FC.TRADES-0.mine", "mine.x")):
            name = f"mine-{number}"
            config = ConsumerConfig(name=name, deliver_subject=target, ack_policy=AckPolicy.NONE)
            with suppress(APIError):
                await jetstream.add_consumer(STREAM, config)
                await delivered(client, name)
            await client.publish(f"$JS.API.CONSUMER.INFO.{STREAM}.{name}", reply=target)
            await client.publish(f"$JS.API.STREAM.INFO.{STREAM}", reply=target)
        await client.flush(timeout=60)
        # The broker does what one connection asks for in turn.
        await jetstream.consumers_info(STREAM)
        await client.close()
        assert sorted(await consumers(operator)) == []
        kept = [await operator.jetstream.stream_info(f"TRADES-{number}") for number in range(8)]
        assert sum(each.state.messages for each in kept) == 4
        assert [each for each in forged if not each.startswith("$JS.API.")] == []


async def delivered(client: Client, name: str) -> None:
    """Wait until a consumer has delivered all four messages, wherever to; a push needs somebody who listens there."""
    async with asyncio.timeout(60):
        information = await client.jetstream(timeout=60).consumer_info(STREAM, name)
        assert information.name == name


async def consumers(bus: Bus) -> list[str]:
    """The names of the consumers of the tape that the broker has not made for the copies."""
    found = [each for number in range(8) for each in await bus.jetstream.consumers_info(f"TRADES-{number}")]
    return [each.name for each in found if not each.name.startswith("JS_SRC_")]
