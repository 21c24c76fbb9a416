"""Bursts of trades on venues that ccxt reads: nothing that came at once is lost, whatever cache ccxt keeps it in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import pytest
from ccxt.async_support.base.ws.cache import ArrayCache

from support.loopback import Loopback, loopback, market, settings
from support.venues import PATHS, Memory
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed, Trade
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

pytestmark = pytest.mark.actors

COUNT = 3_000
FIRST = 1_700_000_000_000


def iso(number: int) -> str:
    """When a trade happened: 2023-11-14 22:13:20 and so many ms."""
    return f"2023-11-14T22:13:{20 + number // 1000:02d}.{number % 1000:03d}000Z"


class Speech(NamedTuple):
    """How a venue says trades, by its documentation; `several` trades may be in one message."""

    symbol: str
    market_id: str
    says: Callable[[list[int]], Any]
    confirms: Callable[[Any], list[Any]]


def coinbase(numbers: list[int]) -> Any:
    """Advanced Trade WebSocket, channel market_trades: the newest first."""
    return {
        "channel": "market_trades", "client_id": "", "timestamp": iso(numbers[0]), "sequence_num": numbers[0],
        "events": [{"type": "update", "trades": [
            {"trade_id": str(number), "product_id": "BTC-USD", "price": "100.5", "size": str(number / 4 + 1),
             "side": "BUY", "time": iso(number)} for number in reversed(numbers)]}],
    }  # fmt: skip


def kraken(numbers: list[int]) -> Any:
    """WebSocket v2, channel trade."""
    return {
        "channel": "trade", "type": "update",
        "data": [{"symbol": "BTC/USD", "side": "buy", "price": 100.5, "qty": number / 4 + 1, "ord_type": "market",
                  "trade_id": number, "timestamp": iso(number)} for number in numbers],
    }  # fmt: skip


def bybit(numbers: list[int]) -> Any:
    """V5, topic publicTrade."""
    return {
        "topic": "publicTrade.BTCUSD", "type": "snapshot", "ts": FIRST + numbers[-1],
        "data": [{"T": FIRST + number, "s": "BTCUSD", "S": "Buy", "v": str(number / 4 + 1), "p": "100.5",
                  "L": "PlusTick", "i": str(number), "BT": False} for number in numbers],
    }  # fmt: skip


def gate(numbers: list[int]) -> Any:
    """Spot WebSocket v4, channel spot.trades: one trade in each message."""
    (number,) = numbers
    return {
        "time": 1_700_000_000, "time_ms": FIRST + number, "channel": "spot.trades", "event": "update",
        "result": {"id": number, "create_time": 1_700_000_000, "create_time_ms": f"{FIRST + number}.0", "side": "sell",
                   "currency_pair": "BTC_USD", "amount": str(number / 4 + 1), "price": "100.5"},
    }  # fmt: skip


SPEECH = {
    "coinbase": Speech("BTC/USD", "BTC-USD", coinbase, lambda said: [
        {"channel": "subscriptions", "events": [{"subscriptions": {"market_trades": ["BTC-USD"]}}]}]),
    "kraken": Speech("BTC/USD", "XXBTZUSD", kraken, lambda said: [
        {"method": "subscribe", "success": True, "req_id": said.get("req_id"),
         "result": {"channel": "trade", "symbol": "BTC/USD", "snapshot": True}}]),
    "bybit": Speech("BTC/USD", "BTCUSD", bybit, lambda said: [
        {"success": True, "ret_msg": "", "op": "subscribe", "req_id": said.get("req_id")}]),
    "gate": Speech("BTC/USD", "BTC_USD", gate, lambda said: [
        {"time": 1, "id": said.get("id"), "channel": said.get("channel"), "event": "subscribe",
         "result": {"status": "success"}}]),
}  # fmt: skip
MARKETS = {"kraken": {"info": {"wsname": "BTC/USD"}}}


async def watched(exchange: Loopback, venue: str) -> None:
    """Wait for the subscription, which the exchange confirms."""
    exchange.reply = SPEECH[venue].confirms
    await exchange.until(lambda: bool(exchange.heard))


def opened(exchange: Loopback, venue: str, hooks: Hooks = PATHS["resolve"]) -> AbstractAsyncContextManager[LiveVenue]:
    """The venue at that exchange; by default without dialects: ccxt parses every frame."""
    speech = SPEECH[venue]
    markets = [market(speech.symbol, speech.market_id, **MARKETS.get(venue, {}))]
    if venue == "coinbase":
        markets.append(market("BTC/USDC", "BTC-USDC"))
    return open_live_venue(venue, settings(exchange.url, venue, markets), hooks=hooks)


def expected(number: int) -> tuple[str, int, float, float]:
    """A trade by what makes it."""
    return str(number), FIRST + number, 100.5, number / 4 + 1


def told(trades: list[Trade]) -> list[tuple[str | None, int, float, float]]:
    """Trades likewise."""
    return [(each.id, each.timestamp, each.price, each.amount) for each in trades]


# Gate says one trade in each message.
@pytest.mark.parametrize(
    ("venue", "several"),
    [(venue, several) for several in (1, 7) for venue in SPEECH if venue != "gate" or several == 1],
)
async def test_three_thousand_frames_in_one_write_are_three_thousand_trades_in_order(venue: str, several: int) -> None:
    memory = Memory()
    async with loopback() as exchange, opened(exchange, venue) as at:
        feed = Feed("trade", venue, SPEECH[venue].symbol)
        async with at.watching(feed, memory):
            await watched(exchange, venue)
            exchange.push([SPEECH[venue].says([0])])
            await memory.get(1)
            # Some are told twice, as after a subscription.
            repeated = [SPEECH[venue].says([0])]
            exchange.push(
                [
                    *repeated,
                    *(
                        SPEECH[venue].says(list(range(start, start + several)))
                        for start in range(1, COUNT * several + 1, several)
                    ),
                ]
            )
            last = str(COUNT * several)
            await memory.until(lambda: memory.items[-1].id == last)
            (its,) = [each for each in at.router if each.feed == feed]
            assert its.by_hook > 0
            assert its.by_await == 0
    once = list(dict.fromkeys(told(memory.items)))
    assert once == [expected(number) for number in range(COUNT * several + 1)]
    assert len(memory.items) - len(once) <= 1, "the repetition, which the order of trades drops"
    assert memory.told == ["connected"]


class Calls(Memory):
    """A sink that remembers its calls, too: the number of items, or what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int | str] = []

    def take(self, items: Sequence[Any], received: int) -> None:
        self.calls.append(len(items))
        super().take(items, received)

    def _tell(self, what: str, reason: str) -> None:
        self.calls.append(what)
        super()._tell(what, reason)


