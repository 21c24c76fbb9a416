"""A candle file is the same, byte by byte, whether live candles filled it or the fetcher: volumes, quiet minutes.

Exchange, streamer's venue, fetcher, cache and broker are real; the exchange's clock stands until the test sets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from candles.candle_feed import MINUTE, START, CandleVenue, running, trade_tape, witness
from support.loopback import Loopback, loopback, market
from support.serving import serving
from support.simulated import simulated
from support.venues import Memory, venue_at
from support.web import exchange_at
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.cache import service as cache_service
from tickwire.errors import NoSuchService
from tickwire.fetcher import service as fetcher_service
from tickwire.model import messages
from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.model.messages import Coverage, FetchAccepted, FetchRequest, Job, KeyRequest
from tickwire.model.subjects import Key
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings
from tickwire.venues.units import SPOT, Units

pytestmark = pytest.mark.actors

BEGAN = START - 90_000
"""When the feed begins: half a minute into a candle."""
SINCE = START - 120_000
MINUTES = 14
UNTIL = START + MINUTES * MINUTE
SYMBOLS = [
    {
        "symbol": "BTC/USDT",
        "price": 60_000,
        "tick": "0.1",
        "lot": "1",
        "amount": 3,
        "history_rate": 1,
        "live_rate": 0.01,
    }
]
"""Some three trades in five minutes; of contracts, three in each."""


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is revised here, and two minutes of real time would be waited for otherwise."""
    monkeypatch.setattr("tickwire.venues.profile.SETTLE_MS", 0)


class Filled:
    """A cache and a fetcher of one exchange, with an own broker and folder."""

    def __init__(self, bus: Bus, folder: Path, key: Key) -> None:
        self.bus = bus
        self.folder = folder
        self.key = key

    async def covered(self) -> Coverage:
        """What the cache knows, as soon as it is there."""
        request = KeyRequest(**self.key._asdict(), since=SINCE, until=UNTIL)
        while True:
            try:
                return await self.bus.request("cache.coverage", request, Coverage)
            except NoSuchService:
                await asyncio.sleep(0.05)

    async def complete(self) -> None:
        """Wait until the whole range is in the file."""
        async with asyncio.timeout(100):
            while (await self.covered()).verified != [(SINCE, UNTIL)]:
                await asyncio.sleep(0.05)

    async def fetch(self) -> None:
        """Have all of it fetched."""
        request = FetchRequest(**self.key._asdict(), since=SINCE, until=UNTIL, id="all")
        while True:
            try:
                await self.bus.request("fetcher.fetch", request, FetchAccepted)
                return
            except NoSuchService:
                await asyncio.sleep(0.05)

    def file(self) -> bytes:
        """What stands in it."""
        (found,) = (self.folder / "cache").glob("*.csv")
        return found.read_bytes()


@asynccontextmanager
async def filling(folder: Path, url: str, key: Key, **ccxt: Any) -> AsyncIterator[Filled]:
    own = exchange_at(url, **ccxt)
    async with (
        embedded_broker.embedded(folder / "nats") as at,
        connect(NatsSettings(url=at), name="test") as bus,
    ):
        await streams.declare(bus.jetstream, 8, 2.0)
        settings = Settings(
            nats=NatsSettings(url=at),
            cache=CacheSettings(dir=folder / "cache"),
            fetcher=FetcherSettings(settle_ms=0, attempts=3, backoff_s=0.02, max_backoff_s=0.1),
            exchange={key.exchange: own},
        )
        async with (
            serving(bus, cache_service.serve_cache, settings, "cache-one"),
            serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
        ):
            yield Filled(bus, folder, key)


async def say(filled: Filled, trades: list[Trade], units: Units) -> tuple[list[Candle], list[tuple[int, int]]]:
    """Have candles built from trades, minute by minute; closed ones, and the ranges that the fetcher was asked for."""
    feed = Feed("candle", filled.key.exchange, filled.key.symbol)
    asked: list[tuple[int, int]] = []

    async def take(message: Any) -> None:
        job = messages.decode(message.data, Job)
        asked.append((job.since, job.until))

    hearing = await filled.bus.subscribe("md.job.*", take)
    async with trade_tape(filled.bus, feed._replace(kind="trade")) as tape:
        venue = CandleVenue(exchange=feed.exchange, at=BEGAN - START)
        async with witness(filled.bus) as seen, running(filled.bus, "1m", venue=venue, feed=feed, units=units):
            await tape.say(until=BEGAN - START)
            for minute in range(SINCE, UNTIL, MINUTE):
                if inside := [each for each in trades if max(minute, BEGAN) <= each.timestamp < minute + MINUTE]:
                    await tape.say(*inside)
                await tape.say(until=minute + MINUTE - START)
            await filled.complete()
        await hearing.unsubscribe()
        return seen.closed(), sorted(set(asked))


