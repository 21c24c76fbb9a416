"""What the commands' tables show, of fixed data, at a width."""

from __future__ import annotations

import asyncio
import io
from array import array
from collections.abc import AsyncGenerator, Callable

from rich.console import Console, RenderableType

from cli.feed_messages import NOON
from tickwire.cli.candles import writers
from tickwire.cli.output import tables
from tickwire.cli.status import view as status_view
from tickwire.cli.status.view import Size
from tickwire.client.survey import LeaseStatus, ServiceStatus, Status, StreamStatus
from tickwire.model.feeds import FeedReport
from tickwire.model.messages import CandleColumns, Coverage, ErrorReply, Job
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WIDTHS = (80, 100, 160)
KEYS = [
    Key("binance", "BTC/USDT", "1m"),
    Key("binance", "ETH/USDT", "1h"),
    Key("binanceus", "SOL/USDT", "5m"),
    Key("krakenfutures", "BTC/USD:BTC-260327", "15m"),
]

FEEDS = [
    FeedReport(
        kind="trade",
        exchange="binance",
        symbol="BTC/USDT",
        state="live",
        owner="streamer-3fa2c1",
        subscribers=2,
        items=46_712_345,
        messages=1_204_881,
        last_message=NOON - 300,
        reconnects=3,
        repaired=1_557,
    ),
    FeedReport(
        kind="candle",
        exchange="krakenfutures",
        symbol="BTC/USD:BTC-260327",
        timeframe="15m",
        state="disconnected",
        owner="streamer-9b07de",
        subscribers=1,
        items=812,
        messages=640,
        last_message=NOON - 95_000,
        gaps=1,
    ),
]
FAILED = FeedReport(
    kind="book",
    exchange="okx",
    symbol="ETH/USDT:USDT",
    state="failed",
    owner="streamer-3fa2c1",
    subscribers=1,
    reason="the exchange refused the subscription: channel books does not exist",
)
JOBS = [
    Job(
        id="5f0c2a9d13e4b786",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="1m",
        state="running",
        since=NOON - 30 * DAY,
        until=NOON,
        rows_fetched=31_000,
        retries=12,
        instance="fetcher-77ab12",
    ),
    Job(
        id="0a1b2c3d4e5f6071",
        exchange="krakenfutures",
        symbol="BTC/USD:BTC-260327",
        timeframe="15m",
        state="queued",
        since=NOON - 30 * DAY,
        until=NOON,
    ),
    Job(
        id="ffee00112233aabb",
        exchange="okx",
        symbol="ETH/USDT",
        timeframe="1h",
        state="failed",
        since=NOON - 30 * DAY,
        until=NOON,
        rows_from_cache=46_720,
        error=ErrorReply(code="exchange_failed", message="okx does not answer: 503 Service Unavailable"),
        missing=[Range(NOON - 3 * DAY, NOON - 2 * DAY)],
        instance="fetcher-77ab12",
    ),
]
SERVICES = ("cache", "fetcher", "streamer", "sink")
STREAMS = {"TRADES": 14_204_881, "BOOKS": 12, "OHLCV": 31_000, "JOBS": 2, "JOB_RESULTS": 17, "STATUS": 240}


def coverage() -> RenderableType:
    """`candles list`, and the demo's."""
    rows = (46_720, 8_760, 8_640, 1_234_567)
    found = [
        Coverage(
            **key._asdict(),
            rows=count,
            first=NOON - 40 * DAY,
            last=NOON - MINUTE,
            holes=place,
            bytes=count * 60,
            volume_unit="contracts" if ":" in key.symbol else "base",
        )
        for place, (key, count) in enumerate(zip(KEYS, rows, strict=True))
    ]
    return tables.coverage_table(found, "Cached")


def status(width: int | None = None) -> RenderableType:
    """`status`; with a width, as `--watch` shows it on a terminal of 50 lines."""
    leases = [
        *(LeaseStatus(service="cache", lease=str(each), holder="cache-1c55f0", since=NOON - HOUR) for each in range(8)),
        LeaseStatus(service="fetcher", lease="binance", holder="fetcher-77ab12", since=NOON - HOUR),
        *(
            LeaseStatus(service="streamer", lease=f"slot.{each}", holder="streamer-3fa2c1", since=NOON - HOUR)
            for each in range(8)
        ),
    ]
    instances = dict(zip(SERVICES, ("cache-1c55f0", "fetcher-77ab12", "streamer-3fa2c1", "sink-000001"), strict=True))
    found = Status(
        nats_url="nats://127.0.0.1:4222",
        at=NOON,
        services=[
            ServiceStatus(
                service=name, instance=each, version="0.1", started="2026-01-01T11:00:00Z", requests=1_204, errors=3
            )
            for name, each in instances.items()
        ],
        leases=leases,
        streams=[StreamStatus(stream=name, messages=count, bytes=count * 210) for name, count in STREAMS.items()],
        jobs_waiting=2,
        jobs=JOBS[:2],
        feeds=[*FEEDS, FAILED],
        keys=4,
        rows=1_298_687,
    )
    return status_view.draw(found, NOON, size=None if width is None else Size(width, 50))


def columns(count: int, price: float) -> CandleColumns:
    """Candles of the last minutes."""
    dates = array("q", [NOON - (count - place) * MINUTE for place in range(count)]).tobytes()
    values = [array("d", [price + place + shift for place in range(count)]).tobytes() for shift in (0, 2.5, -3.25, 1)]
    volumes = array("d", [0.00012345 * 10**place for place in range(count)]).tobytes()
    opens, highs, lows, closes = values
    return CandleColumns(
        **KEYS[0]._asdict(),
        count=count,
        dates=dates,
        opens=opens,
        highs=highs,
        lows=lows,
        closes=closes,
        volumes=volumes,
    )


class _Drawn:
    """`candles get`, which prints by itself."""

    def __init__(self, keys: list[Key]) -> None:
        self._keys = keys

    def at(self, width: int) -> str:
        """What it prints at a width."""

        async def rows() -> AsyncGenerator[tuple[Key, CandleColumns], None]:
            for each in self._keys:
                yield each, columns(4, 91_234.5 if each.symbol.startswith("BTC") else 0.0000123)

        console = _console(width)
        asyncio.run(writers.print_table(rows(), console, with_keys=len(self._keys) > 1))
        return _text(console)


def _console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


WATCHED = "status-watch"
PICTURES: dict[str, Callable[[], RenderableType | _Drawn]] = {
    "candles-list": coverage,
    "fetched": lambda: tables.fetched_table(JOBS),
    "jobs": lambda: tables.jobs_table(JOBS),
    "ps": lambda: tables.feed_table(FEEDS, NOON),
    "ps-failed": lambda: tables.feed_table([*FEEDS, FAILED], NOON, {FEEDS[0].feed: 1_234.5}),
    "started": lambda: tables.started_table(FEEDS),
    "status": status,
    WATCHED: status,
    "candles-get": lambda: _Drawn(KEYS[:1]),
    "candles-get-keys": lambda: _Drawn([KEYS[0], KEYS[2]]),
}


def drawn(name: str, width: int) -> str:
    """A picture as text."""
    picture = status(width) if name == WATCHED else PICTURES[name]()
    if isinstance(picture, _Drawn):
        return picture.at(width)
    console = _console(width)
    console.print(picture)
    return _text(console)
