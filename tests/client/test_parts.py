"""Parts of the Python client without a broker: what waits, what is yielded of a message."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tickwire.client.mailbox import Mailbox
from tickwire.client.trade_items import TradeItems
from tickwire.errors import UnknownSymbol
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.tape.sequence import TapeMessage

pytestmark = pytest.mark.pure

FEED = Feed("trade", "binance", "BTC/USDT")


def trade(number: int, timestamp: int | None = None) -> Trade:
    return Trade(
        id=str(number), timestamp=number * 10 if timestamp is None else timestamp, side="buy", price=1.0, amount=1.0
    )


def taped(*numbers: int, gap: Gap | None = None, skipped: bool = False) -> TapeMessage:
    message = Trades(exchange="binance", symbol="BTC/USDT", trades=[trade(n) for n in numbers], received=0, gap=gap)
    return TapeMessage(1, messages.encode(message), skipped=skipped)


def taken(mailbox: Mailbox[int]) -> list[int]:
    """All that waits."""
    found = []
    while (number := mailbox.pop()) is not None:
        found.append(number)
    return found


async def test_whoever_puts_into_a_full_mailbox_waits_until_there_is_room() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    await mailbox.put(1)
    await mailbox.put(2)
    third = asyncio.create_task(mailbox.put(3))
    done, _ = await asyncio.wait({third}, timeout=0.01)
    assert not done
    assert taken(mailbox) == [1, 2]
    await third
    assert taken(mailbox) == [3]
    assert mailbox.missed == 0


async def test_a_mailbox_for_the_newest_counts_what_was_replaced() -> None:
    mailbox: Mailbox[int] = Mailbox(1, newest_only=True)
    for number in range(5):
        await mailbox.put(number)
    assert taken(mailbox) == [4]
    assert mailbox.missed == 4


async def test_what_waits_is_taken_before_the_error_that_closed_a_mailbox() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    await mailbox.put(1)
    mailbox.close(UnknownSymbol("no such symbol"))
    mailbox.close()
    assert await mailbox.wait()
    assert taken(mailbox) == [1]
    with pytest.raises(UnknownSymbol):
        await mailbox.wait()


async def test_what_waits_for_a_consumer_is_never_more_than_the_limit() -> None:
    mailbox: Mailbox[int] = Mailbox(4)

    async def produce() -> None:
        for number in range(100):
            await mailbox.put(number)
        mailbox.close()

    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(produce())
        found: list[int] = []
        while await mailbox.wait():
            await asyncio.sleep(0)
            batch = taken(mailbox)
            assert len(batch) <= 4
            found += batch
    assert found == list(range(100))


async def test_closing_a_full_mailbox_lets_go_of_whoever_waits() -> None:
    mailbox: Mailbox[int] = Mailbox(1)
    await mailbox.put(1)
    second = asyncio.create_task(mailbox.put(2))
    await asyncio.sleep(0)
    mailbox.close()
    async with asyncio.timeout(60):
        await second
    assert taken(mailbox) == [1]
    assert not await mailbox.wait()


def test_a_consumer_too_slow_for_the_tape_gets_the_bounds_of_what_it_missed() -> None:
    items = TradeItems(FEED, None, yielded=True)
    assert items(taped(1, 2)) == [trade(1), trade(2)]
    found = items(taped(9, skipped=True))
    gap = Gap(since=20, until=90, after_id="2", before_id="9", reason="no longer on the tape when it was read")
    assert found == [gap, trade(9)]
    assert items.gaps == [gap]


def test_gaps_that_nobody_asked_for_are_kept_but_not_yielded() -> None:
    items = TradeItems(FEED, None, yielded=False)
    gap = Gap(since=1, until=2, reason="the exchange forgot")
    assert items(taped(5, gap=gap)) == [trade(5)]
    assert items.gaps == [gap]


def test_from_a_time_on_earlier_trades_and_gaps_are_left_out() -> None:
    items = TradeItems(FEED, 25, yielded=True)
    assert items(taped(1, gap=Gap(since=3, until=9))) == []
    assert items(taped(2, 3)) == [trade(3)]
    assert items(taped(4)) == [trade(4)]
    assert items.gaps == []


@pytest.mark.parametrize(("first", "gaps"), [(2, 0), (3, 1)])
def test_a_tape_that_begins_after_the_time_asked_for_is_a_gap(first: int, gaps: int) -> None:
    items = TradeItems(FEED, 25, yielded=True)
    items.begins_late = "the tape does not go back so far"
    items(taped(first, 4))
    assert len(items.gaps) == gaps


def test_from_now_on_begins_with_the_first_live_trade_and_omits_nothing_later() -> None:
    def said(number: int, source: str, gap: Gap | None = None) -> TapeMessage:
        message = messages.decode(taped(number, gap=gap).data, Trades)
        return TapeMessage(1, messages.encode(msgspec.structs.replace(message, source=source)))

    items = TradeItems(FEED, None, yielded=True, live=True)
    gap = Gap(since=1, until=2, reason="the exchange forgot")
    assert items(said(1, "rest", gap)) == []
    assert items(taped()) == []
    assert items(said(2, "live", gap)) == [trade(2)]
    assert items(said(3, "rest", gap)) == [gap, trade(3)]
    assert items.gaps == [gap]
