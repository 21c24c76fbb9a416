"""Finds out how many partitions the tape has, for programs that do not have the broker's settings.

| subject | direction | what |
|---|---|---|
| `$JS.API.STREAM.INFO.TRADES-0` | requests | the metadata of the first partition has their number |
"""

from __future__ import annotations

from functools import partial

import msgspec
import nats.errors
from msgspec import Struct, field

from tickwire.bus.connection import Bus
from tickwire.bus.requests import NO_STREAM, open_inbox, until_answered
from tickwire.errors import BrokerUnavailable, NoSuchService
from tickwire.model import messages
from tickwire.model.feeds.layout import FORMER_METADATA, METADATA, UNPARTITIONED, TapeLayout

FIRST = "TRADES-0"
ANSWER_S = 2.0


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _Config(Struct):
    metadata: dict[str, str] = field(default_factory=dict)


class _Info(Struct):
    """What is used of the broker's description of a stream."""

    error: _Error | None = None
    config: _Config = field(default_factory=_Config)


_decode = messages.decoder(_Info)


async def layout_of(bus: Bus) -> TapeLayout:
    """The layout of the tape; asked for once in the life of a connection, and again after it was lost.

    Waits for the broker. Raises BrokerUnavailable once the connection is closed.
    """
    if bus.tape_layout is None or bus.tape_layout[0] != bus.disconnects:
        disconnects, found = bus.disconnects, await until_answered(partial(_read, bus), f"stream {FIRST}")
        if not found.partitions:
            # Streams are made later than connections.
            return found
        bus.tape_layout = (disconnects, found)
    return bus.tape_layout[1]


async def _read(bus: Bus) -> TapeLayout:
    try:
        async with open_inbox(bus.client) as inbox:
            await inbox.ask(f"$JS.API.STREAM.INFO.{FIRST}", b"")
            info = _decode((await inbox.reply(ANSWER_S)).data)
    except (nats.errors.Error, NoSuchService, TimeoutError, msgspec.MsgspecError) as error:
        if bus.client.is_closed:
            raise BrokerUnavailable("the connection to the broker is closed", "connect again") from error
        raise nats.errors.Error(f"stream {FIRST} cannot be read: {error!r}") from error
    if info.error is not None and info.error.err_code != NO_STREAM:
        raise nats.errors.Error(info.error.description)
    stated = info.config.metadata.get(METADATA, "")
    if not stated.isdecimal():
        return UNPARTITIONED
    return TapeLayout(int(stated), former=FORMER_METADATA in info.config.metadata)
