"""One measurement of a process that takes frames and publishes: a burst, or a steady rate.

The functions `of_…` give the numbers of the trades or changes that a message has.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from streamed.harness import Sent, Venue, cpu_ns, latencies_ms, percentile
from tickwire.bus.connection import Bus


class _Item(Struct):
    id: str


class _Trades(Struct):
    symbol: str
    trades: list[_Item]


class _Delta(Struct):
    last: int


class _Deltas(Struct):
    deltas: list[_Delta]


_trades, _deltas = msgspec.json.Decoder(_Trades).decode, msgspec.json.Decoder(_Deltas).decode


def of_trades(data: bytes) -> list[int]:
    """Return the numbers of a message of `md.trade`."""
    return [int(trade.id) for trade in _trades(data).trades]


def of_deltas(data: bytes) -> list[int]:
    """Return the numbers of a message of `md.book_delta`."""
    return [delta.last for delta in _deltas(data).deltas]


def of_plain_trade(data: bytes) -> list[int]:
    """Return the number of a trade of the plain loop."""
    return [int(json.loads(data)["id"])]


def of_plain_book(data: bytes) -> list[int]:
    """Return the number of the last change in a book of the plain loop."""
    return [json.loads(data)["sequence"]]


def named_trades(data: bytes) -> tuple[str, list[int]]:
    """Return the symbol and the numbers of a message of `md.trade`."""
    message = _trades(data)
    return message.symbol, [int(trade.id) for trade in message.trades]


def named_plain_trade(data: bytes) -> tuple[str, list[int]]:
    """Return the symbol and the number of a trade of the plain loop."""
    trade = json.loads(data)
    return trade["symbol"], [int(trade["id"])]


class Follower(Protocol):
    """Receives what a process publishes."""

    async def clear(self) -> None:
        """Forget earlier items."""

    async def until(self, kind: str, last: int) -> None:
        """Wait until the item with this number arrives, or no more arrive."""

    async def got(self) -> tuple[list[tuple[int, int]], int]:
        """Return the numbers of the items with their times of arrival (monotonic ns), and the number of messages."""


@dataclass(frozen=True)
class Subject:
    """A measured process, on a venue of its own, and the follower of its items."""

    name: str
    pid: int
    venue: Venue
    follower: Follower
    broker: int | None = None
    """Process id of its broker, where that is nats-server."""
    bus: Bus | None = None
    """A connection to its broker."""
    log: Path = Path(os.devnull)


@dataclass(frozen=True)
class Result:
    """One measurement. `delivered` counts different numbers; `in_order`: whether each arrived once, in order."""

    sent: int
    delivered: int
    late: int
    """How many arrived only after one more item was sent."""
    in_order: bool
    messages: int
    cpu_us: float
    """CPU of the process for each sent item."""
    broker_us: float
    """CPU of its broker for each sent item; NaN where that is not nats-server."""
    wall_us: float
    """Time from the first write to the last arrival, for each sent item."""
    p50_ms: float
    p99_ms: float
    cpu_share: float
    """Share of one core during the measurement."""


def broker_ns(subject: Subject) -> float:
    """Return the CPU time that the broker of a process has used; NaN where that is not nats-server."""
    return float("nan") if subject.broker is None else cpu_ns(subject.broker)


async def measured(subject: Subject, kind: str, count: int, rate: float | None) -> Result:
    """Send frames, and measure until the consumer has the items."""
    follower = subject.follower
    await follower.clear()
    before, broker = cpu_ns(subject.pid), broker_ns(subject)
    sent = await subject.venue.send(kind, count, rate)
    last = sent.last[0]
    await follower.until(kind, last)
    cpu, broker = cpu_ns(subject.pid) - before, broker_ns(subject) - broker
    got, messages = await follower.got()
    got = [(number, at) for number, at in got if number >= sent.first]
    ended = max((at for _, at in got), default=sent.began_ns)
    took_ns = max(1, ended - sent.began_ns)
    latency = latencies_ms(sent.sent, got)
    # A loop may hold things back until something else comes.
    await follower.clear()
    extra = await subject.venue.send(kind, 1)
    await follower.until(kind, extra.last[0])
    late = [number for number, _ in (await follower.got())[0] if sent.first <= number <= last]
    return Result(
        sent=sent.count,
        delivered=len({number for number, _ in got}),
        late=len(set(late)),
        in_order=[number for number, _ in got] == list(range(sent.first, last + 1)),
        messages=messages,
        cpu_us=cpu / 1e3 / sent.count,
        broker_us=broker / 1e3 / sent.count,
        wall_us=took_ns / 1e3 / sent.count,
        p50_ms=percentile(latency, 0.5),
        p99_ms=percentile(latency, 0.99),
        cpu_share=cpu / took_ns,
    )


def of_many(
    sent: Sent,
    names: Sequence[str],
    arrived: Sequence[tuple[int, bytes]],
    parse: Callable[[bytes], tuple[str, list[int]]],
) -> dict[tuple[str, int], float]:
    """Return milliseconds from write to arrival by symbol and number; items of the symbols were sent in turns."""
    each = sent.count // len(names)
    place = {f"{name}/USDT": (index, sent.last[index] - each + 1) for index, name in enumerate(names)}
    starts = [0, *accumulate(count for _, count, _ in sent.sent)]
    found = {}
    for at, data in arrived:
        symbol, numbers = parse(data)
        index, first = place[symbol]
        for number in numbers:
            if number >= first:
                written = sent.sent[bisect_right(starts, (number - first) * len(names) + index) - 1][2]
                found[symbol, number] = (at - written) / 1e6
    return found
