"""A tape that a test writes for a sink, and what the sink made of it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import nats.js.errors
import pytest

from support.influx import InfluxDb
from support.processes import environment
from tape.places import place_of
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.model.messages import SinkReport, SinkRequest

START = 1_790_000_000_000
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
SINK = """
[sink]
url = "{influx}"
version = 1
batch = 1000
"""


def locked(broker: str, influx: InfluxDb, folder: Path, user: str, password: str) -> dict[str, str]:
    """The environment of a sink on a database that asks for a password."""
    return environment(
        folder,
        TICKWIRE_NATS_URL=broker,
        TICKWIRE_SINK_URL=influx.url,
        TICKWIRE_SINK_VERSION="1",
        TICKWIRE_SINK_USERNAME=user,
        TICKWIRE_SINK_PASSWORD=password,
    )


class Writer:
    """Puts trades on the tape as streamers do: a message a time, the sequence checked."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.written: dict[str, list[Trade]] = defaultdict(list)
        self._last: Counter[str] = Counter()
        self._draw = random.Random(7)

    async def write(self, symbol: str, count: int) -> None:
        """So many trades in one message, of all sizes; several in a millisecond."""
        number = len(self.written[symbol])
        trades = [
            Trade(
                id=str(n),
                timestamp=START + n // 3,
                side=self._draw.choice(["buy", "sell"]),
                price=round(self._draw.uniform(1, 70_000), 2),
                amount=round(10 ** self._draw.uniform(-3, 4), 3),
            )
            for n in range(number, number + count)
        ]
        feed = Feed("trade", "binance", symbol)
        message = Trades(exchange="binance", symbol=symbol, trades=trades, received=START)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self._last[symbol])}
        ack = await self.bus.jetstream.publish(place_of(feed).subject, messages.encode(message), headers=headers)
        self._last[symbol] = ack.seq
        self.written[symbol] += trades

    async def go_on(self, per_s: int, until: Callable[[], bool]) -> None:
        """So many trades a second, all symbols in turn."""
        loop = asyncio.get_running_loop()
        began, done = loop.time(), 0
        while not until():
            while done < (loop.time() - began) * per_s:
                await self.write(SYMBOLS[done // 10 % len(SYMBOLS)], 10)
                done += 10
            await asyncio.sleep(0.005)


async def until_written(bus: Bus, stream: str = "", timeout_s: float = 100) -> None:
    """Wait until the sink has acknowledged everything in a stream, or in those of trades.

    Asked again, because nothing announces that.
    """
    if not stream:
        for number in range(8):
            await until_written(bus, f"TRADES-{number}", timeout_s)
        return
    async with asyncio.timeout(timeout_s):
        while True:
            state = (await bus.jetstream.stream_info(stream)).state
            try:
                info = await bus.jetstream.consumer_info(stream, "sink")
                if state.last_seq == (info.ack_floor.stream_seq if info.ack_floor else -1):
                    return
            except nats.js.errors.NotFoundError:
                pass
            await asyncio.sleep(0.1)


async def assert_equal(influx: InfluxDb, tape: dict[str, list[Trade]]) -> None:
    """Counts and sums per symbol, side and size class in the database are those of the tape."""
    found = await influx.query("SELECT count(price), sum(amount), sum(quote) FROM trades GROUP BY symbol, side")
    assert {(row["symbol"], row["side"]): row["count"] for row in found} == Counter(
        (symbol, trade.side) for symbol, trades in tape.items() for trade in trades
    )
    for row in found:
        those = [trade for trade in tape[row["symbol"]] if trade.side == row["side"]]
        assert row["sum"] == pytest.approx(sum(trade.amount for trade in those), rel=1e-9)
        assert row["sum_1"] == pytest.approx(sum(trade.price * trade.amount for trade in those), rel=1e-9)
    sizes = await influx.query(
        'SELECT sum(trades), sum(volume), sum(buy), last(cvd) FROM trade_sizes GROUP BY symbol, "size"'
    )
    assert {row["symbol"] for row in sizes} == set(tape)
    bounds = {"0-10k": 0, "10k-100k": 1e4, "100k-1m": 1e5, "1m-10m": 1e6, "10m-100m": 1e7, "100m+": 1e8}
    upper = dict(zip(bounds, [*list(bounds.values())[1:], float("inf")], strict=True))
    for row in sizes:
        name = row["size"]
        those = [t for t in tape[row["symbol"]] if bounds[name] <= t.price * t.amount < upper[name]]
        bought = sum(t.price * t.amount for t in those if t.side == "buy")
        sold = sum(t.price * t.amount for t in those if t.side == "sell")
        assert row["sum"] == len(those)
        assert row["sum_1"] == pytest.approx(bought + sold, rel=1e-9)
        assert row["sum_2"] == pytest.approx(bought, rel=1e-9)
        assert row["last"] == pytest.approx(bought - sold, rel=1e-9, abs=1e-3)
    assert sum(row["sum"] for row in sizes) == sum(map(len, tape.values()))


async def sinking(bus: Bus) -> SinkReport:
    """What the one sink says of itself."""
    return await bus.request("sink.report", SinkRequest(), SinkReport)
