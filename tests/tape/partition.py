"""A partition of the tape in tests: its stream, its writers, and what it stores."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from tape.places import owned
from tickwire.bus import tape_streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream, until_answered
from tickwire.settings import TapeSettings
from tickwire.tape.partition_writer import PartitionWriter, open_partition_writer

STREAM = "TRADES-3"
HANDOVER = "tape.handover.TRADES-3"
BTC, ETH = "tape.trade.3.binance.BTC-USDT", "tape.trade.3.binance.ETH-USDT"


async def made(bus: Bus, replicas: int = 1, **changes: object) -> None:
    """Make the stream."""
    (config,) = [
        each.evolve(num_replicas=replicas, **changes)
        for each in tape_streams.of_partitions(TapeSettings(), batches=True, former=False)
        if each.name == STREAM
    ]
    await retry_jetstream(partial(bus.jetstream.add_stream, config))


@asynccontextmanager
async def writing(bus: Bus, *, batches: bool | None = None) -> AsyncIterator[PartitionWriter]:
    """The owner's writer, with both subjects open."""
    async with open_partition_writer(bus, STREAM, owned, batches=batches) as writer:
        for subject in (BTC, ETH):
            await writer.open(subject)
        yield writer


async def stored(bus: Bus) -> list[tuple[int, str, str]]:
    """Sequence, subject and payload of every message of the feeds, from the stream's leader."""
    found = []
    state = (await until_answered(partial(bus.jetstream.stream_info, STREAM), STREAM)).state
    sequence = 1
    while sequence <= state.last_seq:
        ask = msgspec.json.encode({"seq": sequence, "next_by_subj": "tape.trade.>"})
        request = partial(bus.client.request, f"$JS.API.STREAM.MSG.GET.{STREAM}", ask, timeout=5)
        reply = msgspec.json.decode((await until_answered(request, STREAM)).data)
        if "error" in reply:
            if reply["error"]["code"] == 404:
                break
            continue
        message = reply["message"]
        found.append((message["seq"], message["subject"], base64.b64decode(message.get("data", "")).decode()))
        sequence = message["seq"] + 1
    return found


async def texts(bus: Bus) -> list[str]:
    """The payloads in the order of the stream."""
    return [text for _, _, text in await stored(bus)]
