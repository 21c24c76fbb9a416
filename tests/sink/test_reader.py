"""The reader of a stream, on a real broker."""

from __future__ import annotations

import pytest

from tape.places import BTC_SUBJECT, TRADES_STREAM
from tickwire.bus.connection import Bus
from tickwire.sink.reader import StreamReader

pytestmark = pytest.mark.actors


async def test_a_consumer_that_is_lost_again_and_again_leaves_no_subscriptions_behind(bus: Bus) -> None:
    reader = StreamReader(bus, TRADES_STREAM)
    await bus.jetstream.publish(BTC_SUBJECT, b"{}")
    counts = []
    for _ in range(3):
        # Once to see that the consumer is gone, once to read from a new one.
        while not await reader.batch(10):
            pass
        counts.append(len(bus.client._subs))
        await bus.jetstream.delete_consumer(TRADES_STREAM, "sink")
    assert counts == counts[:1] * 3
    await reader.aclose()
    assert len(bus.client._subs) == counts[0] - 1
