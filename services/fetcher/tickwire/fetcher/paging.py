"""Which request comes next, and what its answer proves. No I/O.

The one rule: a range is complete when a candle that opens later proves it. Exchanges answer in ascending order from
`since`, so rows prove everything from the place asked up to the end of the last row; whatever is absent between was
not traded. An empty answer proves nothing, however often it is given: it may be a fault, a maintenance, or a window
that ended before the next candle. A range that cannot be proven ends as missing, and is never looped over.

Where the key's own candles give nothing, candles of larger timeframes are asked, from the largest down: the first of
them that opens after the place asked proves that nothing was traded before it opened. That is how the listing date is
found, and how a hole longer than an exchange's window is crossed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from tickwire import timeframes
from tickwire.messages import Row, VolumeUnit
from tickwire.ranges import Range, subtract

LADDER = ("1M", "1w", "1d", "1h", "15m")
"""Timeframes worth asking for the next trade, the largest first."""
MAX_STRIDES = 24
"""How many windows in a row are looked into, where exchanges answer window by window, before a range ends."""
MAX_OVERLAPS = 2
"""How often a lone candle after a gap is checked."""


class BadRows(ValueError):
    """An answer that cannot be candles of this timeframe: ask again."""


@dataclass(frozen=True)
class Venue:
    """How an exchange pages candles.

    `limit` is the largest page. `windowed`: the answer ends `limit` candles after `since`, whatever is in it.
    `recent_only`: whatever `since` is, there is nothing older than `limit` candles before now.
    """

    limit: int
    timeframes: frozenset[str] = frozenset()
    windowed: bool = False
    recent_only: bool = False

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise ValueError("a page has at least two candles")


@dataclass(frozen=True)
class Ask:
    """A request for at most `limit` candles of `timeframe` that open at or after `since` (ms; None: the newest)."""

    timeframe: str
    since: int | None
    limit: int


@dataclass(frozen=True)
class Proven:
    """`rows` are all candles that open in `[since, until)`; `volume_unit` is what their volumes count, once known."""

    since: int
    until: int
    rows: list[Row]
    volume_unit: VolumeUnit | None = None


class _Mode(Enum):
    PAGE = auto()
    AGAIN = auto()
    LADDER = auto()
    NEWEST = auto()
    CONFIRM = auto()
    OVERLAP = auto()
    STRIDE = auto()
    STRIDE_AGAIN = auto()
    END = auto()


class Pager:
    """Fetches one missing range `[since, until)`, both of them opens; `until` is no later than the open candle.

    `closed`: where the open candle opens. None where that is unknown: then the newest candle of an answer is not
    closed, and the range ends with the one before it.

    Ask the exchange `ask`, hand the answer to `take`, publish what it proves; until `ask` is None.
    `missing` is what is left.
    """

    def __init__(self, timeframe: str, wanted: Range, closed: int | None, venue: Venue) -> None:
        self._timeframe = timeframe
        self._wanted = wanted
        self._closed = closed
        self._venue = venue
        self._mode = _Mode.PAGE if wanted.since < wanted.until else _Mode.END
        self._at = wanted.since
        self._full = False
        self.newest: int | None = None
        """Where the newest candle opens that was answered, closed or not."""
        self._proven: list[Range] = []
        length = timeframes.duration_ms(timeframe)
        self._ladder = [rung for rung in LADDER if rung in venue.timeframes and timeframes.duration_ms(rung) > length]
        self._rung = 0
        self._climbed_at: int | None = None
        self._newest = 0
        self._exists_at: int | None = None
        self._hint: int | None = None
        self._hint_from = 0
        self._contained = False
        self._strides = 0
        self._stride_at = 0
        self._stride_rung = 0
        self._overlaps = 0
        self._lone = 0

    @property
    def missing(self) -> list[Range]:
        """What is not proven yet."""
        return subtract(self._wanted, self._proven)

    @property
    def ask(self) -> Ask | None:
        """The next request; None when the range has ended."""
        limit = self._venue.limit
        match self._mode:
            case _Mode.END:
                return None
            case _Mode.PAGE | _Mode.AGAIN:
                # One more than is needed: a candle beyond the end proves a hole before it. After a page that
                # stopped short, as far as the exchange looks.
                needed = timeframes.count(self._timeframe, self._at, self._wanted.until) + 1
                return Ask(self._timeframe, self._at, limit if self._full else min(limit, max(needed, 2)))
            case _Mode.STRIDE | _Mode.STRIDE_AGAIN:
                rung = self._stride_timeframe
                return Ask(rung, timeframes.open_of(rung, self._stride_at), limit)
            case _Mode.OVERLAP:
                gap = timeframes.count(self._timeframe, self._at, self._lone) + 1
                back = limit - gap if gap < limit and self._venue.windowed else limit // 2
                return Ask(self._timeframe, timeframes.advance(self._timeframe, self._at, -back), limit)
            case _Mode.LADDER:
                # From one candle earlier: exchanges open days, weeks and months at midnights of their own, and the
                # candle that this place falls into must be among the answer.
                rung = self._ladder[self._rung]
                floor = timeframes.open_of(rung, self._climbing_at)
                return Ask(rung, timeframes.advance(rung, floor, -1), limit)
            case _Mode.NEWEST:
                return Ask(self._ladder[self._rung], None, limit)
            case _Mode.CONFIRM:
                rung = self._ladder[self._rung]
                floor = timeframes.open_of(rung, self._at)
                return Ask(rung, max(floor, timeframes.advance(rung, self._newest, 1 - limit)), limit)

    def take(self, answer: object) -> Proven | None:
        """Take in the answer to `ask`; what it proves beyond what was proven before.

        Raises BadRows when it cannot be right; `ask` then stays as it is.
        """
        ask = self.ask
        assert ask is not None
        match self._mode:
            case _Mode.PAGE | _Mode.AGAIN:
                return self._page(ask, checked(answer, self._timeframe))
            case _Mode.OVERLAP:
                return self._overlapped(ask, checked(answer, self._timeframe))
            case _Mode.STRIDE | _Mode.STRIDE_AGAIN if ask.timeframe == self._timeframe:
                return self._page(ask, checked(answer, self._timeframe))
            case _Mode.STRIDE | _Mode.STRIDE_AGAIN:
                return self._strode(ask, opens(answer))
            case _:
                return self._climb(ask, opens(answer))

    # -- pages of the key's own timeframe -------------------------------------------------------------------------

    def _page(self, ask: Ask, rows: list[Row]) -> Proven | None:
        assert ask.since is not None
        asked = ask.since
        later = [row for row in rows if row[0] >= asked]
        if later:
            self.newest = max(later[-1][0], self.newest or 0)
        if not later:
            self._nothing_new()
            return None
        if self._hint is not None and asked > self._at:
            if later[0][0] <= self._hint - timeframes.duration_ms(self._timeframe) or len(later) == 1:
                self._hint = None
                self._give_up_here()
                return None
            self._hint = None
        since = self._at
        if self._starts_late(ask, later):
            # It may be only what the exchange still has: the gap before it is for the ladder to prove.
            if self._climbed_at != self._at:
                self._exists_at = later[0][0]
                self._start_climb()
                return None
            since = min(later[0][0], self._wanted.until)
        elif len(later) == 1 and later[0][0] > self._at:
            # A lone candle after a gap is what an exchange answers that repeats its last one.
            self._lone, self._mode = later[0][0], _Mode.OVERLAP
            return None
        if self._closed is None and later[-1][0] <= since:
            # The newest there is, as far as this answer tells.
            if self._mode is _Mode.PAGE:
                self._mode, self._full = _Mode.AGAIN, True
            else:
                self._give_up_here()
            return None
        self._full = len(rows) < ask.limit
        return self._accept(since, later)

    def _overlapped(self, ask: Ask, rows: list[Row]) -> Proven | None:
        """A candle from before the gap, in the same answer, proves the gap."""
        assert ask.since is not None
        asked = ask.since
        earlier = [row for row in rows if asked <= row[0] < self._at]
        later = [row for row in rows if row[0] >= self._at]
        self._full = True
        if later and (earlier or len(later) > 1):
            return self._accept(self._at, later)
        self._overlaps += 1
        if self._overlaps < MAX_OVERLAPS:
            return None
        # What opens at the lone candle may be asked for; the gap before it stays unproven.
        lone = min(self._lone, self._wanted.until)
        return self._accept(lone, [row for row in later if row[0] == lone]) if later else self._advance(lone, lone, [])

    def _accept(self, since: int, later: list[Row]) -> Proven | None:
        """The candles in `later` are all that open from `since` to the last of them."""
        end = since
        if later:
            last = later[-1][0]
            ended = last if self._closed is None else timeframes.next_open(self._timeframe, last)
            end = min(ended, self._wanted.until)
        return self._advance(since, end, [row for row in later if row[0] < end])

    def _starts_late(self, ask: Ask, later: Sequence[Row]) -> bool:
        """Whether an answer looks like the newest candles whatever was asked.

        Kraken's does (the newest 720, measured on ccxt 4.5.90). An unknown exchange that does the same is
        caught by its full page, which ends at the newest candle after a gap longer than a page.
        """
        first, limit = later[0][0], self._venue.limit
        if timeframes.count(self._timeframe, self._at, first) == 0:
            return False
        if self._venue.recent_only:
            return self._closed is None or timeframes.count(self._timeframe, self._at, self._closed) >= limit
        return (
            len(later) >= ask.limit
            and (self._closed is None or later[-1][0] >= timeframes.advance(self._timeframe, self._closed, -1))
            and timeframes.count(self._timeframe, self._at, first) > limit
        )

    def _advance(self, since: int, end: int, page: list[Row]) -> Proven | None:
        self._at = end
        self._strides = self._overlaps = 0
        self._mode = _Mode.PAGE if end < self._wanted.until else _Mode.END
        if end <= since:
            return None
        self._proven.append(Range(since, end))
        return Proven(since, end, page)

    def _nothing_new(self) -> None:
        if self._mode is _Mode.PAGE:
            # Once more: an exchange with a hiccup answers empty. And as far as it looks.
            self._mode, self._full = _Mode.AGAIN, True
        elif self._mode is _Mode.STRIDE:
            self._mode = _Mode.STRIDE_AGAIN
        elif self._mode is _Mode.STRIDE_AGAIN:
            self._stride()
        elif self._ladder and self._climbed_at != self._at:
            self._start_climb()
        else:
            self._give_up_here()

    def _give_up_here(self) -> None:
        """Nothing brings this place forward: go on where a candle is known to be, else end."""
        beyond = self._exists_at
        self._exists_at = None
        if beyond is not None and self._at < beyond < self._wanted.until:
            self._at = beyond
            self._mode, self._full = _Mode.PAGE, True
        elif self._venue.windowed and not self._venue.recent_only and self._strides == 0:
            self._stride_at, self._stride_rung = self._at, 0
            self._stride()
        else:
            self._mode = _Mode.END

    # -- windows further on ---------------------------------------------------------------------------------------

    @property
    def _stride_timeframe(self) -> str:
        return self._ladder[-self._stride_rung] if self._stride_rung else self._timeframe

    def _stride(self) -> None:
        """The window was empty twice: look in the next one, of candles ever larger. A candle there proves them all."""
        if not self._venue.windowed:
            self._mode = _Mode.END
            return
        rung = self._stride_timeframe
        self._stride_at = timeframes.advance(rung, timeframes.open_of(rung, self._stride_at), self._venue.limit)
        # The candle that the next place falls into must not reach back to before the empty windows.
        if self._stride_rung < len(self._ladder):
            larger = self._ladder[-self._stride_rung - 1]
            if timeframes.open_of(larger, self._stride_at) >= self._at:
                self._stride_rung += 1
        self._look_there()

    def _look_there(self) -> None:
        self._strides += 1
        ahead = self._closed is not None and self._stride_at >= self._closed
        out_of_reach = ahead or self._strides > MAX_STRIDES
        self._mode = _Mode.END if out_of_reach else _Mode.STRIDE

    def _strode(self, ask: Ask, found: list[int]) -> Proven | None:
        assert ask.since is not None
        asked = ask.since
        later = [at for at in found if at >= asked]
        if not later:
            self._nothing_new()
            return None
        # From here on the key's own candles; up to here there is none.
        end = min(timeframes.open_of(self._timeframe, later[0]), self._wanted.until)
        if end > self._stride_at and len(later) > 1:
            return self._advance(self._at, end, [])
        self._stride_rung = 0
        self._look_there()
        return None

    # -- candles of larger timeframes -----------------------------------------------------------------------------

    @property
    def _climbing_at(self) -> int:
        return self._at if self._hint is None else self._hint_from

    def _start_climb(self) -> None:
        self._climbed_at, self._hint, self._contained = self._at, None, False
        self._rung = 0
        if self._ladder:
            self._mode = _Mode.LADDER
        else:
            self._mode, self._full = _Mode.PAGE, True

    def _climb(self, ask: Ask, found: list[int]) -> Proven | None:
        since = ask.since
        later = [at for at in found if since is None or at >= since]
        if self._venue.recent_only and (
            self._closed is None or timeframes.count(ask.timeframe, self._at, self._closed) >= ask.limit
        ):
            self._down()
            return None
        if self._mode is _Mode.LADDER:
            length = _longest_ms(ask.timeframe)
            reaching = [at for at in later if at + length > self._climbing_at]
            if reaching and self._hint is not None and reaching[0] <= self._hint - length:
                # There is something before the lone one, so that was wrong.
                self._hint = None
                self._down()
                return None
            if len(reaching) > 1:
                return self._skip_to(reaching[0])
            self._contained |= bool(reaching) and reaching[0] <= self._at
            if reaching and not self._contained:
                # A lone one may be the same for whatever is asked: smaller candles around it have to confirm it.
                self._hint, self._hint_from = reaching[0], max(self._at, reaching[0] - length)
            if not later and self._rung == 0:
                # Some exchanges answer empty to a `since` before the listing date: see what they have at all.
                self._mode = _Mode.NEWEST
                return None
        elif self._mode is _Mode.NEWEST:
            if later and later[0] > self._at and len(later) < ask.limit:
                self._newest = later[0]
                self._mode = _Mode.CONFIRM
                return None
        elif not later or later[0] >= self._newest:
            # Not even a page earlier is there anything before the oldest.
            return self._skip_to(self._newest)
        self._down()
        return None

    def _skip_to(self, opened: int) -> Proven | None:
        """A candle of a larger timeframe opens at `opened`, and none before it."""
        since, self._hint = self._at, None
        # One candle is kept back, because an exchange may leave out one that was cut short by the listing.
        rung = self._ladder[self._rung]
        before = timeframes.open_of(self._timeframe, opened - _longest_ms(rung))
        end = min(before, self._wanted.until)
        if end <= since:
            self._down()
            return None
        # Somewhere in that candle was a trade, so what follows it is a place to go on from if need be.
        self._exists_at = timeframes.ceil_open(self._timeframe, opened + _longest_ms(rung))
        proven = self._advance(since, end, [])
        if self._mode is not _Mode.END:
            self._mode = _Mode.LADDER
            self._climbed_at = self._at
            self._down()
        return proven

    def _down(self) -> None:
        """The next smaller timeframe, and after the last of them the key's own again."""
        self._rung += 1
        if self._rung < len(self._ladder):
            self._mode = _Mode.LADDER
        elif self._hint is not None:
            self._stride_at, self._stride_rung = timeframes.ceil_open(self._timeframe, self._hint_from), 0
            self._look_there()
        else:
            self._mode, self._full = _Mode.AGAIN, True


