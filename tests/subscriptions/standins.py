"""Stand-ins of exchanges on loopback that speak a venue's own book protocol, reached as a `gateway`.

Sources: Deribit's API v2, "public/subscribe" and "book.{instrument_name}.{interval}"; Bitget's API v2, "Websocket API"
and "Depth Channel".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from support import loopback
from support.loopback import Loopback, Socket
from support.web import served
from tickwire.model.feeds import Level
from tickwire.settings import Settings

SYMBOL = "BTC/USDT"


class StandIn(Loopback):
    """One exchange with one market, and its book. A channel is what names a subscription there."""

    exchange: str
    market_id: str

    def __init__(self) -> None:
        super().__init__()
        self.bids = {100.0 - number: 1.0 for number in range(5)}
        self.asks = {101.0 + number: 2.0 for number in range(5)}
        self.swallowed = 0
        """How many subscriptions were not heard."""
        self.swallow = 0
        """How many of the next ones will not be."""
        self.mute = False
        """Whether nothing is acknowledged."""
        self.subscriptions = 0
        """How many were heard."""
        self.meanwhile: Callable[[], None] | None = None
        """Called once before the next snapshot is told: what happened while nobody listened."""

    def wish(self, message: Any) -> tuple[str, list[str]]:
        """What a message wants (`subscribe`, `unsubscribe`, or anything else), and of which channels."""
        raise NotImplementedError

    def acknowledgement(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        """The exchange's word that it was heard."""
        raise NotImplementedError

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        """A `snapshot`, or a `change` of these levels (amount 0: gone); `wrong` with a checksum that is none."""
        raise NotImplementedError

    def truth(self) -> tuple[list[Level], list[Level]]:
        """The book, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    def change(self, bids: Iterable[Level] = (), asks: Iterable[Level] = (), *, wrong: bool = False) -> None:
        """Change levels (amount 0: gone), and send them to all subscribers."""
        changed = list(bids), list(asks)
        self.put(*changed)
        for socket in self.open:
            books = [channel for channel in socket.channels if "book" in channel]
            self.push([self.book(channel, *changed, "change", wrong) for channel in books], socket)

    def put(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        """Change levels, and tell nobody."""
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, amount in levels:
                side.pop(price, None)
                if amount:
                    side[price] = amount

    def answers(self, message: Any, socket: Socket) -> list[Any]:
        wish, channels = self.wish(message)
        if wish == "subscribe":
            if self.swallow:
                self.swallow -= 1
                self.swallowed += 1
                return []
            self.subscriptions += 1
        answers = [] if self.mute else self.acknowledgement(message, wish, channels)
        for channel in channels:
            if wish == "unsubscribe":
                socket.channels.pop(channel, None)
            elif wish == "subscribe":
                socket.channels[channel] = None
                if "book" in channel:
                    meanwhile, self.meanwhile = self.meanwhile, None
                    if meanwhile is not None:
                        meanwhile()
                    answers.append(self.book(channel, *self.truth(), "snapshot", False))
        return answers


class Deribit(StandIn):
    """No checksum, but numbers; every level says what became of it; nothing can be unsubscribed through ccxt."""

    exchange, market_id = "deribit", "BTC_USDT"

    def __init__(self) -> None:
        super().__init__()
        self.changes = 1
        """The number of the last change of the book."""

    def put(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        super().put(bids, asks)
        self.changes += 1

    def wish(self, message: Any) -> tuple[str, list[str]]:
        method = message.get("method", "") if isinstance(message, dict) else ""
        return method.removeprefix("public/"), list((message.get("params") or {}).get("channels", ()))

    def acknowledgement(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        return [{"jsonrpc": "2.0", "id": message.get("id"), "result": channels}]

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        sides = [
            [["delete" if not amount else "new", price, amount] for price, amount in side] for side in (bids, asks)
        ]
        data: dict[str, Any] = {"type": kind, "timestamp": 1_700_000_000_000, "instrument_name": self.market_id}
        data |= {"change_id": self.changes} | ({} if kind == "snapshot" else {"prev_change_id": self.changes - 1})
        data |= {"bids": sides[0], "asks": sides[1]}
        return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


class Bitget(StandIn):
    """Prices and amounts as texts, of which a checksum can be made; channels are unsubscribed one by one."""

    exchange, market_id = "bitget", "BTCUSDT"

    def wish(self, message: Any) -> tuple[str, list[str]]:
        if not isinstance(message, dict):
            return "ping", []
        return message["op"], [json.dumps(each, sort_keys=True) for each in message["args"]]

    def acknowledgement(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        if wish == "ping":
            return ["pong"]
        return [{"event": wish, "arg": json.loads(channel)} for channel in channels]

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        sides = [[[str(price), str(amount) if amount else "0"] for price, amount in side] for side in (bids, asks)]
        data: dict[str, Any] = {"bids": sides[0], "asks": sides[1], "ts": "1700000000000"}
        if wrong:
            data["checksum"] = 1
        return {"action": "snapshot" if kind == "snapshot" else "update", "arg": json.loads(channel), "data": [data]}


@asynccontextmanager
async def standing_in(exchange: str) -> AsyncIterator[StandIn]:
    """A stand-in that listens within the block."""
    (kind,) = [each for each in StandIn.__subclasses__() if each.exchange == exchange]
    stand_in = kind()
    async with served(stand_in.handle) as stand_in.url:
        yield stand_in


def settings(stand_in: StandIn, **streamer: Any) -> Settings:
    """Settings with the stand-in as its exchange, whose one market is known without asking."""
    known = loopback.market(SYMBOL, stand_in.market_id)
    return loopback.settings(stand_in.url, stand_in.exchange, [known], **streamer)
