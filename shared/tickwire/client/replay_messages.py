"""The messages of a replay: those of the tape, cut to a range of time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from tickwire.bus.connection import Bus
from tickwire.client.decoded import Remade, payload_of, trades_of
from tickwire.client.merging import AT_ONCE, Block
from tickwire.client.replay import Item, any_pages, tape_pages
from tickwire.client.replay_feeds import BookView
from tickwire.client.trade_items import TradeItems
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades


class PastMessage(NamedTuple):
    """A message to be published again: its payload, its sequence on the tape, how many trades it has, and gaps.

    Without payload it is a gap that no message says.
    """

    data: bytes | None
    sequence: int
    trades: int
    gaps: int = 0


async def message_pages(bus: Bus, of: Feed, since: int, until: int | None) -> AsyncGenerator[Block[PastMessage], None]:
    """The messages of a feed on the tape with what belongs to `[since, until)` (ms), a page at a time.

    The time of a message is that of the last thing it states, as it could not be published before. A message that is
    whole within the range has the payload of the tape.
    """
    items, cutter = TradeItems(of, since, yielded=True), Cutter(of, since, until)
    async with aclosing(tape_pages(bus, of, since, items)) as pages:
        async for page in pages:
            found = Block[PastMessage]([], [])
            for taped in page:
                if isinstance(taped, Remade):
                    items.begin_anew()
                    continue
                try:
                    message = trades_of(taped)
                    parts = items.of(message, skipped=taped.skipped)
                except BadRequest as error:
                    message, parts = cutter.nothing(), items.unread(error)
                cut = cutter.cut(message, parts)
                if cut is not None:
                    data = payload_of(taped) if cut is message else messages.encode(cut)
                    found.times.append(cutter.time)
                    found.items.append(PastMessage(data, taped.sequence, len(cut.trades), cut.gap is not None))
                if cutter.over:
                    break
            yield found
            if cutter.over:
                return
    gaps = [msgspec.structs.replace(cutter.nothing(), gap=each) for each in items.rest(until)]
    yield Block([cutter.time] * len(gaps), [PastMessage(messages.encode(each), 0, 0, 1) for each in gaps])


async def any_message_pages(
    bus: Bus, of: Feed, since: int, until: int | None, view: BookView
) -> AsyncGenerator[Block[PastMessage], None]:
    """The messages of a feed of any kind, as `message_pages`."""
    if of.kind == "trade":
        async with aclosing(message_pages(bus, of, since, until)) as pages:
            async for page in pages:
                yield page
        return
    async with aclosing(any_pages(bus, of, since, until, view)) as blocks:
        async for block in blocks:
            yield Block(block.times, [_message(item) for item in block.items])


def _message(item: Any) -> PastMessage:
    # What follows a gap says it, as it is live: a book that is resyncing, a ticker that was interrupted.
    return PastMessage(None, 0, 0, 1) if isinstance(item, Gap) else PastMessage(messages.encode(item), 0, 0)


class Cutter:
    """Cuts the messages of a feed to `[since, until)` (ms). No I/O."""

    def __init__(self, of: Feed, since: int, until: int | None) -> None:
        self.time = AT_ONCE
        """Of the last message (ms): never less than that of the one before."""
        self.over = False
        """Whether the last message reached `until`."""
        self._feed = of
        self._since = since
        self._until = until
        self._received = 0

    def nothing(self) -> Trades:
        """A message without content, for a gap in place of one that cannot be read."""
        return Trades(exchange=self._feed.exchange, symbol=self._feed.symbol, trades=[], received=self._received)

    def cut(self, message: Trades, items: Sequence[Item]) -> Trades | None:
        """What of a message, whose trades and gaps from `since` on are `items`, is in the range; None if nothing is.

        The same message if all of it is.
        """
        self._received = message.received
        trades = [each for each in items if isinstance(each, Trade)]
        declared = message.until
        if self._until is not None:
            within = next((at for at, each in enumerate(trades) if each.timestamp >= self._until), None)
            if within is not None:
                trades, self.over = trades[:within], True
            declared = None if declared is None else min(declared, self._until)
        if declared is not None and declared <= self._since:
            declared = None
        gap = _joined([each for each in items if isinstance(each, Gap)])
        if not trades and gap is None and declared is None:
            return None
        self.time = max([self.time, declared or AT_ONCE, *(each.timestamp for each in trades)])
        if len(trades) == len(message.trades) and gap == message.gap and declared == message.until:
            return message
        return msgspec.structs.replace(message, trades=trades, gap=gap, until=declared)


def _joined(gaps: Sequence[Gap]) -> Gap | None:
    """One gap for all that are before the trades of a message."""
    if len(gaps) < 2:
        return gaps[0] if gaps else None
    first, last = gaps[0], gaps[-1]
    reasons = dict.fromkeys(each.reason for each in gaps)
    return Gap(
        since=first.since,
        after_id=first.after_id,
        until=last.until,
        before_id=last.before_id,
        reason="; ".join(reasons),
    )
