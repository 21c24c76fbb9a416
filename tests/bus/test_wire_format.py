"""Frames of NATS are encoded and parsed as nats-py does it, or left to nats-py."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from tickwire.bus.wire_format import parse_headers, publish_command

pytestmark = pytest.mark.pure

TAPE = {"Nats-Expected-Last-Subject-Sequence": "17", "Tickwire-Publish": "streamer-1f 0a1b 42"}
LETTERS = st.sampled_from(list("aZ09-_. :=é\t\r\n\x0b\x1c\x7f*>\u2028"))
TEXTS = st.text(LETTERS, max_size=8)
HEADERS = st.dictionaries(TEXTS, TEXTS, max_size=4)


class Recorded(Client):
    """nats-py's client; what it would send is kept."""

    sent = b""

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.sent = cmd


def by_natspy(subject: str, reply: str, payload: bytes, headers: dict[str, str] | None) -> bytes | None:
    """What nats-py sends, None where it refuses."""
    client = Recorded()
    client._status = Client.CONNECTED
    client._max_payload = 1 << 20
    try:
        asyncio.run(client.publish(subject, payload, reply, headers))
    except nats.errors.Error:
        return None
    return client.sent


@given(TEXTS, TEXTS, st.binary(max_size=8), st.none() | HEADERS)
def test_a_command_is_that_of_natspy_or_left_to_it(
    subject: str, reply: str, payload: bytes, headers: dict[str, str] | None
) -> None:
    ours = publish_command(subject, reply, payload, headers)
    assert ours is None or ours == by_natspy(subject, reply, payload, headers)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.sampled_from(["\r\n\r\n", "\r\n", ""]))
def test_headers_are_those_that_natspy_reads_or_left_to_it(pairs: list[tuple[str, str]], end: str) -> None:
    block = ("NATS/1.0\r\n" + "\r\n".join(f"{name}: {value}" for name, value in pairs) + end).encode()
    ours = parse_headers(block)
    assert ours is None or ours == Client._parse_header_lines(block[len(b"NATS/1.0\r\n") :])


def test_messages_of_the_tape_are_not_left_to_natspy() -> None:
    command = publish_command("tape.trade.binance.BTC-USDT", "_INBOX.a.1", b"{}", TAPE)
    assert command is not None
    assert command == by_natspy("tape.trade.binance.BTC-USDT", "_INBOX.a.1", b"{}", TAPE)
    block = command.partition(b"\r\n")[2].removesuffix(b"{}\r\n")
    assert parse_headers(block) == TAPE


@pytest.mark.parametrize("value", ["two\r\nNats-Rollup: all", "two\nlines", "end\r"])
def test_a_header_with_a_line_break_is_left_to_natspy(value: str) -> None:
    assert publish_command("some.thing", "", b"", {"Name": value}) is None
