"""Any pages of candles in any rounds: a day has of each candle the newest row, and names each that no page proves."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DAY, GENERATION, unchecked
from tickwire.archive_files import days
from tickwire.archive_files.candle_rows import CandleRows
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.pages import CandlePage
from tickwire.model.timeframes import duration_ms

pytestmark = pytest.mark.pure

FEED = ArchivedFeed("candle", "binance", "BTC/USDT")
DAYS = 3
STEPS = {"6h": 4, "1d": 1}
"""Timeframes, and how many of their candles open on a day."""


@st.composite
def pages(draw: st.DrawFn) -> CandlePage:
    """A page of some intervals; some have no candle, the last ones may not be settled."""
    timeframe = draw(st.sampled_from(list(STEPS)))
    step, most = duration_ms(timeframe), STEPS[timeframe] * DAYS
    first = draw(st.integers(0, most - 1))
    opens = [BEGIN + number * step for number in range(first, draw(st.integers(first, most)) + 1)]
    rows = [(at, *map(float, draw(st.tuples(*[st.integers(1, 9)] * 5)))) for at in opens[:-1] if draw(st.booleans())]
    settled = draw(st.none() | st.sampled_from(opens))
    return CandlePage(
        exchange="binance",
        symbol="BTC/USDT",
        timeframe=timeframe,
        since=opens[0],
        until=opens[-1],
        rows=rows,  # type: ignore[arg-type]
        settled=settled,
        source=draw(st.sampled_from(["rest", "live"])),
        volume_unit="base",
        origin=draw(st.sampled_from(["exchange", "tape", "audited", None])),
    )


class Expected:
    """What the pages say, interval by interval."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], tuple[object, ...]] = {}
        self.proven: dict[tuple[int, str], bool] = {}

    def take(self, page: CandlePage, sequence: int) -> None:
        own = {row[0]: row for row in page.rows}
        for at in range(page.since, page.until, duration_ms(page.timeframe)):
            key = (at, page.timeframe)
            self.proven[key] = page.settled is None or at < page.settled
            if page.origin == "audited":
                self.rows.pop(key, None)
            if at in own:
                self.rows[key] = (*key, *own[at][1:], page.source, page.origin, sequence)

    def of_day(self, begin: int) -> list[tuple[object, ...]]:
        keys = sorted(
            (key for key in self.rows if begin <= key[0] < begin + DAY), key=lambda key: (key[0], key[1] == "1d")
        )
        return [self.rows[key] for key in keys]

    def gaps(self, begin: int) -> set[tuple[int, str]]:
        """Of timeframes of which anything is known on the day."""
        known = {timeframe for at, timeframe in self.proven if begin <= at < begin + DAY}
        opens = {(begin + number * duration_ms(each), each) for each in known for number in range(STEPS[each])}
        return {key for key in opens if not self.proven.get(key, False)}


def rows_of(root: FolderRoot, since: int = 0, until: int | None = None) -> list[tuple[object, ...]]:
    found = []
    for batch in days.read_rows(root, FEED, since, until, batch_rows=3):
        for row in batch.to_pylist():
            found.append((round(row["timestamp"].timestamp() * 1000), *list(row.values())[1:]))
    return found


