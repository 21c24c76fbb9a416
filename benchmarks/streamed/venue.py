"""A stand-in of Binance, and of OKX's trades, that sends frames at a requested rate.

`python -m streamed.venue` prints its URL as JSON.

It costs little, so that what is measured beside it on the same machine is what shall be measured: no market is
simulated, frames differ in numbers and times only. REST gives what clients ask for at the start: markets, time, a book,
and aggregate trades by id. `POST /do` orders frames; the answer has the numbers that were sent, and when
(CLOCK_MONOTONIC, ns: the same clock in every process of a machine).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from bisect import bisect_right
from typing import Any

import msgspec
from aiohttp import WSMsgType, web
from msgspec import Struct

from streamed import okx

LEVELS = 1000
CHANGES = 10
"""Levels of each side in one change of a book."""
TICK_S = 0.001


class Order(Struct, frozen=True, kw_only=True):
    """Send so many items of one kind (`aggTrade`, `depth`, or `trades` of OKX) for each of the first `symbols` symbols.

    At once, or at `rate` items a second of each symbol.
    """

    kind: str
    count: int
    rate: float | None = None
    symbols: int = 1


def symbols(count: int) -> list[str]:
    """Return base currencies: BTC, then M0001 and so on; each is traded for USDT."""
    return ["BTC", *(f"M{n:04}" for n in range(1, count))]


def frame(payload: bytes) -> bytes:
    """Return an unmasked text frame of RFC 6455."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2) + payload
    return b"\x81\x7f" + length.to_bytes(8) + payload


def trade_event(market: str, number: int, at: int) -> bytes:
    """Return an aggregate trade as Binance writes it; price and amount follow from the number."""
    return (
        b'{"e":"aggTrade","E":%d,"s":"%s","a":%d,"p":"%d.%02d000000","q":"0.%05d000","f":%d,"l":%d,"T":%d,"m":%s,"M":true}'
        % (
            at,
            market.encode(),
            number,
            60_000 + number % 7,
            number % 100,
            number % 99_999 + 1,
            number * 2,
            number * 2 + 1,
            at,
            b"true" if number % 3 else b"false",
        )
    )


def levels(rng: random.Random, sign: int) -> str:
    """Return the levels of one change: mostly near the best price, a fifth of them removed."""
    prices = {60_000 + sign * (1 + min(LEVELS - 1, int(rng.expovariate(1 / 60)))) / 100 for _ in range(CHANGES)}
    return ",".join(f'["{price:.8f}","{0 if rng.random() < 0.2 else rng.random():.8f}"]' for price in sorted(prices))


