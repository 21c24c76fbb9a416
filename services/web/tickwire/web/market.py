"""The view of a market: chart, tape and book, made of messages. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

from msgspec import UNSET, Struct

from tickwire.model.feeds import BOOK_VALID_S, Book, Candle, FeedReport, Trades
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, subtract
from tickwire.model.timeframes import duration_ms

TRADES = 50
"""Trades that are shown."""
LEVELS = 15
"""Levels of each side of the book that are shown as numbers."""
DEPTH = 200
"""Levels of each side that are drawn."""
MISSED = "trades are missing: they were no longer on the tape when it was read"


class TapeRow(Struct, frozen=True, kw_only=True):
    """A trade; where `gap` is not empty, missing ones. `repaired`: it was fetched after an interruption."""

    timestamp: int | None
    id: str | None = None
    side: str | None = None
    price: float | None = None
    amount: float | None = None
    repaired: bool = False
    gap: str = ""


class LadderRow(Struct, frozen=True, kw_only=True):
    """A level of the book: `total` is the amount up to it, `share` that as a part of the largest total shown."""

    price: float
    amount: float
    total: float
    share: float


class Depth(Struct, frozen=True):
    """For each side, from the best level on: prices, each with the amount up to and with it."""

    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class Ladder(Struct, frozen=True, kw_only=True):
    """A book: asks from the dearest to the best, bids from the best on. If it is not `live`, `why` says so."""

    asks: list[LadderRow]
    bids: list[LadderRow]
    live: bool
    why: str = ""
    timestamp: int | None = None
    depth: Depth | None = None


class Chart(Struct, frozen=True, kw_only=True):
    """Columns of candles by their opening times (ms); the last one may be `open`. `gaps` are not known."""

    times: list[int]
    opens: list[float]
    highs: list[float]
    lows: list[float]
    closes: list[float]
    volumes: list[float]
    gaps: list[Range]
    is_open: bool = False
    incomplete: list[int] = []
    """Opening times of live candles whose interval was not wholly observed."""


def chart(timeframe: str, rows: Sequence[Row], missing: Sequence[Range], live: Sequence[Candle]) -> Chart:
    """Cached candles with the live ones that the cache does not have yet; these are not missing."""
    found = {row[0]: row for row in rows}
    newest = max(found, default=-1)
    later = sorted((each for each in live if each.timestamp > newest), key=lambda candle: candle.timestamp)
    for each in later:
        found[each.timestamp] = (each.timestamp, each.open, each.high, each.low, each.close, each.volume)
    columns = list(zip(*(found[at] for at in sorted(found)), strict=True)) or [()] * 6
    length = duration_ms(timeframe)
    seen = [Range(each.timestamp, each.timestamp + length) for each in later]
    return Chart(
        times=[int(at) for at in columns[0]],
        opens=list(columns[1]),
        highs=list(columns[2]),
        lows=list(columns[3]),
        closes=list(columns[4]),
        volumes=list(columns[5]),
        gaps=[part for each in missing for part in subtract(each, seen)],
        is_open=bool(later) and not later[-1].closed,
        incomplete=[each.timestamp for each in later if not each.complete],
    )


class LiveCandles:
    """The newest candles of a feed, by their opening times."""

    def __init__(self, most: int = 10) -> None:
        self._found: dict[int, Candle] = {}
        self._most = most

    def take(self, candle: Candle) -> None:
        """Note a message."""
        self._found[candle.timestamp] = candle
        for at in sorted(self._found)[: -self._most]:
            del self._found[at]

    @property
    def newest(self) -> list[Candle]:
        """The candles, the oldest first."""
        return [self._found[at] for at in sorted(self._found)]


class Tape:
    """The newest trades of a feed."""

    def __init__(self) -> None:
        self._rows: deque[TapeRow] = deque(maxlen=TRADES)
        self._missed = False
        self.unit = ""
        """Of the amounts, in words; empty where it is the base currency."""

    def missed(self) -> None:
        """Messages before the next one are no longer stored."""
        self._missed = True

    def take(self, message: Trades) -> None:
        """Note a message."""
        self.unit = unit(message)
        if self._missed:
            self._missed = False
            first = message.trades[0].timestamp if message.trades else None
            self._rows.append(TapeRow(timestamp=first, gap=MISSED))
        if message.gap is not None:
            reason = message.gap.reason or "trades are missing"
            self._rows.append(TapeRow(timestamp=message.gap.until, gap=reason))
        for each in message.trades[-TRADES:]:
            self._rows.append(
                TapeRow(
                    timestamp=each.timestamp,
                    id=each.id,
                    side=each.side,
                    price=each.price,
                    amount=each.amount,
                    repaired=message.source == "rest",
                )
            )

    @property
    def rows(self) -> list[TapeRow]:
        """The rows, the newest first."""
        return list(reversed(self._rows))


def unit(message: Trades) -> str:
    """The unit of amounts on a contract market, in words; empty on a spot market."""
    if message.multiplier is UNSET:
        return ""
    if message.multiplier is None:
        return "contracts of an unknown size"
    base, _, quote = message.symbol.partition(":")[0].partition("/")
    return f"contracts of {message.multiplier:g} {quote if message.inverse is True else base}"


def ladder(book: Book | None, heard_s: float, report: FeedReport | None) -> Ladder:
    """A book that was heard `heard_s` seconds ago, of a feed that reports its state."""
    if report is None or book is None:
        return Ladder(asks=[], bids=[], live=False, why="the feed does not run" if report is None else "no book yet")
    why = ""
    if book.state != "live" or report.state != "live":
        why = f"the feed is {report.state}" if report.state != "live" else "the book is fetched again"
    elif heard_s > BOOK_VALID_S:
        why = f"nothing was heard of it for {heard_s:.0f} s"
    asks, bids = _levels(book.asks), _levels(book.bids)
    largest = max([each.total for each in (*asks[-1:], *bids[-1:])], default=0.0)
    scaled = [
        [
            LadderRow(
                price=each.price,
                amount=each.amount,
                total=each.total,
                share=each.total / largest if largest > 0 else 0.0,
            )
            for each in side
        ]
        for side in (asks, bids)
    ]
    return Ladder(
        asks=scaled[0][::-1], bids=scaled[1], live=not why, why=why, timestamp=book.timestamp, depth=depth(book)
    )


def depth(book: Book) -> Depth:
    """What could be traded up to each price."""
    return Depth(list(_totals(book.bids)), list(_totals(book.asks)))


def _totals(side: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    amounts = accumulate(amount for _, amount in side[:DEPTH])
    return zip((price for price, _ in side[:DEPTH]), amounts, strict=True)


def _levels(side: Sequence[tuple[float, float]]) -> list[LadderRow]:
    total, found = 0.0, []
    for price, amount in side[:LEVELS]:
        total += amount
        found.append(LadderRow(price=price, amount=amount, total=total, share=0.0))
    return found
