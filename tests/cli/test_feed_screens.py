"""How live feeds look: lines, ladders, charts and tables."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console, RenderableType

from cli.feed_messages import NOON, book, candle, said, trade
from tickwire.cli.feeds import feed_lines, feed_screens
from tickwire.cli.feeds.feed_lines import Digits
from tickwire.cli.feeds.watch_view import WatchView
from tickwire.cli.output import chart, render, tables
from tickwire.model import messages
from tickwire.model.feeds import Feed, FeedReport, Gap, Kind, Status, Ticker
from tickwire.tape.sequence import TapeMessage

pytestmark = pytest.mark.pure


def wide(what: RenderableType) -> list[str]:
    """The lines of a table on a wide terminal."""
    return drawn(what, width=200).splitlines()


def drawn(what: RenderableType, *, colour: bool = False, width: int = 120) -> str:
    """What stands on a terminal."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [
        (60000.1, 0, "60,000.1"),
        (60000.1, 2, "60,000.10"),
        (60000.0, 0, "60,000"),
        (60000.0, 2, "60,000.00"),
        (1e-08, 0, "0.00000001"),
        (1e20, 0, "100,000,000,000,000,000,000"),
        (0.1 + 0.2, 0, "0.30000000000000004"),
        (-1.5, 0, "-1.5"),
        (0.0, 0, "0"),
    ],
)
def test_numbers_have_all_their_digits_and_no_exponent(value: float, decimals: int, expected: str) -> None:
    assert render.number(value, decimals) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(-5, "0.0 s"), (300, "0.3 s"), (12_400, "12 s"), (300_000, "5 min"), (3 * 3_600_000, "3 h")],
)
def test_ages_are_short(milliseconds: int, expected: str) -> None:
    assert render.age(milliseconds) == expected


def test_a_trade_is_a_line_of_time_side_price_and_amount() -> None:
    (line,) = feed_lines.trades(said(trade()), Digits())
    assert line.plain.split() == ["12:00:00.000", "buy", "60,000.1", "0.005"]


def test_prices_line_up_with_the_longest_so_far() -> None:
    digits = Digits()
    found = feed_lines.trades(said(trade(price=1.25), trade(price=1.5), trade(price=2)), digits)
    assert [line.plain.split()[2] for line in found] == ["1.25", "1.50", "2.00"]
    assert len({len(line.plain) for line in found}) == 1


def test_buying_is_green_and_selling_is_red() -> None:
    buy, sell = feed_lines.trades(said(trade(), trade(side="sell")), Digits())
    assert "\x1b[32m" in drawn(buy, colour=True)
    assert "\x1b[31m" in drawn(sell, colour=True)


def test_a_trade_fetched_after_an_interruption_is_marked() -> None:
    (line,) = feed_lines.trades(said(trade(), source="rest"), Digits())
    assert line.plain.split()[-1] == "rest"


def test_a_gap_is_told_before_the_trades_that_follow_it() -> None:
    missing = Gap(since=NOON, until=NOON + 60_000, after_id="7", before_id="9", reason="too far back")
    first, second = feed_lines.trades(said(trade(9), gap=missing), Digits())
    assert "trades between 2026-01-01 12:00 and 2026-01-01 12:01 (ids after 7, before 9)" in first.plain
    assert first.plain.endswith("too far back")
    assert "buy" in second.plain


def test_a_gap_without_bounds_can_be_told_too() -> None:
    assert feed_lines.gap(Gap(since=None, until=None)) == "gap: trades between the beginning and now are missing"


def test_a_message_without_trades_is_no_line() -> None:
    assert feed_lines.trades(said(until=NOON), Digits()) == []


def test_a_status_is_a_line() -> None:
    status = Status(
        kind="trade", exchange="binance", symbol="BTC/USDT", event="repaired", at=NOON, trades=41, message="by REST"
    )
    assert feed_lines.status(status).plain == "12:00:00.000  -- repaired: 41 trades: by REST"


def test_a_book_that_is_live_again_counts_no_trades() -> None:
    status = Status(kind="book", exchange="binance", symbol="BTC/USDT", event="repaired", at=NOON, message="live again")
    assert feed_lines.status(status).plain == "12:00:00.000  -- repaired: live again"


def test_a_book_is_a_line_of_its_best_and_its_spread() -> None:
    line = feed_lines.book(book(), Digits()).plain
    assert "bid 99.5 x 2" in line
    assert "ask 100.0 x 1" in line
    assert "spread 0.5 (50.13 bp)" in line
    assert "levels 2+2" in line


