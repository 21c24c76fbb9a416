"""Stored pages leave stream OHLCV, also when the broker does not confirm a purge: fetchers look there for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cache.served import page, running, store
from support.wires import Wire, wire
from tickwire.bus import streams
from tickwire.bus.connection import Bus

pytestmark = pytest.mark.faults

PURGE = b"$JS.API.STREAM.PURGE.OHLCV"


def lost(data: bytes) -> bytes:
    """What arrives while nobody answers a request for a purge, as while a cluster elects a leader."""
    return data.replace(PURGE, PURGE.replace(b"PURGE", b"NOONE"))


async def until_emptied(bus: Bus) -> None:
    async with asyncio.timeout(100):
        while (await bus.jetstream.stream_info(streams.OHLCV)).state.messages:
            await asyncio.sleep(0.05)


async def until_lost(between: Wire) -> None:
    async with asyncio.timeout(60):
        while PURGE not in between.sent:
            await asyncio.sleep(0.02)


async def test_a_purge_that_the_broker_did_not_confirm_is_made_again(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with wire(broker) as between, running(between.url, tmp_path):
        between.alter = lost
        await store(bus, page(range(10)))
        await until_lost(between)
        assert (await bus.jetstream.stream_info(streams.OHLCV)).state.messages == 1
        between.alter = bytes
        await until_emptied(bus)


async def test_what_an_owner_stored_and_did_not_purge_is_purged_by_the_next(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with wire(broker) as between:
        async with running(between.url, tmp_path):
            between.alter = lost
            await store(bus, page(range(10)))
            await until_lost(between)
        assert (await bus.jetstream.stream_info(streams.OHLCV)).state.messages == 1
        between.alter = bytes
        async with running(between.url, tmp_path, "two"):
            await until_emptied(bus)
