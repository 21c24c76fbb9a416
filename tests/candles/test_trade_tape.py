"""Reads the tape of trades for candles."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from candles.candle_feed import TRADES, trade, trade_tape
from tape.places import BTC_SUBJECT, TRADES_STREAM
from tape.slots import opened_by_test
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Trades
from tickwire.streamer.candles.trade_tape import follow_trades
from tickwire.tape import followers

pytestmark = pytest.mark.actors


async def test_messages_that_retention_takes_before_they_are_read_are_a_gap(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the reader is slow, and before it begins."""
    monkeypatch.setattr(followers, "HELD_BYTES", 0)
    async with asyncio.timeout(100), trade_tape(bus) as tape:
        for number in range(3):
            await tape.say(trade(number))
        slot = opened_by_test(bus, TRADES)
        heard: list[tuple[int, Trades]] = []
        async with aclosing(follow_trades(slot, TRADES, 0, lambda _reason: None)) as messages:
            heard.extend([await anext(messages) for _ in range(3)])
            for number in range(3, 10):
                await tape.say(trade(number))
            await bus.jetstream.purge_stream(TRADES_STREAM, keep=2)
            heard.extend([await anext(messages) for _ in range(2)])
        async with aclosing(follow_trades(slot, TRADES, heard[2][0], lambda _reason: None)) as messages:
            late = [await anext(messages) for _ in range(2)]
    assert [told.trades for _, told in heard] == [[trade(number)] for number in (0, 1, 2, 8, 9)]
    assert [told.gap is not None for _, told in heard] == [False] * 3 + [True, False]
    assert late == heard[3:]


async def test_a_message_that_cannot_be_read_is_a_gap_and_its_reason_is_told(bus: Bus) -> None:
    """Stored before the reader begins, and after."""
    reasons: list[str] = []
    async with asyncio.timeout(100), trade_tape(bus) as tape:
        await tape.say(trade(0))
        slot = opened_by_test(bus, TRADES)
        writer, _ = await slot.open(TRADES.public)
        assert writer.subject == BTC_SUBJECT
        await writer.append(b"[]")
        async with aclosing(follow_trades(slot, TRADES, 0, reasons.append)) as messages:
            told = [(await anext(messages))[1] for _ in range(2)]
            await writer.append(b"no JSON")
            told.append((await anext(messages))[1])
            await writer.append(b"{}")
            told.append((await anext(messages))[1])
    assert [len(each.trades) for each in told] == [1, 0, 0, 0]
    assert [each.gap is not None for each in told] == [False, True, True, True]
    assert len(reasons) == 3