def test_a_resyncing_book_has_no_levels_to_show() -> None:
    """Even if the message has some."""
    stale = book(state="resyncing")
    for shown in (feed_lines.book(stale, Digits()).plain, drawn(feed_screens.ladder(stale, Digits()))):
        assert "resyncing" in shown
        assert "99" not in shown


def test_a_ladder_has_asks_above_and_bids_below_the_spread() -> None:
    rows = [line.split() for line in drawn(feed_screens.ladder(book(), Digits())).splitlines() if line.strip()]
    assert [row[0] for row in rows] == ["100.5", "100.0", "spread", "99.5", "99.0"]
    assert rows[2][1] == "0.5"
    bars = [len(row[2]) for row in (rows[0], rows[1], rows[3], rows[4])]
    assert bars == [24, 3, 6, 12]


def test_a_ladder_shows_no_more_levels_than_fit() -> None:
    deep = book(bids=[(99.0 - n, 1.0) for n in range(50)], asks=[(100.0 + n, 1.0) for n in range(50)])
    shown = [
        line.split()[0] for line in drawn(feed_screens.ladder(deep, Digits(), rows=2)).splitlines() if line.strip()
    ]
    assert shown == ["101", "100", "spread", "99", "98"]


@pytest.mark.parametrize(("bids", "asks"), [([], []), ([(1.0, 1.0)], []), ([], [(1.0, 0.0)])])
def test_a_book_with_an_empty_side_is_shown_as_it_is(bids: list[Any], asks: list[Any]) -> None:
    one_sided = book(bids=bids, asks=asks)
    assert "spread" in drawn(feed_screens.ladder(one_sided, Digits()))
    assert "none" in feed_lines.book(one_sided, Digits()).plain


@pytest.mark.parametrize(
    ("share", "expected"), [(0, ""), (1, "████"), (0.5, "██"), (0.0001, "▏"), (0.3125, "█▎"), (2, "████")]
)
def test_a_bar_is_as_long_as_its_share(share: float, expected: str) -> None:
    assert feed_screens.bar(share, 4) == expected


def test_a_ticker_says_what_the_exchange_said_and_leaves_out_the_rest() -> None:
    whole = Ticker(
        exchange="a", symbol="B", timestamp=NOON, received=NOON, last=110, open=100, bid=109.5, ask=110.5, volume=12
    )
    line = feed_lines.ticker(whole, Digits()).plain
    assert "last 110" in line
    assert "+10.00 %" in line
    assert "high" not in line
    panel = drawn(feed_screens.ticker(whole, Digits()))
    assert "109.5" in panel
    assert "quote volume" not in panel
    without = Ticker(exchange="a", symbol="B", timestamp=NOON, received=NOON, mid=5.5, mark=6.0)
    assert feed_lines.ticker(without, Digits()).plain.endswith("mid 5.5  mark 6.0")
    assert {"mid", "mark"} <= set(drawn(feed_screens.ticker(without, Digits())).split())
    assert feed_lines.ticker(Ticker(exchange="a", symbol="B", timestamp=None, received=NOON), Digits()).plain


def test_a_candle_is_a_line_that_says_whether_it_is_closed_and_complete() -> None:
    assert feed_lines.candle(candle(), Digits()).plain.endswith("3 trades  open")
    assert feed_lines.candle(candle(closed=True), Digits()).plain.endswith("closed")
    assert feed_lines.candle(candle(closed=True, complete=False), Digits()).plain.endswith("closed, incomplete")


def test_live_candles_go_on_where_history_ends() -> None:
    shown = feed_screens.CandleScreen([(NOON - 120_000, 1, 2, 0.5, 1.5, 3.0), (NOON - 60_000, 1, 2, 0.5, 1.5, 3.0)])
    shown.take(candle(close=3))
    shown.take(candle(close=2))
    assert [row[0] for row in shown.rows] == [NOON - 120_000, NOON - 60_000, NOON]
    assert shown.rows[-1][4] == 2
    picture = drawn(shown.render("binance BTC/USDT 1m", Digits(), 80, 20))
    assert "binance BTC/USDT 1m" in picture
    assert "█" in picture
    assert "01-01 12:00" in picture


def test_an_incomplete_candle_does_not_replace_one_that_is_cached() -> None:
    shown = feed_screens.CandleScreen([(NOON, 1, 2, 0.5, 1.5, 3.0)])
    shown.take(candle(closed=True, complete=False, volume=1))
    assert shown.rows == [(NOON, 1, 2, 0.5, 1.5, 3.0)]


