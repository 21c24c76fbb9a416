"""Candles rebuilt from archived trades: those of certified days, as a plain sum of their trades has them."""

from __future__ import annotations

import csv
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_files.taped import BEGIN, DAY, FEED, GENERATION, HOUR, Taped, unchecked, write_round
from tickwire.archive_files import bars, days
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.root import FolderRoot, Root
from tickwire.errors import BadRequest
from tickwire.model.feeds import Trade, Trades
from tickwire.model.messages import Row
from tickwire.model.messages.archived_trades import ArchivedBars, ArchivedBarsRequest
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

MINUTE = 60_000
Sold = tuple[int, float, float]
"""Time (ms), price, amount."""


def rebuilt(root: Root, timeframe: str, since: int, until: int, feed: ArchivedFeed = FEED, **fields: Any) -> Any:
    """The rows of a reply, and its last chunk, once the chunks' numbers were checked."""
    request = ArchivedBarsRequest(
        exchange=feed.exchange, symbol=feed.symbol, timeframe=timeframe, since=since, until=until, **fields
    )
    found: list[ArchivedBars] = list(bars.chunks(root, request))
    assert [(each.chunk, each.more) for each in found] == [(n, n < len(found) - 1) for n in range(len(found))]
    assert not found[-1].rows
    return [row for each in found for row in each.rows], found[-1]


def taped(sold: list[Sold], feed: ArchivedFeed = FEED, **fields: Any) -> Trades:
    trades = [Trade(id=None, timestamp=at, side=None, price=price, amount=amount) for at, price, amount in sold]
    return Trades(exchange=feed.exchange, symbol=feed.symbol, trades=trades, received=BEGIN, **fields)


def archived(root: Root, parts: list[list[Sold]], feed: ArchivedFeed = FEED, number: int = 2, **fields: Any) -> None:
    """Archive messages, a round each, and close that many days, each watched from its begin to its end."""
    messages = [taped([], feed, until=BEGIN - 1, **fields), *(taped(part, feed, **fields) for part in parts)]
    messages.append(taped([], feed, until=BEGIN + number * DAY + HOUR, **fields))
    for sequence, each in enumerate(messages, 1):
        write_round(root, [(each, sequence, sequence - 1)], sequence, done=sequence - 1)
    for day in range(-1, number):
        days.close_day(root, feed.on(date_of(BEGIN + day * DAY)), BEGIN + number * DAY + HOUR, unchecked)


def summed(sold: list[Sold], length: int) -> list[Row]:
    """By plain Python. Trades of one time are in the order of the tape."""
    by_time = sorted(sold, key=lambda each: each[0])
    found: dict[int, list[Sold]] = {}
    for each in by_time:
        found.setdefault(each[0] - each[0] % length, []).append(each)
    return [
        (at, of[0][1], max(p for _, p, _ in of), min(p for _, p, _ in of), of[-1][1],
         float(sum(Decimal(repr(amount)) for *_, amount in of)))
        for at, of in found.items()
    ]  # fmt: skip


SOLD = st.tuples(
    st.integers(BEGIN, BEGIN + 2 * DAY - 1),
    st.integers(1, 99).map(lambda n: n / 4),
    st.integers(1, 10**6).map(lambda n: n / 1000),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(SOLD, min_size=1, max_size=6), max_size=6), st.sampled_from(["1m", "1h", "8h", "1d", "2d"]))
def test_candles_are_the_sums_of_their_trades_whatever_the_order_of_the_tape(
    parts: list[list[Sold]], timeframe: str
) -> None:
    length = {"1m": MINUTE, "1h": HOUR, "8h": 8 * HOUR, "1d": DAY, "2d": 2 * DAY}[timeframe]
    until = BEGIN + 2 * DAY
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        archived(root, parts)
        rows, last = rebuilt(root, timeframe, BEGIN, until)
    first = BEGIN + -BEGIN % length
    expected = [row for row in summed([each for part in parts for each in part], length) if row[0] >= first]
    # Two days are one candle of two days, or parts of two of them.
    ends = until - until % length
    assert rows == [row for row in expected if row[0] + length <= ends]
    assert last.complete == ([Range(first, ends)] if first < ends else [])


