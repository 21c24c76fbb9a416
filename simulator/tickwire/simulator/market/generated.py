"""The trades of a generated market: a pure function of seed, symbol and time.

Time is cut into blocks, each with a fixed number of trades, so that ids are consecutive and the trades of any
moment, past or future, are computed without those before it. Prices are a fractal value noise of time. Prices
and amounts are integers in units of 10**-decimals; nothing here is rounded twice.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Self

import numpy as np
import numpy.typing as npt

from tickwire.simulator.config import SymbolConfig

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MINUTE_MS = 60_000
_CHUNK_TRADES = 20_000
_CHUNK_MS = 40 * 86_400_000
"""The price noise is computed for the whole time of a chunk."""
_CHUNKS_KEPT = 64

# Octaves of the price noise: period (ms) and amplitude, which grows with the square root of the period as a random
# walk's does: 2 % in a day. Four seconds to two years.
_OCTAVES = tuple((4_000 * 4**k, 0.02 * math.sqrt(4_000 * 4**k / 86_400_000)) for k in range(13))


@dataclass(frozen=True, slots=True)
class Units:
    """The decimals of prices and amounts, and their steps in units of 10**-decimals."""

    price_decimals: int
    price_step: int
    amount_decimals: int
    amount_step: int

    @classmethod
    def of(cls, tick: str, lot: str) -> Units:
        """Make units from steps given as decimal texts."""
        return cls(*_decimals(tick), *_decimals(lot))


def _decimals(step: str) -> tuple[int, int]:
    exponent = min(0, int(Decimal(step).normalize().as_tuple().exponent))
    return -exponent, int(Decimal(step).scaleb(-exponent))


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of equal length, of which a slice is taken from all at once."""

    id: Ints

    def __len__(self) -> int:
        return len(self.id)

    def __getitem__(self, part: slice) -> Self:
        return type(self)(*(getattr(self, each.name)[part] for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Trades(Columns):
    """Columns of consecutive trades, ordered by id, hence by timestamp (ms).

    `agg` is the id of the aggregate trade of each; `sell` is true where the taker sold.
    """

    agg: Ints
    timestamp: Ints
    price: Ints
    amount: Ints
    sell: npt.NDArray[np.bool_]


def joined(parts: list[Trades]) -> Trades:
    """Concatenate consecutive parts."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.empty(0, np.int64)
        return Trades(empty, empty, empty, empty, empty, np.empty(0, np.bool_))
    return Trades(
        np.concatenate([part.id for part in parts]),
        np.concatenate([part.agg for part in parts]),
        np.concatenate([part.timestamp for part in parts]),
        np.concatenate([part.price for part in parts]),
        np.concatenate([part.amount for part in parts]),
        np.concatenate([part.sell for part in parts]),
    )


def key_of(seed: int, *names: str) -> int:
    """Return a 64-bit key for a stream of random numbers."""
    return int.from_bytes(hashlib.blake2b(repr((seed, *names)).encode(), digest_size=8).digest())


def uniform(key: int, index: Ints) -> Floats:
    """Return a number in [0, 1) for each index: splitmix64 (Steele, Lea, Flood 2014) of the index under the key."""
    x = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(key)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-53


def noise(key: int, timestamp: Ints) -> Floats:
    """Return the logarithm of price / base price at sorted times (ms)."""
    total = np.zeros(len(timestamp))
    first, last = int(timestamp[0]), int(timestamp[-1])
    for octave, (period, amplitude) in enumerate(_OCTAVES):
        origin = first // period
        lattice = uniform(key ^ octave, np.arange(origin, last // period + 3, dtype=np.int64))
        lattice = (lattice * 2 - 1) * amplitude
        x = (timestamp - origin * period) * (1.0 / period)
        left, rise = lattice[0], lattice[1] - lattice[0]
        if len(lattice) > 3:
            cell = x.astype(np.int64)
            x -= cell
            left, rise = lattice[cell], np.diff(lattice)[cell]
        # left + rise * (x * x * (3 - 2 * x)), in place: half of the time.
        smooth = x * -2
        smooth += 3
        x *= x
        x *= smooth
        x *= rise
        x += left
        total += x
    return total


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time with one rate: blocks of `block_ms` from `origin` on, `per_block` trades in each.

    A burst is one block: its trades come at even intervals, from alternating sides, and aggregate with no other.
    """

    origin: int
    block_ms: int
    per_block: int
    first_id: int
    first_agg: int
    end: int | None = None
    burst: bool = False

    @property
    def aggregates(self) -> int:
        """Aggregate trades in a block: of every three trades the last two are one, but for bursts."""
        return self.per_block if self.burst else self.per_block - self.per_block // 3


def _block(rate: float) -> tuple[int, int]:
    """Return (block_ms, trades in it) for a rate in trades per second; exact for whole rates."""
    if rate >= 1:
        return 1_000, round(rate)
    return round(1_000 / rate), 1


class GeneratedTrades:
    """The trades of one generated market. Rates may change, but only ahead of the clock."""

    def __init__(self, seed: int, spec: SymbolConfig, listed: int, history_rate: int) -> None:
        self.units = Units.of(spec.tick, spec.lot)
        self._keys = {name: key_of(seed, spec.symbol, name) for name in ("time", "price", "side", "amount")}
        self._spec = spec
        # Amounts are drawn in lots.
        self._mean_lots = spec.amount / float(Decimal(spec.lot))
        self._chunks: OrderedDict[tuple[int, int], Trades] = OrderedDict()
        self.first_time = listed // MINUTE_MS * MINUTE_MS
        self.first_id = 1
        self.segments = [Segment(self.first_time, MINUTE_MS, history_rate, 1, 1)]
        if spec.quiet is not None:
            since, until = max(spec.quiet[0], self.first_time), max(spec.quiet[1], self.first_time + 1)
            self._follow(Segment(since, until - since, 1, 0, 0))
            self._follow(Segment(until, MINUTE_MS, history_rate, 0, 0))

    def set_rate(self, rate: float, since: int) -> int:
        """Trade at `rate` per second from the first block that opens at or after `since`; return that time (ms)."""
        last = self.segments[-1]
        blocks = max(0, -((last.origin - since) // last.block_ms))
        origin = last.origin + blocks * last.block_ms
        block_ms, per_block = _block(rate)
        following = Segment(
            origin,
            block_ms,
            per_block,
            last.first_id + blocks * last.per_block,
            last.first_agg + blocks * last.aggregates,
        )
        self.segments[-1:] = [replace(last, end=origin), following] if blocks else [following]
        if not blocks:
            self._chunks.clear()
        return origin

    def burst(self, count: int, ms: int, since: int) -> Trades:
        """Trade `count` times within `ms` from `since` on, or from the end of an earlier burst; return those trades.

        They replace all other trades of that time; later trades keep their rate.
        """
        since = max([since, *(each.end for each in self.segments if each.burst and each.end is not None)])
        number = max(0, bisect_right(self.segments, since, key=lambda each: each.origin) - 1)
        rest = self.segments[number:]
        self.segments[number:] = [replace(rest[0], end=None)]
        self._chunks.clear()
        self._follow(Segment(since, ms, count, 0, 0, burst=True))
        for each in rest:
            if each.end is None or each.end > since + ms:
                self._follow(replace(each, origin=max(each.origin, since + ms), end=None))
        return self.between(since, since + ms)

    def _follow(self, following: Segment) -> None:
        """End the last segment where this one begins, and give this one the ids that follow."""
        last = self.segments[-1]
        first = self.id_at(following.origin)
        before = self.by_id(first - 1, first)
        agg = int(before.agg[0]) + 1 if len(before) else 1
        following = replace(following, first_id=first, first_agg=agg)
        ended = [replace(last, end=following.origin)] if last.origin < following.origin else []
        self.segments[-1:] = [*ended, following]
        if not ended:
            self._chunks.clear()

    def id_at(self, timestamp: int) -> int:
        """Return the id of the first trade at or after `timestamp` (ms)."""
        number = max(0, bisect_right(self.segments, timestamp, key=lambda each: each.origin) - 1)
        segment = self.segments[number]
        block = max(0, timestamp - segment.origin) // segment.block_ms
        chunk, blocks = self._chunk_of(segment, block)
        trades = self._chunk(number, chunk)
        first = segment.first_id + chunk * blocks * segment.per_block
        return first + int(np.searchsorted(trades.timestamp, timestamp))

    def by_id(self, first: int, end: int) -> Trades:
        """Return trades with ids in `[first, end)`."""
        parts = []
        first = max(first, 1)
        number = bisect_right(self.segments, first, key=lambda each: each.first_id) - 1
        while first < end:
            segment = self.segments[number]
            limit = end if number + 1 == len(self.segments) else min(end, self.segments[number + 1].first_id)
            while first < limit:
                chunk, blocks = self._chunk_of(segment, (first - segment.first_id) // segment.per_block)
                start = segment.first_id + chunk * blocks * segment.per_block
                part = self._chunk(number, chunk)[first - start : limit - start]
                parts.append(part)
                first += len(part)
            number += 1
        return joined(parts)

    def between(self, since: int, until: int) -> Trades:
        """Return trades in `[since, until)` (ms)."""
        return self.by_id(self.id_at(since), self.id_at(until)) if since < until else joined([])

    def id_of_aggregate(self, agg: int) -> int:
        """Return the id of the first trade in an aggregate trade."""
        segment = self.segments[max(0, bisect_right(self.segments, agg, key=lambda each: each.first_agg) - 1)]
        block, place = divmod(max(agg, 1) - segment.first_agg, segment.aggregates)
        return segment.first_id + block * segment.per_block + place + (0 if segment.burst else place // 2)

    def _chunk_of(self, segment: Segment, block: int) -> tuple[int, int]:
        blocks = max(1, min(_CHUNK_TRADES // segment.per_block, _CHUNK_MS // segment.block_ms))
        return block // blocks, blocks

    def _chunk(self, number: int, chunk: int) -> Trades:
        kept = self._chunks.get((number, chunk))
        if kept is None:
            kept = self._chunks[number, chunk] = self._generate(self.segments[number], chunk)
            if len(self._chunks) > _CHUNKS_KEPT:
                self._chunks.popitem(last=False)
        else:
            self._chunks.move_to_end((number, chunk))
        return kept

    def _generate(self, segment: Segment, chunk: int) -> Trades:
        n = segment.per_block
        _, blocks = self._chunk_of(segment, 0)
        block = np.arange(chunk * blocks, (chunk + 1) * blocks, dtype=np.int64)
        place = np.arange(n, dtype=np.int64)
        id_ = (segment.first_id + block[:, None] * n + place).ravel()
        agg = segment.first_agg + block[:, None] * segment.aggregates + place
        if segment.burst:
            offset = np.broadcast_to(place * segment.block_ms // n, agg.shape)
            sell = (id_ % 2 == 1).reshape(-1, n)
        else:
            agg -= (place + 1) // 3
            offset = np.sort((uniform(self._keys["time"], id_) * segment.block_ms).astype(np.int64).reshape(-1, n))
            sell = (uniform(self._keys["side"], id_) < 0.5).reshape(-1, n)
            second, third = slice(1, n - 1, 3), slice(2, n, 3)
            offset[:, third] = offset[:, second]
            sell[:, third] = sell[:, second]
        timestamp = (segment.origin + block[:, None] * segment.block_ms + offset).ravel()
        units = self.units
        middle = self._spec.price * np.exp(noise(self._keys["price"], timestamp))
        steps = np.rint(middle * (10**units.price_decimals / units.price_step)).astype(np.int64)
        # A buying taker pays the ask, one step above the bid.
        price = (np.maximum(steps, 1) + ~sell.ravel()) * units.price_step
        lots = -np.log1p(-uniform(self._keys["amount"], id_)) * self._mean_lots
        amount = (1 + lots.astype(np.int64)) * units.amount_step
        return Trades(id_, agg.ravel(), timestamp, price, amount, sell.ravel())