async def heard(url: str, clock: Any, tape: Any, exchange: str, symbol: str) -> tuple[list[Trade], Units]:
    """What the exchange says live of the trades until the end, and the units that it is in."""
    feed, memory = Feed("trade", exchange, symbol), Memory()
    types = ("spot", "swap") if exchange == "okx" else ("spot", "linear", "inverse")
    async with venue_at(url, exchange, types=types) as venue:
        units = await venue.markets.units(symbol)
        async with venue.watching(feed, memory):
            await memory.until(lambda: "connected" in memory.told)
            last = tape.by_id(tape.id_at(UNTIL) - 1, tape.id_at(UNTIL))
            clock.set(UNTIL + 1)
            await memory.until(lambda: any(each.timestamp == int(last.timestamp[0]) for each in memory.items))
        return memory.items, units


@pytest.mark.parametrize(
    ("exchange", "symbol", "own"),
    [
        ("binance", "BTC/USDT", True),
        ("okx", "BTC/USDT", True),
        ("okx", "BTC/USDT:USDT", True),
        # Of inverse markets the exchange rounds the volume its own way: what is cached is the exchange's.
        ("okx", "BTC/USD:BTC", False),
        ("binancecoinm", "BTC/USD:BTC", False),
    ],
)
async def test_a_file_is_the_same_from_both_sides_with_flat_rows_if_the_exchange_has_them(
    tmp_path: Path, exchange: str, symbol: str, own: bool
) -> None:
    key = Key(exchange, symbol, "1m")
    async with simulated(now=BEGAN, speed=0, symbols=SYMBOLS) as sim:
        tape = sim.exchange.instruments["BTCUSDT"].history
        trades, units = await heard(sim.url, sim.exchange.clock, tape, exchange, symbol)
        async with filling(tmp_path / "live", sim.url, key) as live:
            closed, asked = await say(live, trades, units)
        async with filling(tmp_path / "fetched", sim.url, key) as fetched:
            await fetched.fetch()
            await fetched.complete()
    assert live.file() == fetched.file()
    lines = live.file().decode().splitlines()[1:]
    assert len(lines) == (UNTIL - SINCE) // MINUTE
    quiet = {int(line.split(",")[0]) for line in lines if line.endswith(",0.0")}
    assert len(quiet) > 2
    assert {each.timestamp for each in closed if each.trades == 0 and each.complete} <= quiet
    assert {each.volume_unit for each in closed} == {"base"}
    # What is said live is what is cached, but for rounding.
    rows = {int(line.split(",")[0]): float(line.rsplit(",", 1)[1]) for line in lines}
    for each in closed:
        if each.complete:
            assert each.volume == pytest.approx(rows[each.timestamp], abs=1e-7)
    if own:
        # The first minute, and those before the first trade, of which the close before is not known.
        first = min(each.timestamp for each in closed)
        assert all(until <= first + MINUTE for _, until in asked)


GRANULARITIES = {"ONE_MINUTE": 60, "FIVE_MINUTE": 300, "FIFTEEN_MINUTE": 900, "THIRTY_MINUTE": 1800, "ONE_HOUR": 3600,
                 "TWO_HOUR": 7200, "SIX_HOUR": 21600, "ONE_DAY": 86400}  # fmt: skip


