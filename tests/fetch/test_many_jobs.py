"""Many jobs at once: they take turns, one bad one ends alone, and each answer to a request is true."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import nats.js.errors
import pytest
from nats.js.api import StreamConfig

from fetch.cache_and_fetcher import DAY, MINUTE, NOW, Fetching, fetching
from support.hearing import hearing
from tickwire.bus import publisher as publisher_module
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import Ack, AcknowledgedPublisher
from tickwire.bus.requests import payload_of
from tickwire.errors import BadRequest, BrokerUnavailable, Busy, TickwireError
from tickwire.model import messages
from tickwire.model.messages import CandlePage, FetchAccepted, FetchRequest, KeyRequest
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.actors

LARGE = [f"{base}/USDT" for base in ("ETH", "BTC", "SOL", "XRP", "ADA", "BNB", "DOT", "LTC", "TRX")]


@pytest.mark.parametrize("concurrency", [2, 5])
async def test_a_small_job_gets_its_pages_within_a_few_turns_of_any_number_of_large_ones(
    bus: Bus, broker: str, tmp_path: Path, concurrency: int
) -> None:
    async with fetching(bus, broker, tmp_path, *LARGE, "DOGE/USDT", concurrency=concurrency) as line:
        # Long enough that none of the large ones ends first: years of 1s.
        await line.exchange.fault("klines", "delay", seconds=0.03)
        for symbol in LARGE:
            await line.order(f"large-{symbol[:3]}", symbol=symbol, timeframe="1s", since=NOW - 100 * DAY)
        for symbol in LARGE:
            await line.heard(f"large-{symbol[:3]}", lambda job: job.pages > 0)
        await line.exchange.forget_log()
        # Three pages.
        await line.order("small", symbol="DOGE/USDT", since=NOW - 2 * DAY)
        small = await line.end("small")
        log = await line.exchange.log("klines")
        assert (small.state, small.complete, small.rows_fetched) == ("done", True, 2 * 1440)
        assert not any(job.ended for name, told in line.words.items() if name != "small" for job in told)
        symbols = [parse_qs(entry["query"])["symbol"][0] for entry in log]
        last = max(at for at, symbol in enumerate(symbols) if symbol == "DOGEUSDT")
        asked = Counter(symbols[: last + 1])
        # Each of its pages waited for one of each of the others at most; some were on their way before it was ordered.
        assert max(count for symbol, count in asked.items() if symbol != "DOGEUSDT") <= asked["DOGEUSDT"] + 6
        assert min(asked[symbol.replace("/", "")] for symbol in LARGE) >= 1
        for symbol in LARGE:
            await line.bus.request(
                "fetcher.cancel", messages.CancelRequest(id=f"large-{symbol[:3]}"), messages.Job, timeout_s=30
            )


async def test_jobs_of_a_busy_key_keep_no_other_key_waiting(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path, "ETH/USDT", "BTC/USDT", timeout=5_000) as line:
        await line.exchange.fault("symbol=ETHUSDT", "hang")
        await line.order("first")
        for number in range(150):
            await line.order(f"behind-{number}")
        await line.order("other", symbol="BTC/USDT", since=NOW - 60 * MINUTE)
        job = await line.end("other")
        assert (job.state, job.complete) == ("done", True)
        assert not any(job.ended for number in range(150) for job in line.words.get(f"behind-{number}", []))
        await line.exchange.clear()
        # One after another they find what the first one stored.
        for number in range(150):
            assert (await line.end(f"behind-{number}")).complete


async def test_what_is_no_job_or_cannot_be_meant_ends_alone(bus: Bus, broker: str, tmp_path: Path) -> None:
    good: dict[str, Any] = {"exchange": "binance", "symbol": "ETH/USDT", "timeframe": "1m", "since": NOW - DAY}
    meant: dict[str, dict[str, Any]] = {
        "timeframe": {"timeframe": "7m"},
        "nonsense": {"timeframe": "9999y"},
        "months": {"timeframe": "1M", "since": NOW, "until": NOW},
        "backwards": {"until": NOW - 2 * DAY},
        "much": {"timeframe": "1s", "since": 0, "until": 7_000_000_000_000},
    }
    unread: list[dict[str, Any]] = [
        {},
        {"id": "x" * 5000},
        {"id": "a.b *"},
        {"id": "elsewhere", "exchange": "okx"},
        {"id": "long", "symbol": "E" * 4096},
        {"id": "far", "timeframe": "1M", "until": 10**18},
        {"id": "early", "since": -(10**15)},
    ]
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("before")
        assert (await line.end("before")).complete
        for raw in (
            b"nothing",
            b"[" * 5000 + b"]" * 5000,
            b'{"id":"nested","exchange":' + b"[" * 5000 + b"]" * 5000 + b"}",
            *(msgspec.json.encode(good | change) for change in unread),
            *(msgspec.json.encode(good | {"id": name} | change) for name, change in meant.items()),
        ):
            await bus.jetstream.publish("jobs.fetch.binance", raw)
        for name in meant:
            job = await line.end(name)
            assert job.error is not None
            assert (job.state, job.error.code in ("bad_request", "unsupported_timeframe")) == ("failed", True), job
        await line.order("after", since=NOW - 2 * DAY)
        assert (await line.end("after")).complete
        async with asyncio.timeout(100):
            while (await bus.jetstream.stream_info(streams.JOBS)).state.messages:
                await asyncio.sleep(0.1)


async def ask(line: Fetching, changes: dict[str, Any]) -> None:
    """Ask with what our own messages would not say."""
    usual = {"exchange": "binance", "symbol": "ETH/USDT", "timeframe": "1m", "since": NOW - DAY}
    payload_of(await line.bus.client.request("fetcher.fetch", msgspec.json.encode(usual | changes), timeout=30))


async def test_a_request_for_too_much_or_for_the_far_future_is_refused_with_the_remedy(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with fetching(bus, broker, tmp_path, max_candles=10_000) as line:
        await line.order("enough", since=NOW - 6 * DAY)
        with pytest.raises(BadRequest, match=r"11,520 candles.*may ask for 10,000.*split the range"):
            await line.order("much", since=NOW - 8 * DAY)
        for timeframe in ("1m", "1d", "1w", "1M"):
            for name in ("since", "until"):
                with pytest.raises(BadRequest, match=rf"<= 7258118400000 - at `\$\.{name}`"):
                    await ask(line, {"timeframe": timeframe, name: 10**18})
        assert (await line.end("enough")).complete


async def test_of_two_thousand_requests_at_once_each_is_told_the_truth(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("before", since=NOW - 60 * MINUTE)
        accepted: set[str] = set()
        refused: dict[str, TickwireError] = {}

        async def one(name: str) -> None:
            request = FetchRequest(
                exchange="binance", symbol="ETH/USDT", timeframe="1m", since=NOW - 60 * MINUTE, until=NOW, id=name
            )
            try:
                accepted.add((await bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=120)).id)
            except TickwireError as error:
                refused[name] = error

        async with asyncio.TaskGroup() as group:
            for number in range(2000):
                group.create_task(one(f"crowd-{number}"))
        assert {type(error).__name__ for error in refused.values()} <= {"Busy"}
        assert len(accepted) + len(refused) == 2000
        assert len(accepted) >= 1000
        for name in sorted(accepted):
            assert (await line.end(name, 120)).complete
        assert not any(name in line.words for name in refused)


async def test_a_full_queue_refuses_at_once_and_queues_nothing(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path, timeout=5_000) as line:
        await line.exchange.fault("klines", "hang", count=1)
        await line.order("first")
        await line.heard("first", lambda job: job.state == "running")
        found = (await bus.jetstream.stream_info(streams.JOBS)).config
        full: StreamConfig = found.evolve(max_msgs_per_subject=3)
        await bus.jetstream.update_stream(full)
        await line.order("second")
        await line.order("third")
        with pytest.raises(Busy, match="may wait"):
            await line.order("fourth")
        await line.exchange.clear()
        for name in ("first", "second", "third"):
            assert (await line.end(name)).complete
        assert "fourth" not in line.words
        await line.order("fourth")
        assert (await line.end("fourth")).complete


async def test_a_job_whose_acknowledgement_is_lost_is_accepted_later_and_never_refused(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "PUBLISH_RETRY_S", 2.0)
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("before")
        await line.end("before")
        publish = AcknowledgedPublisher.publish

        async def unheard(self: AcknowledgedPublisher, subject: str, data: bytes, **options: Any) -> Ack:
            """The stream takes it, and its word is lost."""
            await publish(self, subject, data, **options)
            if subject == "jobs.fetch.binance":
                raise nats.js.errors.NoStreamResponseError
            return Ack()

        monkeypatch.setattr(AcknowledgedPublisher, "publish", unheard)
        # It has run by the time that nobody waits for the confirmation any more.
        assert (await line.order("taken")).id == "taken"
        assert (await line.end("taken")).complete

        async def lost(self: AcknowledgedPublisher, subject: str, data: bytes, **options: Any) -> Ack:
            if subject == "jobs.fetch.binance":
                raise nats.js.errors.NoStreamResponseError
            return await publish(self, subject, data, **options)

        monkeypatch.setattr(AcknowledgedPublisher, "publish", lost)
        with pytest.raises(
            BrokerUnavailable, match=r"whether job doubtful is queued is not known; ask again with the same id"
        ):
            await line.order("doubtful")
        monkeypatch.setattr(AcknowledgedPublisher, "publish", publish)
        await line.order("doubtful")
        assert (await line.end("doubtful")).complete


async def test_an_exchange_that_cannot_be_opened_fails_its_own_jobs_and_no_others(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("before")
        assert (await line.end("before")).complete
        # What ccxt refuses only when the exchange is made.
        for exchange in ("okx", "kraken"):
            line.settings.exchange[exchange] = ExchangeSettings(ccxt={"options": 5, "urls": 7})
            await line.order(exchange, exchange=exchange, symbol="BTC/USDT")
            job = await line.end(exchange)
            assert job.error is not None
            assert (job.state, job.error.code) == ("failed", "config"), job.error
            assert f"exchange.{exchange}.ccxt" in job.error.message
        await line.order("after", since=NOW - 2 * DAY)
        assert (await line.end("after")).complete


async def test_a_job_whose_range_is_known_costs_one_coverage_request_and_three_messages(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with (
        fetching(bus, broker, tmp_path) as line,
        hearing(bus, "cache.coverage", KeyRequest) as coverage,
        hearing(bus, "tape.ohlcv.>", CandlePage) as pages,
    ):
        await line.order("first")
        assert (await line.end("first")).complete
        await pages.until_said(lambda said: len(said) == 2)
        await coverage.until_said(lambda said: len(said) == 2)
        await line.order("known")
        known = await line.end("known")
        assert (known.complete, known.rows_from_cache, known.rows_fetched) == (True, 1440, 0)
        assert [job.state for job in line.words["known"]] == ["queued", "running", "done"]
        await coverage.until_said(lambda said: len(said) == 3)
        assert len(pages.said) == 2