@pytest.mark.parametrize("venue", ["bybit", "coinbase", "gate", "kraken"])
async def test_trades_of_frames_that_arrive_together_are_passed_on_together(venue: str) -> None:
    memory = Calls()
    feed = Feed("trade", venue, SPEECH[venue].symbol)
    async with loopback() as exchange, opened(exchange, venue, PATHS["typed"]) as at, at.watching(feed, memory):
        await watched(exchange, venue)
        exchange.push([SPEECH[venue].says([0])])
        await memory.get(1)
        exchange.push([SPEECH[venue].says([number]) for number in range(1, COUNT + 1)])
        await memory.until(lambda: len(memory.items) > COUNT)
    assert told(memory.items) == [expected(number) for number in range(COUNT + 1)]
    assert len(memory.calls) < COUNT / 20


async def test_trades_before_a_missing_frame_are_passed_on_before_the_interruption() -> None:
    """coinbase numbers its frames; the ones after the hole are of the socket that is given up."""
    memory = Calls()
    feed = Feed("trade", "coinbase", "BTC/USD")
    async with loopback() as exchange, opened(exchange, "coinbase", PATHS["typed"]) as at, at.watching(feed, memory):
        await watched(exchange, "coinbase")
        exchange.push([coinbase([number]) for number in (0, 1, 2, 4, 5)])
        await memory.until(lambda: "disconnected" in memory.told)
    assert memory.calls[:3] == ["connected", 3, "disconnected"]


async def test_a_symbol_that_the_exchange_calls_otherwise_has_its_trades() -> None:
    """coinbase says trades of BTC-USDC as those of BTC-USD: one book."""
    memories = {symbol: Memory() for symbol in ("BTC/USD", "BTC/USDC")}
    async with loopback() as exchange, opened(exchange, "coinbase") as at:
        feeds = [Feed("trade", "coinbase", symbol) for symbol in memories]
        async with at.watching(feeds[0], memories["BTC/USD"]), at.watching(feeds[1], memories["BTC/USDC"]):
            exchange.reply = SPEECH["coinbase"].confirms
            await exchange.until(lambda: len(exchange.heard) == 2)
            exchange.push([coinbase([number]) for number in range(2_000)])
            for memory in memories.values():
                await memory.until(lambda memory=memory: memory.items[-1:] and memory.items[-1].id == "1999")  # type: ignore[misc]
                assert told(memory.items) == [expected(number) for number in range(2_000)]


async def test_trades_that_only_the_await_has_are_taken_all_the_same_and_said_once() -> None:
    """As if ccxt resolved something else than the trades, and put these in by itself."""

    async def watch_trades(symbol: str, *more: Any, **named: Any) -> Any:
        rest: Any = venue.rest
        name = "something else"
        await rest.watch(rest.urls["api"]["ws"], name, {"type": "subscribe"}, name)
        return rest.trades[symbol]

    def handle_trade(client: Any, message: Any) -> None:
        rest: Any = venue.rest
        cache = rest.trades.setdefault("BTC/USD", ArrayCache(1_000))
        for each in message["events"][0]["trades"]:
            cache.append(rest.parse_trade(each))
        client.resolve(True, "something else")

    memory = Memory()
    async with loopback() as exchange, opened(exchange, "coinbase") as venue:
        changed: Any = venue.rest
        changed.watch_trades, changed.handle_trade = watch_trades, handle_trade
        feed = Feed("trade", "coinbase", "BTC/USD")
        async with venue.watching(feed, memory):
            await watched(exchange, "coinbase")
            exchange.push([coinbase([number]) for number in range(500)])
            await memory.until(lambda: bool(memory.items))
            exchange.push([coinbase([number]) for number in range(500, 500 + COUNT)])
            await memory.until(lambda: memory.items[-1].id == str(499 + COUNT))
            (its,) = venue.router
            assert its.by_await == 1
    assert told(memory.items) == [expected(number) for number in range(500 + COUNT)]
    assert memory.told == ["connected", "rejected"]
    assert "from its await only" in memory.reasons[1]


async def test_more_trades_in_one_message_than_ccxt_keeps_are_an_interruption() -> None:
    memory = Memory()
    async with loopback() as exchange, opened(exchange, "kraken") as at:
        async with at.watching(Feed("trade", "kraken", "BTC/USD"), memory):
            await watched(exchange, "kraken")
            exchange.push([kraken(list(range(1_000)))])
            await memory.get(1_000)
            exchange.push([kraken(list(range(1_000, 3_000)))])
            await memory.until(lambda: memory.items[-1].id == "2999")
    assert memory.told == ["connected", "disconnected", "connected"]
    assert "all that ccxt keeps" in memory.reasons[1]
    assert told(memory.items) == [expected(number) for number in [*range(1_000), *range(2_000, 3_000)]]
