"""The metrics of fetcher and cache, scraped while they run, against the simulator's log and market and the files."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from support.pipeline import Pipeline, pipeline
from support.processes import SimulatorProcess, tickwire
from support.scraping import below, described, monitored
from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, KeyRequest, Row
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

MINUTE = 60_000
SINCE = 1_700_000_000_000 // MINUTE * MINUTE
KEY = Key("binance", "BTC/USDT", "1m")
DELAY_S = 0.3
ASKED = 500


async def test_a_backfill_is_counted_as_the_exchange_and_the_files_have_it(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with (
        pipeline(broker, simulator, tmp_path, ()) as line,
        monitored(line, "cache", "fetcher") as (cache, fetcher),
    ):
        await line.observe_stored()
        of = {"exchange": "binance"}
        await simulator.fault("klines", "status", code=503, count=1)
        await simulator.fault("klines", "delay", seconds=DELAY_S, count=1)
        assert (await line.fetch(KEY, SINCE, SINCE + 3000 * MINUTE)).complete
        truth = await simulator.truth(
            "candles", symbol=KEY.symbol, timeframe="1m", since=SINCE, until=SINCE + 3000 * MINUTE
        )

        # Counted when the result has been confirmed, which may be after we have it.
        found = await fetcher.until(lambda now: now.value("tickwire_fetcher_jobs_ended_total", state="done", **of) == 1)
        asked = await simulator.log("/api/")
        name = "tickwire_fetcher_exchange_request_seconds"
        buckets = found.buckets(name, **of)
        assert buckets[float("inf")] == len(asked)
        assert DELAY_S < found.value(f"{name}_sum", **of) < 300
        # That one was late, whatever the others were.
        assert buckets[0.25] < len(asked)
        assert found.value("tickwire_fetcher_exchange_failures_total", error="ExchangeNotAvailable", **of) == 1
        assert found.value("tickwire_fetcher_retries_total", **of) == 1
        # The one that failed was no page.
        assert found.value("tickwire_fetcher_pages_total", **of) == len(await simulator.log("klines")) - 1
        assert found.value("tickwire_fetcher_rows_total", **of) == len(truth)
        assert found.value("tickwire_fetcher_rejected_rows_total", **of) == 0
        # tests/fetch/test_audit.py has them at more than 0.
        assert found.value("tickwire_fetcher_audited_rows_total", **of) == 0
        assert found.value("tickwire_fetcher_audit_differences_total", **of) == 0
        assert found.value("tickwire_request_seconds_count", endpoint="fetcher.fetch") == 1
        found = await cache.scrape()
        assert found.value("tickwire_cache_pages_total") == len(line.stored)
        assert found.value("tickwire_cache_rows_total") == len(line.rows(KEY)) == sum(each.rows for each in line.stored)

        await simulator.fault("klines", "hang")
        jobs = [await line.submit(KEY, SINCE + n * 5000 * MINUTE, SINCE + (n * 5000 + 10) * MINUTE) for n in (1, 2)]
        # Jobs of one key run one after another.
        found = await fetcher.until(lambda now: now.value("tickwire_fetcher_jobs_taken", **of) == 2)
        assert found.value("tickwire_fetcher_jobs_running", **of) == 1
        await fetcher.until(lambda now: now.value("tickwire_stream_messages", stream=streams.JOBS) == 2)
        await simulator.clear()
        for job in jobs:
            await job.result()
        await fetcher.until(
            lambda now: (
                now.value("tickwire_fetcher_jobs_taken", **of)
                == now.value("tickwire_fetcher_jobs_running", **of)
                == now.value("tickwire_stream_messages", stream=streams.JOBS)
                == 0
            )
        )
        assert fetcher.asked >= set(described("Fetcher"))


def page(key: Key, since: int, rows: int) -> CandlePage:
    """So many candles from `since` on."""
    made: list[Row] = [(since + n * MINUTE, 1.5, 2.5, 0.5, 1.25, 1000.0 + n) for n in range(rows)]
    return CandlePage(**key._asdict(), since=since, until=since + rows * MINUTE, rows=made)


async def queue(line: Pipeline, page_: CandlePage) -> int:
    """Put a page on its way to the cache; how many bytes it has."""
    data = messages.encode(page_)
    await line.bus.append(subjects.ohlcv(page_.key), data, message_id=hashlib.sha1(data).hexdigest())
    return len(data)


async def test_what_the_cache_stores_queues_and_refuses_is_counted(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    key, bad = Key("binance", "SOL/USDT", "1m"), Key("binance", "ETH/USDT", "1m")
    async with pipeline(broker, simulator, tmp_path, ()) as line, monitored(line, "cache") as (cache,):
        await line.observe_stored()
        commits, syncs = "tickwire_cache_commit_seconds", "tickwire_cache_sync_seconds"
        # Each partition that is opened says on disk whose it is.
        before = await cache.until(lambda now: now.value(f"{commits}_count") == 8)
        assert before.value("tickwire_cache_written_bytes_total") < 10_000
        # One page of half a megabyte: what is written besides is small.
        await queue(line, page(key, SINCE, 10_000))
        # The page, and later the checkpoint.
        found = await cache.until(lambda now: now.value(f"{commits}_count") == 8 + 2)
        assert found.value("tickwire_cache_pages_total") == 1
        assert found.value("tickwire_cache_rows_total") == len(line.rows(key)) == 10_000
        written, size = (
            found.value("tickwire_cache_written_bytes_total") - before.value("tickwire_cache_written_bytes_total"),
            (line.cache_dir / "binance_SOL-USDT_1m.csv").stat().st_size,
        )
        assert size <= written < 1.1 * size
        # Rows, what is known of the key, the checkpoint: each a file, and the folder of those that are new.
        assert 5 <= found.value(f"{syncs}_count") - before.value(f"{syncs}_count") <= 8
        for name in (commits, syncs):
            total, buckets = found.value(f"{name}_sum"), found.buckets(name)
            assert total > 0
            assert buckets[60.0] == buckets[float("inf")]
            # Not all of them can have taken longer than their mean.
            mean = total / buckets[float("inf")]
            assert buckets[min(bound for bound in buckets if bound >= mean)] > 0
        assert found.value(f"{syncs}_sum") < found.value(f"{commits}_sum")

        # A page that no exchange would send: a candle that opens within another.
        wrong = CandlePage(
            **bad._asdict(), since=SINCE, until=SINCE + MINUTE, rows=[(SINCE + 1, 1.0, 1.0, 1.0, 1.0, 1.0)]
        )
        await queue(line, wrong)
        await cache.until(lambda now: now.value("tickwire_cache_pages_refused_total") == 1)

        # The disk refuses: what comes meanwhile waits, as long as it takes.
        blocked = line.cache_dir / f".partition-{subjects.partition_of(bad, 8)}.lock"
        aside = blocked.rename(line.cache_dir / "aside")
        blocked.mkdir()
        await queue(line, page(bad, SINCE, 10))
        found = await cache.until(lambda now: now.value("tickwire_cache_troubled_partitions") == 1)
        assert found.value("tickwire_cache_queued_bytes") == 0
        waiting = [await queue(line, page(bad, SINCE + n * 10 * MINUTE, 10)) for n in (1, 2)]
        await cache.until(lambda now: now.value("tickwire_cache_queued_bytes") == sum(waiting))
        await cache.until(lambda now: now.value("tickwire_stream_messages", stream=streams.OHLCV) == 3)
        blocked.rmdir()
        aside.rename(blocked)
        found = await cache.until(lambda now: now.value("tickwire_cache_pages_total") == 4)
        assert found.value("tickwire_cache_rows_total") == 10_030
        assert found.value("tickwire_cache_audits_requested_total") == 0
        disk = shutil.disk_usage(line.cache_dir)
        assert found.value("tickwire_disk_size_bytes") == disk.total
        assert found.value("tickwire_disk_free_bytes") == pytest.approx(disk.free, rel=0.2)
        assert found.value("tickwire_cache_archived_rows_compared_total") == 0
        assert {found.value("tickwire_cache_archived_differences_total", comparable=n) for n in ("yes", "unknown")} == {
            0
        }
        assert found.value("tickwire_cache_queued_bytes") == found.value("tickwire_cache_troubled_partitions") == 0
        await cache.until(lambda now: now.value("tickwire_stream_messages", stream=streams.OHLCV) == 0)
        assert cache.asked >= set(described("Cache"))


async def test_requests_are_counted_by_the_metrics_and_by_status_alike(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    # Leases that are renewed seldom, so that most of what is sent is what is asked here.
    async with (
        pipeline(broker, simulator, tmp_path, (), lease_ttl_s=20) as line,
        monitored(line, "cache") as (cache,),
    ):
        before = await cache.until(lambda now: now.value("tickwire_leases_held") == 8)
        scraped = time.monotonic()
        request = KeyRequest(**KEY._asdict())
        # With a field that nobody knows, to be longer than what is around it.
        long = msgspec.json.encode({**msgspec.to_builtins(request), "note": "x" * 1000})
        took, answered = [], 0
        for _ in range(ASKED):
            began = time.perf_counter()
            answer = await line.bus.client.request("cache.coverage", long, timeout=60)
            took.append(time.perf_counter() - began)
            assert messages.decode(answer.data, Coverage).rows == 0
            answered += len(answer.data)
        began = time.perf_counter()
        with pytest.raises(BadRequest):
            await line.bus.request("cache.coverage", KeyRequest(exchange="?", symbol="", timeframe="1m"), Coverage)
        refused = time.perf_counter() - began
        after = await cache.scrape()

        def grown(name: str, **labels: str) -> float:
            return after.value(name, **labels) - before.count(name, **labels)

        # Nobody asked before.
        name = "tickwire_request_seconds"
        assert grown(f"{name}_count", endpoint="cache.coverage") == ASKED + 1
        assert 0 < after.value(f"{name}_sum", endpoint="cache.coverage") < sum(took) + refused
        buckets = after.buckets(name, endpoint="cache.coverage")
        # Each was answered before we had the answer.
        assert all(buckets[bound] >= count for bound, count in below(took, buckets).items())
        assert grown("tickwire_requests_refused_total", endpoint="cache.coverage", error="bad_request") == 1
        # A slow machine has more seconds of the heartbeats of consumers, which are thirteen a second.
        most = 1.3 + 20 * (time.monotonic() - scraped) / ASKED
        for direction, size in (("in", len(long) * ASKED), ("out", answered)):
            assert ASKED < grown("tickwire_broker_messages_total", direction=direction) < most * ASKED
            assert size <= grown("tickwire_broker_bytes_total", direction=direction) < most * size
        shown = await tickwire(line.env, "status", "--json")
        (service,) = json.loads(shown.out)["services"]
        assert service["errors"] == 1
        # Those that status asks itself, too.
        assert service["requests"] >= ASKED + 1