def test_a_closed_candle_that_a_new_owner_repeats_is_known_unless_it_is_news() -> None:
    shown = feed_screens.CandleScreen()
    repeated = candle(closed=True, repeated=True)
    assert not shown.is_repeat(repeated)
    shown.take(candle(closed=True))
    assert shown.is_repeat(repeated)
    assert not shown.is_repeat(candle(NOON + 60_000, closed=True, repeated=True))
    assert not shown.is_repeat(candle(closed=False, repeated=True))


def test_only_so_many_candles_are_kept() -> None:
    shown = feed_screens.CandleScreen()
    for n in range(feed_screens.KEPT + 20):
        shown.take(candle(NOON + n * 60_000))
    assert len(shown.rows) == feed_screens.KEPT
    assert shown.rows[0][0] == NOON + 20 * 60_000


def test_the_chart_ends_with_the_newest_candle_and_its_time() -> None:
    """Also of 2025, where the chart's own dates were a day off."""
    at = 1_740_000_000_000
    picture = chart.candles("", [(at + n * 60_000, 1, 2, 0.5, 1.5, 3.0) for n in range(40)], 80)
    assert picture.rstrip().endswith("02-19 21:59")


async def test_a_live_book_of_which_nothing_was_heard_for_long_is_not_shown() -> None:
    view = WatchView(Feed("book", "binance", "BTC/USDT"), json=False, limit=None, painted=True)
    await view.take(TapeMessage(1, messages.encode(book())))
    assert "resyncing" not in drawn(view.render())
    view.last_message_at -= 30
    assert "resyncing: there is no valid book" in drawn(view.render())


def test_a_feed_that_went_silent_is_said_to_be() -> None:
    assert feed_screens.silence(NOON, NOON + 1000) == ""
    assert feed_screens.silence(NOON, NOON + 12_000) == "nothing for 12 s"
    assert feed_screens.silence(None, NOON) == "nothing yet"


def test_feeds_are_a_table() -> None:
    report = FeedReport(
        kind="candle",
        exchange="binance",
        symbol="BTC/USDT",
        timeframe="1m",
        state="live",
        owner="streamer-1",
        subscribers=2,
        items=1234,
        messages=99,
        last_message=NOON - 300,
        reconnects=1,
        gaps=2,
        repaired=3,
        rejected=4,
        conflated=5,
    )
    waiting = FeedReport(kind="trade", exchange="okx", symbol="BTC/USDT:USDT")
    head, first, second = wide(tables.feed_table([report, waiting], NOON))
    names = "feed state owner subscribers items messages last reconnects gaps repaired rejected conflated"
    assert head.split() == names.split()
    assert " ".join(first.split()) == "candle binance BTC/USDT 1m live streamer-1 2 1,234 99 0.3 s ago 1 2 3 4 5"
    assert " ".join(second.split()) == "trade okx BTC/USDT:USDT waiting - 0 0 0 - 0 0 0 0 0"
    paced = wide(tables.feed_table([report, waiting], NOON, {report.feed: 12.5}))
    assert "messages/s" in paced[0]
    assert "12.5" in paced[1]


@pytest.mark.parametrize(
    ("names", "subscribers", "kind", "shown"),
    [
        (["cli"], 1, "book", "cli"),
        (["a", "b", "c", "d", "e"], 5, "book", "a, b, c, 2 others"),
        (["cli"], 2, "trade", "cli, candles"),
        ([], 1, "trade", "candles"),
        ([f"{number:02}" for number in range(50)], 80, "trade", "00, 01, 02, 77 others"),
        ([], 2, "ticker", "2 others"),
    ],
)
def test_who_wants_a_feed_is_named(names: list[str], subscribers: int, kind: Kind, shown: str) -> None:
    """Its candles want a feed of trades without a name; a streamer of an earlier version names nobody."""
    report = FeedReport(kind=kind, exchange="okx", symbol="A/B", subscribers=subscribers, subscriber_names=names)
    assert tables.wanted_by(report) == shown
    head, row = wide(tables.feed_table([msgspec.structs.replace(report, subscriber_names=names or ["x"])], NOON))
    assert head.rstrip().endswith("wanted by")
    assert row.rstrip().endswith(shown) or not names


def test_what_never_happened_is_no_column() -> None:
    quiet = FeedReport(kind="trade", exchange="okx", symbol="BTC/USDT:USDT", gaps=1)
    head, _ = wide(tables.feed_table([quiet], NOON))
    assert " ".join(head.split()) == "feed state owner subscribers items messages last gaps"


def test_started_feeds_say_where_to_listen() -> None:
    report = FeedReport(kind="trade", exchange="okx", symbol="BTC/USDT:USDT", subscribers=1)
    assert "md.trade.okx.BTC-USDT=3AUSDT" in drawn(tables.started_table([report]))
