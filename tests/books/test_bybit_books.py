"""Books of Bybit over a real socket: numbers that rise by one, and unsubscriptions of the depth that is subscribed."""

from __future__ import annotations

from typing import Any

import pytest

from support.feeds import body
from support.loopback import loopback, market, settings
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Book, Feed
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.subscriptions.live_venue import open_live_venue

pytestmark = pytest.mark.actors

CONTRACT = {"type": "swap", "spot": False, "swap": True, "contract": True, "contractSize": 1.0}
LINEAR = CONTRACT | {"linear": True, "inverse": False, "settle": "USDT", "settleId": "USDT"}
INVERSE = CONTRACT | {"linear": False, "inverse": True, "settle": "BTC", "settleId": "BTC"}


class Bybit:
    """The topics `orderbook` of one market by the documentation: a snapshot for each subscription, then changes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 100
        self.said: list[tuple[str, str]] = []
        """The operation and the topic of each request that was accepted."""
        self.topics: set[str] = set()

    def reply(self, message: Any) -> list[Any]:
        """Answer a request: only topics that are subscribed can be unsubscribed."""
        kind = message["op"]
        if kind == "ping":
            return [{"success": True, "ret_msg": "pong", "conn_id": "c", "req_id": message["req_id"], "op": "ping"}]
        (topic,) = message["args"]
        answer = {"success": True, "ret_msg": "", "conn_id": "c", "req_id": str(message["req_id"]), "op": kind}
        if (topic in self.topics) is (kind == "subscribe"):
            return [answer | {"success": False, "ret_msg": f"error:topic:{topic}"}]
        self.topics ^= {topic}
        self.said.append((kind, topic))
        return [answer, self.message("snapshot", "1")] if kind == "subscribe" else [answer]

    def message(self, kind: str, size: str) -> Any:
        """A message of the present number with one bid of this size."""
        data = {"s": self.name, "b": [["100.0", size]], "a": [["101.0", "3"]], "u": self.number, "seq": 7}
        return {"topic": f"orderbook.50.{self.name}", "type": kind, "ts": 1_700_000_000_000, "data": data}


@pytest.mark.parametrize(
    ("symbol", "name", "more"),
    [("BTC/USDT", "BTCUSDT", {}), ("BTC/USDT:USDT", "BTCUSDT", LINEAR), ("BTC/USD:BTC", "BTCUSD", INVERSE)],
)
async def test_a_lost_change_is_noticed_and_the_same_topic_subscribed_again(
    bus: Bus, symbol: str, name: str, more: dict[str, Any]
) -> None:
    async with loopback() as exchange:
        bybit = Bybit(name)
        exchange.reply = bybit.reply
        chosen = settings(exchange.url, "bybit", [market(symbol, name, **more)])
        async with (
            open_live_venue("bybit", chosen) as venue,
            body(bus, books.run, Feed("book", "bybit", symbol), Demand(depth=20, cadence_ms=0), venue=venue) as running,
        ):

            async def has(size: float, after: int = 0) -> Book:
                book: Book = await running.public.first(
                    lambda book: book.state == "live" and book.bids == [(100.0, size)], after
                )
                return book

            assert (await has(1.0)).sequence == 100
            bybit.number += 1
            exchange.push([bybit.message("delta", "2")])
            await has(2.0)
            seen = len(running.public.said)
            # One change is lost.
            bybit.number += 2
            exchange.push([bybit.message("delta", "4")])
            await running.public.first(lambda book: book.state == "resyncing", seen)
            assert (await has(1.0, seen)).sequence == 103
            # After a restart of the service a snapshot has the number 1.
            bybit.number = 1
            exchange.push([bybit.message("snapshot", "5")])
            assert (await has(5.0, seen)).sequence == 1
            assert len(exchange.open) == 1, "the socket was not given up"
    topic = f"orderbook.50.{name}"
    assert bybit.said[:3] == [("subscribe", topic), ("unsubscribe", topic), ("subscribe", topic)]
