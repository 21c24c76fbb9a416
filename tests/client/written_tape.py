"""Tapes of trades that a test writes."""

from __future__ import annotations

from tape.slots import writing
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Gap, Trade, Trades

BEGINS_LATE = "the tape does not go back so far, and no archive answers"
FEEDS = [("binance", "BTC/USDT"), ("kraken", "ETH/USD"), ("okx", "BTC/USDT:USDT")]


def trade(number: int, timestamp: int) -> Trade:
    return Trade(id=str(number), timestamp=timestamp, side=None, price=1.0, amount=1.0)


async def write(bus: Bus, market: tuple[str, str], taken: list[list[Trade]], gap: Gap | None = None) -> None:
    """Append messages of trades to the tape of a market; the last one has the gap."""
    feed = Feed("trade", *market)
    async with writing(bus, feed) as tape:
        for at, trades in enumerate(taken):
            message = Trades(
                exchange=feed.exchange,
                symbol=feed.symbol,
                trades=trades,
                received=0,
                gap=gap if at == len(taken) - 1 else None,
            )
            await tape.append(messages.encode(message))
