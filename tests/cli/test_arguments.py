"""What people type on the command line: times, lists, keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cli import arguments
from tickwire.client.arguments import moment_of
from tickwire.errors import BadRequest, TickwireError, UnsupportedTimeframe
from tickwire.model import times
from tickwire.model.subjects import Key

pytestmark = pytest.mark.pure

NOW = 1_767_225_600_000
"""2026-01-01T00:00:00Z, by `date -u -d 2026-01-01 +%s`."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01", 1_704_067_200_000),
        ("20240101", 1_704_067_200_000),
        ("2024-01-01T00:00", 1_704_067_200_000),
        ("2024-01-01T00:00:00Z", 1_704_067_200_000),
        ("2024-01-01T01:00:00+01:00", 1_704_067_200_000),
        ("2024-01-01 00:00:00.250", 1_704_067_200_250),
        ("1704067200000", 1_704_067_200_000),
        ("0", 0),
        ("1970-01-01", 0),
        ("30d", NOW - 30 * 86_400_000),
        ("12h", NOW - 12 * 3_600_000),
        ("90m", NOW - 90 * 60_000),
        ("2w", NOW - 14 * 86_400_000),
        ("1.5h", NOW - 90 * 60_000),
        ("10s", NOW - 10_000),
        ("1y", NOW - 365 * 86_400_000),
        ("2024", 1_704_067_200_000),
        ("2024-02", 1_706_745_600_000),
        ("1970", 0),
        ("now", NOW),
    ],
)
def test_a_time_is_iso_8601_or_milliseconds_or_an_age(text: str, expected: int) -> None:
    assert times.time_ms(text, NOW) == expected


@given(st.integers(min_value=86_400_000, max_value=times.LATEST_MS))
def test_today_and_yesterday_begin_at_midnight_in_utc(now: int) -> None:
    today = datetime.fromtimestamp(now / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert times.time_ms("today", now) == round(today.timestamp() * 1000)
    assert times.time_ms("yesterday", now) == round((today - timedelta(days=1)).timestamp() * 1000)


@pytest.mark.parametrize("so_long", [timedelta(days=2, hours=1), pandas.Timedelta(hours=49), "49h"])
def test_a_timedelta_of_a_program_is_an_age(so_long: timedelta | str) -> None:
    assert moment_of(so_long, NOW, "since") == NOW - 49 * 3_600_000


@pytest.mark.parametrize("so_long", [timedelta(days=60 * 365), timedelta.max, timedelta.min])
def test_a_timedelta_beyond_all_messages_is_refused(so_long: timedelta) -> None:
    with pytest.raises(BadRequest, match="since"):
        moment_of(so_long, NOW, "since")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2024-13",
        "2024-13-01",
        "2024-02-30",
        "2024-1",
        "202",
        "1704067200",
        "30",
        "30x",
        "-5d",
        "1e12",
        "²",
        "9999999999999999999",
    ],
)
def test_a_time_that_cannot_be_read_is_refused_with_the_forms_it_may_have(text: str) -> None:
    with pytest.raises(BadRequest, match="2024-01-31") as refused:
        times.time_ms(text, NOW, "--since")
    assert "--since" in str(refused.value)


@pytest.mark.parametrize("text", ["9999w", "99y", "1969", "1969-12", "1969-12-31", "0001-01-01"])
def test_a_time_before_1970_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="before 1970"):
        times.time_ms(text, NOW)