def gaps_of(certificate: Certificate) -> set[tuple[int, str]]:
    """The open times of the intervals that a certificate lists as missing, with their timeframes."""
    found = set()
    for gap in certificate.gaps:
        timeframe = gap.reason.partition(":")[0]
        assert gap.since is not None
        assert gap.until is not None
        found |= {(at, timeframe) for at in range(gap.since + 1, gap.until, duration_ms(timeframe))}
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(pages(), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_a_day_has_the_newest_row_of_each_candle_and_lists_what_no_page_proves(
    taped: list[tuple[CandlePage, bool, bool]],
) -> None:
    expected = Expected()
    with tempfile.TemporaryDirectory() as folder:
        root, done = FolderRoot(Path(folder)), 0
        rows = CandleRows(GENERATION, done)
        for sequence, (page, ends, closes) in enumerate(taped, 1):
            rows.append(page, sequence, None)
            expected.take(page, sequence)
            if ends or sequence == len(taped):
                for part in rows.parts(sequence):
                    # Whoever takes over writes it again.
                    write_part(root, part)
                    write_part(root, part)
                rows = CandleRows(GENERATION, sequence)
                assert rows_of(root) == [row for n in range(DAYS) for row in expected.of_day(BEGIN + n * DAY)]
                if closes:
                    days.close_day(root, FEED.on(date_of(BEGIN)), None, unchecked)
        for number in range(DAYS):
            begin = BEGIN + number * DAY
            day = FEED.on(date_of(begin))
            if not any(name.endswith(".parquet") for name in root.names(day.folder)):
                continue
            made = days.close_day(root, day, None, unchecked)
            assert root.names(day.folder) == ["data.parquet", "day.json"]
            assert rows_of(root, begin, begin + DAY) == expected.of_day(begin)
            assert gaps_of(made) == expected.gaps(begin)
            assert (made.condition == "complete") == (not made.gaps)
            assert (made.rows, made.live + made.rest) == (len(expected.of_day(begin)),) * 2
            assert days.close_day(root, day, None, unchecked) == made


def test_a_page_that_the_cache_would_refuse_proves_nothing() -> None:
    page = CandlePage(exchange="binance", symbol="BTC/USDT", timeframe="6h", since=BEGIN, until=BEGIN + DAY, rows=[])
    rows = CandleRows(GENERATION, 0)
    for changed in (
        {"rows": [(BEGIN + 1, 1.0, 1.0, 1.0, 1.0, 1.0)]},
        {"rows": [(BEGIN + DAY, 1.0, 1.0, 1.0, 1.0, 1.0)]},
        {"rows": [(BEGIN, 1.0, 1.0, 1.0, 1.0, 1.0)] * 2},
        {"timeframe": "6x"},
        {"until": BEGIN - DAY},
    ):
        rows.append(CandlePage(**{name: getattr(page, name) for name in page.__struct_fields__} | changed), 1, None)
    assert list(rows.parts(1)) == []


def test_days_before_a_market_was_listed_are_not_all_noted() -> None:
    page = CandlePage(
        exchange="binance", symbol="BTC/USDT", timeframe="6h", since=BEGIN - 1000 * DAY, until=BEGIN, rows=[]
    )
    rows = CandleRows(GENERATION, 0)
    rows.append(page, 1, None)
    assert len(list(rows.parts(1))) == 31


def test_a_week_is_of_the_day_on_which_it_opens() -> None:
    monday = BEGIN + 3 * DAY
    page = CandlePage(
        exchange="binance", symbol="BTC/USDT", timeframe="1w", since=monday, until=monday + 7 * DAY,
        rows=[(monday, 1.0, 2.0, 0.5, 1.5, 9.0)],
    )  # fmt: skip
    rows = CandleRows(GENERATION, 0)
    rows.append(page, 1, None)
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        parts = list(rows.parts(1))
        for part in parts:
            write_part(root, part)
        assert [part.day.date for part in parts] == [date_of(monday)]
        made = days.close_day(root, parts[0].day, None, unchecked)
        assert (made.condition, made.rows) == ("complete", 1)


def test_a_reader_whose_day_got_another_page_is_told() -> None:
    step = duration_ms("6h")
    page = CandlePage(
        exchange="binance", symbol="BTC/USDT", timeframe="6h", since=BEGIN, until=BEGIN + DAY,
        rows=[(BEGIN + n * step, 1.0, 2.0, 0.5, 1.5, 9.0) for n in range(4)],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        for sequence in (1, 2):
            rows = CandleRows(GENERATION, sequence - 1)
            rows.append(page, sequence, None)
            for part in rows.parts(sequence):
                write_part(root, part)
            if sequence == 1:
                first = days.read_rows(root, FEED, 0, None, batch_rows=2)
                assert next(first).num_rows == 2
        # What was begun is read from memory, whole.
        assert sum(batch.num_rows for batch in first) == 2
        assert [row[-1] for row in rows_of(root)] == [2] * 4