def standing_in(exchange: Loopback, trades: list[Trade]) -> None:
    """Coinbase's REST as its documentation has it: no candle where there was no tick, the newest first."""

    def answer(path: str, query: dict[str, str]) -> Any:
        if not path.endswith("/candles"):
            return {"data": {"iso": "", "epoch": UNTIL // 1000 + 1}}
        width = GRANULARITIES[query["granularity"]] * 1000
        rows: dict[int, list[Trade]] = {}
        for each in trades:
            opened = each.timestamp // width * width
            if int(query["start"]) * 1000 <= opened <= int(query["end"]) * 1000:
                rows.setdefault(opened, []).append(each)
        return {
            "candles": [
                {
                    "start": str(opened // 1000),
                    "low": str(min(each.price for each in inside)),
                    "high": str(max(each.price for each in inside)),
                    "open": str(inside[0].price),
                    "close": str(inside[-1].price),
                    "volume": str(sum(Decimal(str(each.amount)) for each in inside)),
                }
                for opened, inside in sorted(rows.items(), reverse=True)
            ]
        }

    exchange.answer = answer


def at_minute(minute: int, price: float, amount: float) -> Trade:
    return Trade(id=None, timestamp=START + minute * MINUTE + 5, side="buy", price=price, amount=amount)


async def test_a_file_is_the_same_from_both_sides_without_rows_if_the_exchange_has_none(tmp_path: Path) -> None:
    trades = [at_minute(*each) for each in ((-2, 9.0, 1.0), (-1, 10.0, 0.1), (-1, 11.0, 0.2), (3, 12.0, 0.3))]
    # Until the first trade nothing proves that there was none; a last one proves the end.
    trades += [at_minute(MINUTES - 1, 8.0, 0.4), at_minute(MINUTES, 8.0, 0.4)]
    key = Key("coinbase", "BTC/USD", "1m")
    listed = {"BTC/USD": market("BTC/USD", "BTC-USD")}
    async with loopback() as exchange:
        standing_in(exchange, trades)
        async with filling(tmp_path / "live", exchange.url, key, markets=listed) as live:
            closed, asked = await say(live, trades, SPOT)
        async with filling(tmp_path / "fetched", exchange.url, key, markets=listed) as fetched:
            await fetched.fetch()
            await fetched.complete()
    assert live.file() == fetched.file()
    opens = [int(line.split(",")[0]) for line in live.file().decode().splitlines()[1:]]
    assert [(each - START) // MINUTE for each in opens] == [-2, -1, 3, MINUTES - 1]
    assert [each.timestamp for each in closed if each.complete] == opens[1:]
    assert all(until <= SINCE + MINUTE for _, until in asked)


@pytest.mark.parametrize(
    ("kind", "unit", "volumes"),
    [("linear", "base", [0.0036, 0.0, 0.0007]), ("inverse", "contracts", [36.0, 0.0, 7.0])],
)
async def test_fetched_contracts_are_in_base_where_that_is_exact_else_marked_contracts(
    tmp_path: Path, kind: str, unit: str, volumes: list[float]
) -> None:
    """Gate tells futures' candles in contracts: of 0.0001 BTC, and of 1 USD."""
    settle = "USDT" if kind == "linear" else "BTC"
    quote = "USDT" if kind == "linear" else "USD"
    symbol = f"BTC/{quote}:{settle}"
    listed = market(
        f"BTC/{quote}",
        f"BTC_{quote}",
        settle=settle,
        settleId=settle.lower(),
        type="swap",
        spot=False,
        swap=True,
        contract=True,
        linear=kind == "linear",
        inverse=kind == "inverse",
        contractSize=0.0001 if kind == "linear" else 1,
    )
    listed |= {"symbol": symbol}
    key = Key("gate", symbol, "1m")
    rows = [
        {"t": (SINCE + place * MINUTE) // 1000, "o": "9", "h": "9", "l": "9", "c": "9", "v": contracts, "sum": "1"}
        for place, contracts in enumerate((36, 0, 7, 1))
    ]

    def answer(path: str, query: dict[str, str]) -> Any:
        return rows if path.endswith("/candlesticks") else {"server_time": UNTIL}

    async with loopback() as exchange:
        exchange.answer = answer
        async with filling(tmp_path, exchange.url, key, markets={symbol: listed}) as filled:
            await filled.fetch()
            async with asyncio.timeout(100):
                while (await filled.covered()).rows < len(rows):
                    await asyncio.sleep(0.05)
            assert (await filled.covered()).volume_unit == unit
    found = [float(line.rsplit(",", 1)[1]) for line in filled.file().decode().splitlines()[1:]]
    assert found[:3] == volumes