def checked(answer: object, timeframe: str) -> list[Row]:
    """An answer as ascending rows, one for each open time, the last said of two.

    Raises BadRows for anything that is not a list of [open time, open, high, low, close, volume] with finite
    numbers, opening where candles of this timeframe open.
    """
    if not isinstance(answer, list):
        raise BadRows(f"a page of candles is a list, and this is {type(answer).__name__}")
    try:
        candles = msgspec.convert(answer, list[Row])
    except msgspec.ValidationError as error:
        raise BadRows(f"that is no page of candles: {error}") from error
    on_grid = _grid(timeframe)
    rows: dict[int, Row] = {}
    for row in candles:
        at, opened, high, low, close, volume = row
        # One infinity or NaN is enough to make the sum so.
        if not math.isfinite(opened + high + low + close + volume):
            raise BadRows(f"{row} is not made of finite numbers")
        if not on_grid(at):
            raise BadRows(f"no {timeframe} candle opens at {at}")
        rows[at] = row
    return [rows[at] for at in sorted(rows)]


def _grid(timeframe: str) -> Callable[[int], bool]:
    """Whether candles of this timeframe open at a time; made once for a page."""
    if timeframes.parse(timeframe)[1] in "My":
        return lambda at: timeframes.open_of(timeframe, at) == at
    length, origin = timeframes.duration_ms(timeframe), timeframes.ceil_open(timeframe, 0)
    return lambda at: (at - origin) % length == 0


def opens(answer: object) -> list[int]:
    """The open times of an answer, ascending, whatever grid they are on. Raises BadRows."""
    if not isinstance(answer, list):
        raise BadRows(f"a page of candles is a list, and this is {type(answer).__name__}")
    found = []
    for each in answer:
        if not isinstance(each, list | tuple) or not each or isinstance(each[0], bool) or not isinstance(each[0], int):
            raise BadRows(f"{each!r} is not a candle")
        found.append(each[0])
    return sorted(found)


def _longest_ms(timeframe: str) -> int:
    """The length of a candle, ms; of a month or a year, its longest."""
    number, unit = timeframes.parse(timeframe)
    days = {"M": 31, "y": 366}.get(unit)
    return number * days * 86_400_000 if days else timeframes.duration_ms(timeframe)
