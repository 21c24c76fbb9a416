"""Every metric of docs/metrics.md, scraped from running services and compared with what is known from elsewhere: the
simulator's log and market, the tape, the files, the operating system."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
from nats.aio.msg import Msg

from support import live
from support.commands import up
from support.influx import free_port, influxdb
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator, tickwire
from support.scraping import Scraped, Scraper, documented, scraper
from tickwire import broker as embedded_broker
from tickwire import messages, streams, subjects
from tickwire.errors import BadRequest, UnknownSymbol
from tickwire.feeds import Candle, Feed, Trade, Trades
from tickwire.messages import CandlePage, Coverage, KeyRequest
from tickwire.subjects import Key

MINUTE = 60_000
SINCE = 1_700_000_000_000 // MINUTE * MINUTE
KEY = Key("binance", "BTC/USDT", "1m")
BTC = Feed("trade", "binance", "BTC/USDT")
LABELS = {"kind": "trade", "exchange": "binance", "symbol": "BTC/USDT"}


@asynccontextmanager
async def monitored(line: Pipeline, *services: str, **variables: str) -> AsyncIterator[list[Scraper]]:
    """Start services with metrics, and a scraper for each."""
    async with AsyncExitStack() as stack:
        scrapers = []
        for number, service in enumerate(services):
            port = free_port()
            # Named, so that leases always divide in the same way.
            name = ("--instance", f"{service}-{number}")
            await line.start(service, number, *name, TICKWIRE_METRICS_PORT=str(port), **variables)
            scrapers.append(await stack.enter_async_context(scraper(port)))
        for number, service in enumerate(services):
            await line.started(service, number)
        yield scrapers


async def scraped_when(from_: Scraper, condition: Callable[[Scraped], bool], timeout_s: float = 15) -> Scraped:
    """The first scrape that meets a condition; asked again, because that is how metrics are read."""
    async with asyncio.timeout(timeout_s):
        while not condition(scraped := await from_.scrape()):
            await asyncio.sleep(0.05)
    return scraped


def of_process(scraped: Scraped, process: psutil.Process) -> None:
    """What the operating system says of a process, too."""
    assert scraped.value("process_resident_memory_bytes") == pytest.approx(process.memory_info().rss, rel=0.3)
    assert scraped.value("process_virtual_memory_bytes") == pytest.approx(process.memory_info().vms, rel=0.3)
    assert scraped.value("process_open_fds") == pytest.approx(process.num_fds(), abs=5)
    assert scraped.value("process_max_fds") == process.rlimit(psutil.RLIMIT_NOFILE)[0]
    assert scraped.value("process_start_time_seconds") == pytest.approx(process.create_time(), abs=2)
    assert scraped.value("process_cpu_seconds_total") == pytest.approx(sum(process.cpu_times()[:2]), abs=2)


async def test_a_backfill_is_counted_as_the_exchange_and_the_files_have_it(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(embedded_broker.embedded(tmp_path / "nats"))
        line = await stack.enter_async_context(pipeline(broker, simulator, tmp_path, ()))
        cache, fetcher = await stack.enter_async_context(monitored(line, "cache", "fetcher"))
        await line.observe_stored()
        await simulator.fault("klines", "status", code=503, count=1)
        assert (await line.fetch(KEY, SINCE, SINCE + 3000 * MINUTE)).complete
        truth = await simulator.truth(
            "candles", symbol=KEY.symbol, timeframe="1m", since=SINCE, until=SINCE + 3000 * MINUTE
        )

        found, of = await fetcher.scrape(), {"exchange": "binance"}
        asked = await simulator.log("/api/")
        assert found.value("tickwire_fetcher_exchange_request_seconds_count", **of) == len(asked)
        assert 0 < found.value("tickwire_fetcher_exchange_request_seconds_sum", **of) < 30
        assert found.value("tickwire_fetcher_exchange_failures_total", error="ExchangeNotAvailable", **of) == 1
        assert found.value("tickwire_fetcher_retries_total", **of) == 1
        # The one that failed was no page.
        assert found.value("tickwire_fetcher_pages_total", **of) == len(await simulator.log("klines")) - 1
        assert found.value("tickwire_fetcher_rows_total", **of) == len(truth)
        assert found.value("tickwire_fetcher_jobs_ended_total", state="done", **of) == 1
        assert found.value("tickwire_request_seconds_count", endpoint="fetcher.fetch") == 1

        await simulator.fault("klines", "hang")
        jobs = [await line.submit(KEY, SINCE + n * 5000 * MINUTE, SINCE + (n * 5000 + 10) * MINUTE) for n in (1, 2)]
        # Jobs of one key run one after another.
        found = await scraped_when(fetcher, lambda now: now.value("tickwire_fetcher_jobs_taken", **of) == 2)
        assert found.value("tickwire_fetcher_jobs_running", **of) == 1
        await simulator.clear()
        for job in jobs:
            await job.result()
        await scraped_when(fetcher, lambda now: now.value("tickwire_fetcher_jobs_taken", **of) == 0)

        # A page that no exchange would send: a candle that opens within another.
        bad = CandlePage(
            exchange="binance", symbol="ETH/USDT", timeframe="1m", since=SINCE, until=SINCE + MINUTE,
            rows=[(SINCE + 1, 1.0, 1.0, 1.0, 1.0, 1.0)],
        )  # fmt: skip
        key = Key("binance", "ETH/USDT", "1m")
        await line.bus.append(subjects.ohlcv(key), messages.encode(bad), message_id="bad")
        found = await scraped_when(cache, lambda now: now.value("tickwire_cache_pages_refused_total") == 1)
        assert found.value("tickwire_cache_pages_total") == len(line.stored)
        assert found.value("tickwire_cache_rows_total") == len(line.rows(KEY)) == sum(each.rows for each in line.stored)
        size = (line.cache_dir / "binance_BTC-USDT_1m.csv").stat().st_size
        assert size <= found.value("tickwire_cache_written_bytes_total") < 4 * size
        # No page is announced without a sync before it, and no commit takes none.
        assert (
            found.value("tickwire_cache_sync_seconds_count") >= found.value("tickwire_cache_commit_seconds_count") / 2
        )
        assert 0 < found.value("tickwire_cache_sync_seconds_sum") < found.value("tickwire_cache_commit_seconds_sum")
        await scraped_when(cache, lambda now: now.value("tickwire_cache_queued_bytes") == 0)
        assert found.value("tickwire_cache_troubled_partitions") == 0

        before = await cache.scrape()
        ask = KeyRequest(exchange="binance", symbol="BTC/USDT", timeframe="1m")
        for _ in range(20):
            await line.bus.request("cache.coverage", ask, Coverage)
        with pytest.raises(BadRequest):
            await line.bus.request("cache.coverage", KeyRequest(exchange="?", symbol="", timeframe="x"), Coverage)
        after = await cache.scrape()

        def grown(name: str, **labels: str) -> float:
            return after.value(name, **labels) - before.value(name, **labels)

        assert grown("tickwire_request_seconds_count", endpoint="cache.coverage") == 21
        assert grown("tickwire_requests_refused_total", endpoint="cache.coverage", error="bad_request") == 1
        for direction in ("in", "out"):
            assert grown("tickwire_broker_messages_total", direction=direction) >= 21
            assert grown("tickwire_broker_bytes_total", direction=direction) >= 21 * 50
        assert cache.asked | fetcher.asked >= documented("Cache", "Fetcher")


async def test_the_connection_and_the_leases_are_counted_and_readiness_follows_them(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        broker = embedded_broker.embedded(tmp_path / "nats")
        url = await broker.__aenter__()
        line = await stack.enter_async_context(pipeline(url, simulator, tmp_path, ()))
        began = time.monotonic()
        one, two = await stack.enter_async_context(monitored(line, "cache", "cache"))

        def shares(scrapes: list[Scraped]) -> float:
            return sum(each.value("tickwire_leases_held") for each in scrapes)

        async with asyncio.timeout(20):
            while True:
                found = [await each.scrape() for each in (one, two)]
                if shares(found) == 8 and all(each.value("tickwire_leases_held") for each in found):
                    break
                await asyncio.sleep(0.1)
        for scraped in found:
            assert scraped.value("tickwire_instances") == 2
            assert scraped.value("tickwire_broker_connected") == 1
            gained, given, lost = (
                scraped.value("tickwire_lease_changes_total", change=change)
                for change in ("gained", "given_up", "lost")
            )
            assert gained - given - lost == scraped.value("tickwire_leases_held")
        found_one = await scraped_when(one, lambda now: now.value("tickwire_loop_stall_seconds_count") >= 2)
        # One for each second.
        assert found_one.value("tickwire_loop_stall_seconds_count") <= time.monotonic() - began
        process = psutil.Process(line.running["cache-0"][0].pid)
        of_process(await one.scrape(), process)

        paused = line.running["cache-1"][0]
        held = (await two.scrape()).value("tickwire_leases_held")
        paused.send_signal(signal.SIGSTOP)
        await scraped_when(one, lambda now: now.value("tickwire_leases_held") == 8)
        paused.send_signal(signal.SIGCONT)
        await scraped_when(two, lambda now: now.value("tickwire_lease_changes_total", change="lost") == held)

        assert await one.health("live") == (200, "")
        assert await one.health("ready") == (200, "")
        await broker.__aexit__(None, None, None)
        await scraped_when(one, lambda now: now.value("tickwire_broker_connected") == 0)
        assert await one.health("ready") == (503, "not connected to the broker")
        assert await one.health("live") == (200, "")
        await stack.enter_async_context(embedded_broker.embedded(tmp_path / "nats", port=int(url.rsplit(":")[-1])))
        await scraped_when(one, lambda now: now.value("tickwire_broker_reconnects_total") == 1)
        assert await one.health("ready") == (200, "")
        assert {*one.asked, "tickwire_request_seconds", "tickwire_requests_refused_total"} >= documented(
            "Every service"
        ) - {"tickwire_broker_messages_total", "tickwire_broker_bytes_total"}
        await stack.pop_all().aclose()


async def test_feeds_are_counted_as_the_tape_has_them(broker: str, tmp_path: Path) -> None:
    async with (
        running_simulator("--live-rate", "200") as busy,
        pipeline(broker, busy, tmp_path, (), lease_ttl_s=10) as line,
        monitored(line, "streamer", TICKWIRE_STREAMER_CADENCE_MS="500") as (streamer,),
        live.statuses(line.bus, BTC) as heard,
        live.seeing(line.bus, BTC) as seen,
    ):
        conflated = {"book": 0, "ticker": 0}

        async def count(message: Msg) -> None:
            kind = message.subject.split(".")[1]
            conflated[kind] += msgspec.json.decode(message.data)["conflated"]

        for kind in conflated:
            await line.bus.subscribe(f"md.{kind}.>", count)
        feeds = [
            BTC,
            BTC._replace(kind="book"),
            BTC._replace(kind="ticker"),
            BTC._replace(kind="candle", timeframe="1m"),
        ]
        for feed in feeds:
            await live.start(line.bus, feed)
        with pytest.raises(UnknownSymbol):
            await live.start(line.bus, BTC._replace(symbol="BTC/NOPE"))
        await seen.until(lambda: len(seen.trades) > 200)
        # One cut that REST repairs, while it hangs at first; and what it has forgotten of another.
        await busy.fault("aggTrades", "hang")
        await busy.fault("/ws/", "ws_cut", seconds=1)
        await scraped_when(streamer, lambda now: now.value("tickwire_feed_waiting", **LABELS) > 0)
        await busy.clear()
        await heard.until("repaired")
        first = seen.ids[-1] + 100
        await busy.fault("aggTrades", "rest_forgets", symbol="BTCUSDT", from_id=first, to_id=first + 100)
        await busy.fault("/ws/", "ws_cut", seconds=2)
        await heard.until("gap")
        await busy.clear()
        await busy.fault("/ws/", "ws_malformed")
        await heard.until("rejected")
        async with asyncio.timeout(15):
            # The last frame is sent again, whatever it is of.
            while not (await streamer.scrape()).value("tickwire_feed_duplicates_total", **LABELS):
                await busy.fault("/ws/", "ws_duplicate")
        book = {**LABELS, "kind": "book"}
        await scraped_when(streamer, lambda now: now.value("tickwire_feed_conflated_total", **book) > 0)
        # Standing still, everything can be compared.
        await busy.order("rate", symbol="BTCUSDT", rate=0.01)
        await scraped_when(streamer, lambda now: now.value("tickwire_feed_waiting", **LABELS) == 0)
        previous = -1
        async with asyncio.timeout(20):
            while previous != (previous := (await live.on_tape(line.bus, BTC)).sequences[-1]):
                await asyncio.sleep(0.5)

        def as_heard(now: Scraped) -> bool:
            counted = {
                kind: now.value("tickwire_feed_conflated_total", **{**LABELS, "kind": kind}) for kind in conflated
            }
            return counted == conflated

        # Counted when the broker has confirmed it, which may be after a consumer has it.
        found = await scraped_when(streamer, as_heard)
        tape = await live.on_tape(line.bus, BTC)
        said = [messages.decode(each, Trades) for each in await bodies(line, streams.TRADES, BTC.tape)]
        fresh = [each for each in said if each.source == "live" and each.trades]
        assert found.value("tickwire_feed_items_total", **LABELS) == len(tape.trades)
        # The owner's first message, which shuts others out, was before its counts.
        assert found.value("tickwire_feed_messages_total", **LABELS) == len(said)
        assert found.value("tickwire_feed_reconnects_total", **LABELS) == 2
        assert found.value("tickwire_feed_gaps_total", **LABELS) == len(tape.gaps) == 1
        assert found.value("tickwire_feed_repaired_total", **LABELS) == tape.repaired > 0
        assert found.value("tickwire_feed_rejected_total", **LABELS) == len(
            [e for e in heard.said if e.event == "rejected"]
        )
        last = await line.bus.jetstream.get_last_msg(streams.TRADES, BTC.tape)
        assert last.time is not None
        moment = found.value("tickwire_feed_last_message_timestamp_seconds", **LABELS)
        assert moment == pytest.approx(last.time.timestamp(), abs=0.5)
        lags = [(each.received - each.trades[-1].timestamp) / 1000 for each in fresh]
        assert found.value("tickwire_feed_receipt_lag_seconds_count", **LABELS) == len(lags)
        assert found.value("tickwire_feed_receipt_lag_seconds_sum", **LABELS) == pytest.approx(sum(lags), abs=0.01)
        assert found.value("tickwire_feed_publish_lag_seconds_count", **LABELS) == len(fresh)
        # Those that waited for the repair took longest.
        assert found.value("tickwire_feed_publish_lag_seconds_sum", **LABELS) > 0
        assert all(conflated.values())
        assert found.value("tickwire_feeds", state="live") == len(feeds)
        assert found.value("tickwire_requests_refused_total", endpoint="streamer.start", error="unknown_symbol") == 1
        assert streamer.asked >= documented("Streamer")


async def bodies(line: Pipeline, stream: str, subject: str) -> list[bytes]:
    """Every message that a stream has of a subject."""
    last = (await line.bus.jetstream.get_last_msg(stream, subject)).seq
    found: list[bytes] = []
    done = asyncio.Event()

    async def take(message: Msg) -> None:
        found.append(message.data)
        if message.metadata.sequence.stream == last:
            done.set()

    subscription = await line.bus.ordered(subject, stream, take)
    async with asyncio.timeout(20):
        await done.wait()
    await subscription.unsubscribe()
    return found


@pytest.mark.needs("influxdb")
async def test_the_sink_counts_what_the_database_has(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> None:
    async with influxdb(tmp_path / "influx") as influx:
        config = CONFIG + f'[sink]\nurl = "{influx.url}"\nversion = 1\n'
        async with pipeline(broker, simulator, tmp_path, (), config) as line, monitored(line, "sink") as (sink,):

            async def say(count: int, number: int) -> None:
                trades = [
                    Trade(id=str(n), timestamp=SINCE + n, side="buy", price=100.0, amount=1.0)
                    for n in range(number, number + count)
                ]
                message = Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=SINCE)
                await line.bus.jetstream.publish(BTC.tape, messages.encode(message))

            await say(100, 0)
            found = await scraped_when(sink, lambda now: now.value("tickwire_sink_trades_total") == 100)
            assert found.value("tickwire_sink_active") == 1
            assert found.value("tickwire_sink_pending_messages", stream=streams.TRADES) == 0
            # A database that has `close` as text refuses a number, and only that point.
            async with influx.http.post(
                f"{influx.url}/write?db=tickwire", data=f'candles close="x" {SINCE}000000'
            ) as answer:
                assert answer.status == 204
            candle = Candle(
                exchange="binance", symbol="BTC/USDT", timeframe="1m", timestamp=SINCE, open=1.0, high=1.0, low=1.0,
                close=1.0, volume=1.0, trades=1, closed=True, complete=True,
            )  # fmt: skip
            await line.bus.jetstream.publish("tape.candle.binance.BTC-USDT.1m", messages.encode(candle))
            await scraped_when(sink, lambda now: now.value("tickwire_sink_rejected_points_total") == 1)
            await influx.stop(signal.SIGKILL)
            await say(50, 100)
            found = await scraped_when(sink, lambda now: now.value("tickwire_sink_failed_writes_total") > 1)
            assert found.value("tickwire_sink_pending_messages", stream=streams.TRADES) == 1
            await influx.start()
            found = await scraped_when(sink, lambda now: now.value("tickwire_sink_trades_total") == 150)
            (trades,) = await influx.query("SELECT count(price) FROM trades")
            (sizes,) = await influx.query("SELECT count(trades) FROM trade_sizes")
            assert trades["count"] == 150
            # The rejected one was sent, and is not among what was written.
            written = found.value("tickwire_sink_points_total") - found.value("tickwire_sink_rejected_points_total")
            assert written == trades["count"] + sizes["count"]
            assert found.value("tickwire_sink_missed_total") == 0
            failed = found.value("tickwire_sink_failed_writes_total")
            assert found.value("tickwire_sink_write_seconds_count") >= failed + 3
            assert sink.asked >= documented("Sink")
            assert sink.names == documented("Every service", "Sink")


async def test_every_metric_is_documented_and_every_documented_one_exists(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with (
        pipeline(broker, simulator, tmp_path, ()) as line,
        monitored(line, "cache", "fetcher", "streamer") as scrapers,
    ):
        for scraper_, section in zip(scrapers, ("Cache", "Fetcher", "Streamer"), strict=True):
            scraped = await scraper_.scrape()
            assert scraped.names == documented("Every service", section)


async def test_up_gives_each_service_the_next_port_and_one_that_is_taken_is_named(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    port = free_port()
    folder = tmp_path / "up"
    folder.mkdir()
    async with up(folder, simulator, env={"TICKWIRE_METRICS_PORT": str(port)}) as running:
        for place, own in enumerate(("tickwire_cache_rows_total", "tickwire_fetcher_retries_total", "tickwire_feeds")):
            async with scraper(port + place) as from_:
                assert own in (await from_.scrape()).names
        url = running.env["TICKWIRE_DATA_DIR"]
        ended = await tickwire(
            running.env | {"TICKWIRE_METRICS_PORT": str(port), "TICKWIRE_DATA_DIR": url}, "service", "cache"
        )
        assert ended.code == 2
        assert f"metrics cannot be served at 127.0.0.1:{port}" in ended.err
        assert "metrics.port" in ended.err