class Venue:
    """The markets, the sockets, and how far each numbering is."""

    def __init__(self, count: int) -> None:
        self.bases = symbols(count)
        self.sockets: dict[web.WebSocketResponse, tuple[asyncio.Transport, set[str], bool]] = {}
        self.numbers: dict[tuple[str, str], int] = {}
        self.times: dict[str, tuple[list[int], list[int]]] = {base: ([1], [0]) for base in self.bases}
        rng = random.Random(1)
        self.changes = [f'"b":[{levels(rng, -1)}],"a":[{levels(rng, 1)}]}}'.encode() for _ in range(512)]

    # ---- frames

    def event(self, kind: str, base: str, at: int) -> bytes:
        """Return the next event of a symbol; only its number and time are kept."""
        number = self.numbers[kind, base] = self.numbers.get((kind, base), 0) + 1
        market = base + "USDT"
        if kind == "aggTrade":
            numbers, times = self.times[base]
            if times[-1] != at:
                numbers.append(number)
                times.append(at)
            return trade_event(market, number, at)
        if kind == "trades":
            return okx.event(f"{base}-USDT", number, at)
        head = b'{"e":"depthUpdate","E":%d,"s":"%s","U":%d,"u":%d,' % (at, market.encode(), number, number)
        return head + self.changes[number % len(self.changes)]

    def listeners(self, kind: str, base: str) -> list[tuple[asyncio.Transport, str | None]]:
        """Return the subscribed sockets, each with the name of the stream where its frames have one."""
        want = f"{kind}:{base}-USDT" if kind == "trades" else f"{base.lower()}usdt@{kind}"
        found = []
        for transport, streams, combined in self.sockets.values():
            for stream in streams:
                if stream.startswith(want):
                    found.append((transport, stream if combined else None))
        return found

    async def send(self, order: Order) -> list[tuple[int, int, int]]:
        """Send them; how many of each symbol were sent, from which number on, at what time (monotonic ns)."""
        bases = self.bases[: order.symbols]
        targets = {base: self.listeners(order.kind, base) for base in bases}
        sent: list[tuple[int, int, int]] = []
        total, done = order.count * len(bases), 0
        each_s = 0.0 if order.rate is None else 1 / (order.rate * len(bases))
        began = time.monotonic()
        while done < total:
            due = total if not each_s else min(total, int((time.monotonic() - began) / each_s) + 1)
            if due == done:
                await asyncio.sleep(TICK_S)
                continue
            at = int(time.time() * 1000)
            first = self.numbers.get((order.kind, bases[0]), 0) + 1
            out: dict[asyncio.Transport, list[bytes]] = {}
            for index in range(done, due):
                base = bases[index % len(bases)]
                event = self.event(order.kind, base, at)
                for transport, stream in targets[base]:
                    if stream is None:
                        out.setdefault(transport, []).append(frame(event))
                    else:
                        out.setdefault(transport, []).append(
                            frame(b'{"stream":"%s","data":%s}' % (stream.encode(), event))
                        )
            parts = [(transport, b"".join(frames)) for transport, frames in out.items()]
            sent.append((first, due - done, time.monotonic_ns()))
            for transport, data in parts:
                transport.write(data)
            done = due
            if each_s:
                await asyncio.sleep(TICK_S)
        return sent

    # ---- requests

    async def do(self, request: web.Request) -> web.Response:
        """`{"kind", "count", "rate"}` sends frames; without `kind`, returns the number of subscriptions."""
        asked = await request.json()
        if "kind" not in asked:
            return web.json_response(sum(len(streams) for _, streams, _ in self.sockets.values()))
        order = msgspec.convert(asked, Order)
        sent = await self.send(order)
        last = [self.numbers.get((order.kind, base), 0) for base in self.bases[: order.symbols]]
        return web.json_response({"sent": sent, "last": last})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of a client of Binance, `/<host>/<path>` or `/<path>`."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.socket(request)
        if "/api/v5/" in request.path:
            return web.json_response(okx.answer(request.path, request.query.get("instType", ""), self.bases))
        match request.path.rsplit("/", 1)[-1]:
            case "exchangeInfo":
                found: Any = {"timezone": "UTC", "rateLimits": [], "symbols": [market(base) for base in self.bases]}
            case "time":
                found = {"serverTime": int(time.time() * 1000)}
            case "depth":
                found = self.book(request.query["symbol"])
            case "aggTrades":
                found = self.trades(request.query)
            case _:
                found = []
        return web.json_response(found)

    def book(self, market_id: str) -> dict[str, Any]:
        side = [(f"{n / 100:.8f}", "1.00000000") for n in range(1, LEVELS + 1)]
        return {
            "lastUpdateId": self.numbers.get(("depth", market_id.removesuffix("USDT")), 0),
            "bids": [(f"{60_000 - float(price):.8f}", amount) for price, amount in side],
            "asks": [(f"{60_000 + float(price):.8f}", amount) for price, amount in side],
        }

    def trades(self, query: Any) -> list[Any]:
        base = query["symbol"].removesuffix("USDT")
        numbers, times = self.times[base]
        limit, last = int(query.get("limit", 500)), self.numbers.get(("aggTrade", base), 0)
        first = int(query["fromId"]) if "fromId" in query else max(1, last - limit + 1)
        return [
            json.loads(trade_event(query["symbol"], number, times[bisect_right(numbers, number) - 1]))
            for number in range(first, min(last, first + limit - 1) + 1)
        ]

    async def socket(self, request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        combined = "/stream" in request.path and "/ws" not in request.path
        streams = set(filter(None, request.query.get("streams", "").split("/")))
        self.sockets[response] = (transport, streams, combined)
        async for message in response:
            if message.type is WSMsgType.TEXT and "/v5/" in request.path:
                for text in okx.ordered(message.data, streams):
                    await response.send_str(text)
            elif message.type is WSMsgType.TEXT:
                asked = json.loads(message.data)
                if asked["method"] == "SUBSCRIBE":
                    streams.update(asked["params"])
                else:
                    streams.difference_update(asked["params"])
                await response.send_json({"result": None, "id": asked["id"]})
        del self.sockets[response]
        return response


def market(base: str) -> dict[str, Any]:
    """Return an entry of exchangeInfo."""
    return {
        "symbol": base + "USDT",
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001000"},
        ],
    }


async def main(count: int) -> None:
    """Serve until the process is ended."""
    venue = Venue(count)
    app = web.Application()
    app.router.add_post("/do", venue.do)
    app.router.add_get("/{path:.*}", venue.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
