"""Candles through the Python client against the whole pipeline: frames, and history that goes over into live ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy
import pandas
import pytest

from client.pipeline_side import DAY, HOUR, MINUTE, now, source, until_released
from support.pipeline import Pipeline
from tickwire.client import (
    BadRequest,
    Candle,
    CandlesFailed,
    Client,
    ExchangeFailed,
    IncompleteCandles,
    Job,
    Key,
    NoSuchService,
    NotCached,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedTimeframe,
)
from tickwire.model import subjects
from tickwire.model.feeds import Feed

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


async def test_candles_of_a_key_never_fetched_come_with_progress_and_equal_the_source(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    since = until - 60 * HOUR
    heard: list[Job] = []
    frame = await client.candles("binance", "ETH/USDT", "1m", since, until, progress=heard.append)
    assert [job.state for job in heard][-1] == "done"
    assert len(heard) > 1
    assert (frame.index.name, str(frame.index.dtype)) == ("timestamp", "datetime64[ns, UTC]")
    assert {str(kind) for kind in frame.dtypes} == {"float64"}
    rows = [[stamp.value // 1_000_000, *values] for stamp, *values in frame.itertuples()]
    assert rows == await source(line, "ETH/USDT", "1m", since, until)
    assert len(rows) == 3600
    assert frame.attrs == {
        "exchange": "binance",
        "symbol": "ETH/USDT",
        "timeframe": "1m",
        "since": since,
        "until": until,
        "complete": True,
        "volume_unit": "base",
        "missing": [],
    }


async def test_what_is_cached_is_not_asked_of_the_exchange_again(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    first = await client.candles("binance", "BTC/USDT", "1h", until - 24 * HOUR, until)
    await line.simulator.forget_log()
    again = await client.candles("binance", "BTC/USDT", "1h", until - 24 * HOUR, until)
    assert again.equals(first)
    assert await line.simulator.log("klines") == []


async def test_a_frame_larger_than_the_brokers_limit_comes_in_chunks(line: Pipeline, client: Client) -> None:
    # A candle counts as closed a second after its end, and this may run within that.
    until = await now(line) // MINUTE * MINUTE - MINUTE
    frame = await client.candles("binance", "T011/USDT", "1m", until - 30_000 * MINUTE, until)
    assert len(frame) == 30_000
    # 48 bytes a row: more than the broker lets through in one message.
    assert frame.index.nbytes + frame.memory_usage(index=False).sum() > 1 << 20
    assert frame.index.is_monotonic_increasing


async def test_several_keys_are_fetched_at_once(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    frames = await client.candles_of("binance", ["BTC/USDT", "ETH/USDT"], ["15m", "1h"], until - 24 * HOUR, until)
    assert {key: len(frame) for key, frame in frames.items()} == {
        Key("binance", "BTC/USDT", "15m"): 96,
        Key("binance", "BTC/USDT", "1h"): 24,
        Key("binance", "ETH/USDT", "15m"): 96,
        Key("binance", "ETH/USDT", "1h"): 24,
    }


async def test_of_several_keys_those_that_failed_are_named_and_the_others_are_there(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    with pytest.raises(CandlesFailed, match="BTC/NONE 1h") as failed:
        await client.candles_of("binance", ["BTC/USDT", "BTC/NONE"], "1h", until - 24 * HOUR, until)
    assert {key: type(error) for key, error in failed.value.errors.items()} == {
        Key("binance", "BTC/NONE", "1h"): UnknownSymbol
    }
    assert [len(frame) for frame in failed.value.frames.values()] == [24]


@pytest.mark.parametrize(
    ("key", "since", "until", "error"),
    [
        (("binance", "BTC/NONE", "1h"), "2d", None, UnknownSymbol),
        (("binanec", "BTC/USDT", "1h"), "2d", None, UnknownExchange),
        (("binance", "BTC/USDT", "7m"), "2d", None, UnsupportedTimeframe),
        (("binance", "BTC/USDT", "1x"), "2d", None, UnsupportedTimeframe),
        (("binance", "BTC/USDT", "1h"), "2026-01-02", "2026-01-01", BadRequest),
        (("binance", "BTC/USDT", "1h"), "next week", None, BadRequest),
    ],
)
async def test_what_cannot_be_had_is_a_typed_error_of_one_line(
    client: Client, key: tuple[str, str, str], since: str, until: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        await client.candles(*key, since=since, until=until)
    assert "\n" not in str(raised.value)
    assert "; " in str(raised.value)


async def test_a_venue_that_is_down_is_a_typed_error(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    await line.simulator.fault("klines", "status", code=503)
    with pytest.raises(ExchangeFailed):
        await client.candles("binance", "SOL/USDT", "1h", until - 48 * HOUR, until)


async def test_a_range_that_is_partly_missing_says_so_in_the_frame_and_by_a_warning(
    line: Pipeline, client: Client
) -> None:
    until = await now(line) // HOUR * HOUR
    middle = until - 10 * HOUR
    await client.candles("binance", "XRP/USDT", "1h", until - 20 * HOUR, middle)
    with pytest.warns(IncompleteCandles, match="10 candles"):
        frame = await client.candles("binance", "XRP/USDT", "1h", until - 20 * HOUR, until, fetch=False)
    assert len(frame) == 10
    assert not frame.attrs["complete"]
    assert frame.attrs["missing"] == [(middle, until)]


async def test_candles_go_from_history_to_live_without_a_seam(line: Pipeline, client: Client) -> None:
    """Closed candles in a row, each once, complete, equal to the exchange's; then the open one as it changes."""
    since = await now(line) // 1000 * 1000 - 20_000
    closed: list[Candle] = []
    changes: list[Candle] = []
    async with asyncio.timeout(100):
        async for candle in client.candles("binance", "BTC/USDT", "1s", since=since, progress=False):
            if candle.closed:
                closed.append(candle)
            else:
                changes.append(candle)
                # The open one follows all that are closed.
                assert candle.timestamp == since + 1000 * len(closed)
            if len(closed) == 27:
                break
    assert [candle.timestamp for candle in closed] == [since + 1000 * n for n in range(27)]
    assert all(candle.complete for candle in closed)
    assert len({candle.timestamp for candle in changes}) >= 3
    real = await source(line, "BTC/USDT", "1s", since, since + 27_000)
    assert [[c.timestamp, c.open, c.high, c.low, c.close] for c in closed] == [row[:5] for row in real]
    assert [c.volume for c in closed] == pytest.approx([row[5] for row in real])


