"""Stand-ins of exchanges on loopback that speak a venue's own book protocol, reached as a `gateway`.

Sources: Deribit's API v2, "public/subscribe" and "book.{instrument_name}.{interval}"; Bitget's API v2, "Websocket API"
and "Depth Channel".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from support import loopback
from support.web import served
from tickwire.model.feeds import Level
from tickwire.settings import Settings

MARKET = "BTC-USDT"
SYMBOL = "BTC/USDT"


class Dialect(Protocol):
    """How a venue says it. A channel is whatever names a subscription there."""

    market_id: str

    def asked(self, message: Any) -> tuple[str, list[str]]:
        """What a message wants (`subscribe`, `unsubscribe`, or anything else), and of which channels."""

    def answer(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        """The exchange's word that it was heard."""

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        """A `snapshot`, or a `change` of these levels (amount 0: gone); `wrong` with a checksum that is none."""


class Deribit:
    """No checksum; every level says what became of it; nothing can be unsubscribed through ccxt."""

    market_id = MARKET

    def asked(self, message: Any) -> tuple[str, list[str]]:
        method = message.get("method", "") if isinstance(message, dict) else ""
        return method.removeprefix("public/"), list((message.get("params") or {}).get("channels", ()))

    def answer(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        return [{"jsonrpc": "2.0", "id": message.get("id"), "result": channels}]

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        sides = [
            [["delete" if not amount else "new", price, amount] for price, amount in side] for side in (bids, asks)
        ]
        data = {"type": kind, "timestamp": 1_700_000_000_000, "instrument_name": MARKET, "change_id": 1}
        data |= {"bids": sides[0], "asks": sides[1]}
        return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


class Bitget:
    """Prices and amounts as texts, of which a checksum can be made; channels are unsubscribed one by one."""

    market_id = "BTCUSDT"

    def asked(self, message: Any) -> tuple[str, list[str]]:
        if not isinstance(message, dict):
            return "ping", []
        return message["op"], [json.dumps(each, sort_keys=True) for each in message["args"]]

    def answer(self, message: Any, wish: str, channels: list[str]) -> list[Any]:
        if wish == "ping":
            return ["pong"]
        return [{"event": wish, "arg": json.loads(channel)} for channel in channels]

    def book(self, channel: str, bids: list[Level], asks: list[Level], kind: str, wrong: bool) -> Any:
        sides = [[[str(price), str(amount) if amount else "0"] for price, amount in side] for side in (bids, asks)]
        data: dict[str, Any] = {"bids": sides[0], "asks": sides[1], "ts": "1700000000000"}
        if wrong:
            data["checksum"] = 1
        return {"action": "snapshot" if kind == "snapshot" else "update", "arg": json.loads(channel), "data": [data]}


DIALECTS: dict[str, Callable[[], Dialect]] = {"deribit": Deribit, "bitget": Bitget}


class StandIn:
    """One exchange with one market, and its book. Made by `standing_in`."""

    def __init__(self, exchange: str) -> None:
        self.exchange = exchange
        self.url = ""
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
        self.open: dict[web.WebSocketResponse, dict[str, None]] = {}
        """The channels of each socket."""
        self._dialect = DIALECTS[exchange]()

    @property
    def channels(self) -> int:
        """How many are subscribed, over all sockets."""
        return sum(map(len, self.open.values()))

    def truth(self) -> tuple[list[Level], list[Level]]:
        """The book, best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    async def change(self, bids: Iterable[Level] = (), asks: Iterable[Level] = (), *, wrong: bool = False) -> None:
        """Change levels (amount 0: gone), and tell whoever listens."""
        changed = list(bids), list(asks)
        self.put(*changed)
        for socket, channels in list(self.open.items()):
            for channel in channels:
                if "book" in channel:
                    await self._say(socket, [self._dialect.book(channel, *changed, "change", wrong)])

    def put(self, bids: Iterable[Level] = (), asks: Iterable[Level] = ()) -> None:
        """Change levels, and tell nobody."""
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, amount in levels:
                side.pop(price, None)
                if amount:
                    side[price] = amount

    async def cut(self) -> None:
        """Close every socket."""
        for socket in list(self.open):
            await socket.close()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Speak with one client."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.open[socket] = {}
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(socket, message.data)
        finally:
            del self.open[socket]
        return socket

    async def _take(self, socket: web.WebSocketResponse, text: str) -> None:
        message = json.loads(text) if text.startswith("{") else text
        wish, channels = self._dialect.asked(message)
        if wish == "subscribe":
            if self.swallow:
                self.swallow -= 1
                self.swallowed += 1
                return
            self.subscriptions += 1
        answers = [] if self.mute else self._dialect.answer(message, wish, channels)
        for channel in channels:
            if wish == "unsubscribe":
                self.open[socket].pop(channel, None)
            elif wish == "subscribe":
                self.open[socket][channel] = None
                if "book" in channel:
                    meanwhile, self.meanwhile = self.meanwhile, None
                    if meanwhile is not None:
                        meanwhile()
                    answers.append(self._dialect.book(channel, *self.truth(), "snapshot", False))
        # aiohttp writes at once: nothing comes between the state and what is told of it.
        await self._say(socket, answers)

    async def _say(self, socket: web.WebSocketResponse, messages: list[Any]) -> None:
        for message in messages:
            if not socket.closed:
                await socket.send_str(message if isinstance(message, str) else json.dumps(message))


@asynccontextmanager
async def standing_in(exchange: str) -> AsyncIterator[StandIn]:
    """A stand-in that listens within the block."""
    stand_in = StandIn(exchange)
    async with served(stand_in.serve) as stand_in.url:
        try:
            yield stand_in
        finally:
            await stand_in.cut()


def settings(stand_in: StandIn, **streamer: Any) -> Settings:
    """Settings with the stand-in as its exchange, whose one market is known without asking."""
    known = loopback.market(SYMBOL, DIALECTS[stand_in.exchange]().market_id)
    return loopback.settings(stand_in.url, stand_in.exchange, [known], **streamer)