@given(st.datetimes(min_value=datetime(1973, 3, 4), max_value=datetime(2200, 1, 1)))
def test_a_moment_written_as_iso_and_as_milliseconds_is_the_same(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    written = times.time_ms(moment.isoformat(), NOW)
    assert times.time_ms(str(written), NOW) == written
    assert abs(written / 1000 - moment.timestamp()) < 0.001


@pytest.mark.parametrize(
    "text", ["2201", "2200-02", "2200-01-02", "9999-12-31", "7258118400001", "99999999999999", "9" * 5_000]
)
def test_a_time_after_2199_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        times.time_ms(text, NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_refusal_of_one_line(text: str) -> None:
    said = ""
    try:
        assert times.time_ms(text, NOW) >= 0
    except BadRequest as error:
        said = str(error)
    assert "\n" not in said


def test_since_comes_before_until() -> None:
    assert arguments.span("2024-01-01", "2024-01-02", NOW) == (1_704_067_200_000, 1_704_153_600_000)
    assert arguments.span(None, None, NOW) == (None, None)
    for since, until in (("2024-01-02", "2024-01-01"), ("2024-01-01", "2024-01-01"), ("1d", "2d")):
        with pytest.raises(BadRequest, match="is not before --until"):
            arguments.span(since, until, NOW)


def test_since_is_not_in_the_future() -> None:
    with pytest.raises(BadRequest, match="in the future"):
        arguments.span("2030-01-01", None, NOW)


def test_lists_are_comma_separated_and_combined_in_order() -> None:
    assert arguments.keys("binance, okx", "BTC/USDT,BTC/USDT", "1m,1h") == [
        Key("binance", "BTC/USDT", "1m"),
        Key("binance", "BTC/USDT", "1h"),
        Key("okx", "BTC/USDT", "1m"),
        Key("okx", "BTC/USDT", "1h"),
    ]


@pytest.mark.parametrize("exchanges", ["", ",", "binance,", "binance,,okx", "BINANCE", "a.b", "a*"])
def test_names_that_cannot_be_exchanges_are_refused(exchanges: str) -> None:
    with pytest.raises(BadRequest):
        arguments.keys(exchanges, "BTC/USDT", "1m")


@pytest.mark.parametrize("timeframe", ["1x", "m", "0m", "1mm", "hour"])
def test_what_is_no_timeframe_is_refused(timeframe: str) -> None:
    with pytest.raises(UnsupportedTimeframe):
        arguments.keys("binance", "BTC/USDT", timeframe)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=5))
def test_whatever_is_typed_is_keys_or_a_refusal_of_one_line(exchanges: str, symbols: str, timeframes: str) -> None:
    said = ""
    try:
        assert arguments.keys(exchanges, symbols, timeframes)
    except TickwireError as error:
        said = str(error)
    assert "\n" not in said


def test_names_left_out_let_every_known_key_through() -> None:
    known = [Key("binance", "BTC/USDT", "1m"), Key("okx", "BTC/USDT", "1h"), Key("okx", "ETH/USDT", "1h")]
    assert arguments.chosen(known, arguments.choice(None, None, None)) == known
    assert arguments.chosen(known, arguments.choice("okx", None, None)) == known[1:]
    assert arguments.chosen(known, arguments.choice("okx,binance", "BTC/USDT", None)) == known[:2]
    assert arguments.chosen(known, arguments.choice("kraken", None, None)) == []


CACHED = [Key("binance", "BTC/USDT", "1h"), Key("binance", "ETH/USDT", "1m"), Key("okx", "BTC/USDT", "1h")]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((None, None, None), None),
        (("binance,okx", "BTC/USDT", None), None),
        (("binanse", None, None), "nothing cached matches binanse; did you mean binance?"),
        (("binance", "btc/usdt", None), "nothing cached matches btc/usdt; did you mean BTC/USDT?"),
        (("kraken,okx", None, None), "nothing cached matches kraken; cached: binance, okx"),
        ((None, None, "1d"), "nothing cached matches 1d; cached: 1h, 1m"),
        (
            ("okx", "ETH/USDT", None),
            "nothing cached matches all these names; cached: binance BTC/USDT 1h, binance ETH/USDT 1m, okx BTC/USDT 1h",
        ),
    ],
)
def test_names_that_select_nothing_are_named_with_the_nearest(
    names: tuple[str | None, str | None, str | None], line: str | None
) -> None:
    assert arguments.unmatched(CACHED, arguments.choice(*names)) == line


def test_names_where_nothing_is_cached_select_nothing() -> None:
    assert arguments.unmatched([], arguments.choice(None, None, None)) is None
    line = "nothing cached matches okx; nothing is cached yet"
    assert arguments.unmatched([], arguments.choice("okx", None, None)) == line