async def test_without_fetching_a_frame_reaches_up_to_now_and_says_what_is_missing(
    line: Pipeline, client: Client
) -> None:
    hour = await now(line) // HOUR * HOUR
    cached = hour - 10 * DAY
    await client.candles("binance", "T002/USDT", "1h", hour - 12 * DAY, cached)
    with pytest.warns(IncompleteCandles, match="240 candles"):
        frame = await client.candles("binance", "T002/USDT", "1h", since=hour - 11 * DAY, fetch=False)
    assert len(frame) == 24
    assert (frame.attrs["complete"], frame.attrs["missing"]) == (False, [(cached, hour)])
    for symbol, since in (("T002/USDT", hour - 2 * DAY), ("T001/USDT", hour - 30 * DAY)):
        with pytest.warns(IncompleteCandles):
            frame = await client.candles("binance", symbol, "1h", since=since, fetch=False)
        assert (len(frame), frame.attrs["missing"]) == (0, [(since, hour)])
    whole = await client.candles("binance", "T002/USDT", "1h")
    assert (len(whole), whole.attrs["until"], whole.attrs["complete"]) == (48, cached, True)


async def test_nothing_cached_and_nothing_asked_for_is_a_typed_error(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    await client.candles("binance", "T003/USDT", "1h", until - DAY, until)
    with pytest.raises(NotCached):
        await client.candles("binance", "T004/USDT", "1h")
    with pytest.raises(CandlesFailed) as failed:
        await client.candles_of("binance", ["T003/USDT", "T004/USDT"], "1h")
    assert [type(error) for error in failed.value.errors.values()] == [NotCached]
    assert [len(frame) for frame in failed.value.frames.values()] == [24]


async def test_a_file_that_cannot_be_read_fails_its_own_key_and_no_other(line: Pipeline, client: Client) -> None:
    """Neither where the cache alone is read nor after a fetch."""
    until = await now(line) // HOUR * HOUR
    await client.candles("binance", "T008/USDT", "1h", until - DAY, until)
    foreign = Key("binance", "T009/USDT", "1h")
    (line.cache_dir / f"{subjects.file_stem(foreign)}.csv").write_text("this is no candle\n")
    for options in ({"fetch": False}, {"fetch": True}):
        with pytest.raises(CandlesFailed) as failed:
            await client.candles_of("binance", ["T009/USDT", "T008/USDT"], "1h", until - DAY, until, **options)
        assert list(failed.value.errors) == [foreign]
        assert "candles repair" in str(failed.value.errors[foreign])
        assert [len(frame) for frame in failed.value.frames.values()] == [24]


async def test_since_within_the_open_candle_is_an_empty_frame_and_then_the_live_one(
    line: Pipeline, client: Client
) -> None:
    since = await now(line) // (5 * MINUTE) * (5 * MINUTE) + 1
    frame = await client.candles("binance", "T005/USDT", "5m", since=since)
    assert (len(frame), frame.attrs["complete"]) == (0, True)
    frames = await client.candles_of("binance", ["T005/USDT", "T006/USDT"], "5m", since=since)
    assert [len(frame) for frame in frames.values()] == [0, 0]
    async with asyncio.timeout(100):
        candle = await anext(aiter(client.candles("binance", "T005/USDT", "5m", since=since, progress=False)))
    assert (candle.timestamp, candle.closed) == (since - 1, False)


async def test_iterated_candles_end_before_until(line: Pipeline, client: Client) -> None:
    second = await now(line) // 1000 * 1000
    async with asyncio.timeout(100):
        past = [c async for c in client.candles("binance", "T007/USDT", "1s", second - 20_000, second - 5000)]
        live = [c async for c in client.candles("binance", "T007/USDT", "1s", second - 5000, second + 5000)]
    assert [candle.timestamp for candle in past] == [second - 20_000 + 1000 * n for n in range(15)]
    closed = [candle.timestamp for candle in live if candle.closed]
    assert closed == [second - 5000 + 1000 * n for n in range(10)]
    await until_released(line, Feed("candle", "binance", "T007/USDT", "1s"))


async def test_what_stays_missing_among_live_candles_is_warned_of_where_it_is_iterated(
    line: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.client.candles.CATCH_UP_S", 1.0)
    second = await now(line) // 1000 * 1000
    await line.simulator.fault("klines", "empty")
    candles = client.candles("binance", "T008/USDT", "1s", second - 5000)

    async def until_complete() -> None:
        async for candle in candles:
            if candle.closed and candle.complete:
                return

    with pytest.warns(IncompleteCandles) as warned:
        await asyncio.wait_for(until_complete(), 100)
    assert candles.missing
    assert {each.filename for each in warned} == {__file__}


@pytest.mark.parametrize("form", [datetime.fromtimestamp, pandas.Timestamp.fromtimestamp, float, numpy.int64])
async def test_a_time_may_be_of_any_of_the_usual_types(
    line: Pipeline, client: Client, form: Callable[..., object]
) -> None:
    until = await now(line) // HOUR * HOUR
    by_seconds = getattr(form, "__name__", "") == "fromtimestamp"
    since = form((until - DAY) / 1000, UTC) if by_seconds else form(until - DAY)
    frame = await client.candles("binance", "BTC/USDT", "1h", since, until)  # type: ignore[call-overload]
    assert (frame.attrs["since"], len(frame)) == (until - DAY, 24)


@pytest.mark.parametrize("since", [pandas.NaT, math.nan, math.inf, True, datetime(1960, 1, 1, tzinfo=UTC)])
async def test_what_is_no_time_is_a_typed_error(client: Client, since: object) -> None:
    with pytest.raises(BadRequest, match="since"):
        client.candles("binance", "BTC/USDT", "1h", since)  # type: ignore[call-overload]


async def test_a_fetcher_that_dies_in_mid_job_is_not_waited_for_for_ever(
    line: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = await now(line) // HOUR * HOUR
    await line.simulator.forget_log()
    await line.simulator.fault("klines", "hang")

    async def ask() -> int:
        return len(await client.candles("binance", "T029/USDT", "1h", until - DAY, until))

    asked = asyncio.create_task(ask())
    async with asyncio.timeout(100):
        while not await line.simulator.log("klines"):
            # The request ends early only by an error, which is raised here.
            assert not asked.done() or await asked
            await asyncio.sleep(0.05)
    await line.kill("fetcher")
    # A fetcher that is only slow on a busy machine must not be taken for a dead one before it was killed.
    monkeypatch.setattr("tickwire.client.fetch_jobs.SILENCE_S", 0.3)
    client.bus.service_wait.seconds = 2
    async with asyncio.timeout(100):
        with pytest.raises(NoSuchService, match="fetcher"):
            await asked
    await line.simulator.clear()
    # The job stays, and is done by the next.
    await line.start("fetcher")
    await line.ready("fetcher")
    frame = await client.candles("binance", "T029/USDT", "1h", until - DAY, until)
    assert len(frame) == 24


async def test_the_last_candles_are_counted_back_from_the_end(client: Client) -> None:
    until = 1_748_736_000_000
    frame = await client.candles("binance", "BTC/USDT", "1h", until=until, last=3)
    assert [stamp.value // 1_000_000 for stamp in frame.index] == [until - 3 * HOUR, until - 2 * HOUR, until - HOUR]
    newest = await client.candles("binance", "BTC/USDT", "1h", last=2)
    assert len(newest) == 2
    for wrong in ({"last": 0}, {"last": 3, "since": "1d"}):
        with pytest.raises(BadRequest):
            client.candles("binance", "BTC/USDT", "1h", **wrong)