def test_only_candles_of_complete_days_are_there(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    sold: list[Sold] = [(BEGIN + hour * HOUR, 2.5, 1.0) for hour in range(-12, 60)]
    parts = taped([], until=BEGIN - 12 * HOUR), taped(sold, until=BEGIN + DAY)
    write_round(root, [(parts[0], 1, 0), (parts[1], 2, 1)], 2)
    days.close_day(root, FEED.on(date_of(BEGIN - DAY)), BEGIN + DAY, unchecked)
    days.close_day(root, FEED.on(date_of(BEGIN)), BEGIN + DAY, unchecked)
    everything = BEGIN - 2 * DAY, BEGIN + 3 * DAY
    rows, last = rebuilt(root, "1h", *everything)
    assert [row[0] for row in rows] == [BEGIN + hour * HOUR for hour in range(24)]
    assert last.complete == [Range(BEGIN, BEGIN + DAY)]
    # Candles that begin or end on another day.
    rows, last = rebuilt(root, "12h", *everything, opens_at=6 * HOUR)
    assert ([row[0] for row in rows], last.complete) == (
        [BEGIN + 6 * HOUR],
        [Range(BEGIN + 6 * HOUR, BEGIN + 18 * HOUR)],
    )
    late: Taped = (taped([(BEGIN + 7, 9.0, 1.0)]), 3, 2)
    write_round(root, [late], 3, done=2)
    assert rebuilt(root, "1h", *everything) == ([], rebuilt(root, "1h", 0, 0)[1])
    days.close_day(root, FEED.on(date_of(BEGIN)), BEGIN + DAY, unchecked)
    rows, _ = rebuilt(root, "1h", *everything)
    assert rows[0] == (BEGIN, 2.5, 9.0, 2.5, 9.0, 2.0)


def test_a_day_that_gets_late_trades_while_it_is_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = FolderRoot(tmp_path)
    archived(root, [[(BEGIN + 1, 2.0, 1.0), (BEGIN + DAY + 1, 2.0, 1.0)]])
    read, late = bars._rebuilt, [(taped([(BEGIN + DAY + 7, 9.0, 1.0)]), 9, 3)]

    def beside(*given: Any) -> Any:
        found = read(*given)
        write_round(root, late, 9, done=8, generation=GENERATION)
        return found

    monkeypatch.setattr(bars, "_rebuilt", beside)
    assert rebuilt(root, "1h", BEGIN, BEGIN + 2 * DAY)[1].complete == []
    monkeypatch.setattr(bars, "_rebuilt", read)
    assert rebuilt(root, "1h", BEGIN, BEGIN + 2 * DAY)[1].complete == [Range(BEGIN, BEGIN + DAY)]


@pytest.mark.parametrize(
    ("symbol", "unit", "volume"),
    [
        ("BTC/USDT:USDT", {"multiplier": 0.01}, (0.06, "base", False)),
        ("BTC/USD:BTC", {"multiplier": 100.0, "inverse": True}, (100 * 2 / 4 + 100 * 4 / 8, "base", True)),
        ("BTC/USDT:USDT", {"multiplier": None}, (6.0, "unknown", False)),
        ("BTC/USDT:USDT", {}, (6.0, "unknown", False)),
    ],
)
def test_volumes_of_contracts_are_in_base_currency_or_unknown(
    tmp_path: Path, symbol: str, unit: dict[str, Any], volume: tuple[float, str, bool]
) -> None:
    root, feed = FolderRoot(tmp_path), ArchivedFeed("trade", "okx", symbol)
    archived(root, [[(BEGIN, 4.0, 2.0), (BEGIN + 1, 8.0, 4.0)]], feed, **unit)
    ((*_, found),), last = rebuilt(root, "1m", BEGIN, BEGIN + HOUR, feed)
    assert (found, last.volume_unit, last.inverse) == volume


def test_without_files_there_are_no_candles_and_too_many_are_refused(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    assert rebuilt(root, "1m", BEGIN, BEGIN + DAY)[1].complete == []
    for timeframe, until in (("1s", BEGIN + DAY), ("1w", 1 << 42)):
        with pytest.raises(BadRequest, match="request a shorter range"):
            rebuilt(root, timeframe, 0 if until > 1 << 41 else BEGIN, until)


def test_a_recorded_day_of_trades_gives_the_candles_that_the_exchange_made(recorded: Path, tmp_path: Path) -> None:
    feed = ArchivedFeed("trade", "binance", "XRP/ETH")
    with open(recorded / "trades/binance_XRP-ETH_2019-10.csv", newline="") as file:
        sold = [(int(row["timestamp"]), float(row["price"]), float(row["amount"])) for row in csv.DictReader(file)]
    with open(recorded / "ohlcv/binance_XRP-ETH_1m_2019-10.csv", newline="") as file:
        theirs = [(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]
    begin = sold[0][0] // DAY * DAY + DAY
    root = FolderRoot(tmp_path)
    parts = taped([], feed, until=sold[0][0]), taped(sold, feed, until=begin + DAY)
    write_round(root, [(parts[0], 1, 0), (parts[1], 2, 1)], 2)
    for day in (begin - DAY, begin):
        days.close_day(root, feed.on(date_of(day)), begin + DAY, unchecked)
    rows, last = rebuilt(root, "1m", begin, begin + DAY, feed)
    assert last.complete == [Range(begin, begin + DAY)]
    assert rows == [row for row in theirs if begin <= row[0] < begin + DAY]
    assert len(rows) > 900
