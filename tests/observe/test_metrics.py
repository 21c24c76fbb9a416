"""The metrics of every service, scraped while it runs, against what is known from elsewhere.

Those of one service alone are in the test_metrics_*.py beside this.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from support.commands import up
from support.pipeline import SHORT_S, pipeline
from support.ports import free_port
from support.processes import SimulatorProcess, tickwire
from support.scraping import Scraped, described, monitored, scraper
from tickwire.bus import embedded as embedded_broker

pytestmark = pytest.mark.system


def of_process(scraped: Scraped, process: psutil.Process) -> None:
    """What the operating system says of a process, too."""
    assert scraped.value("process_resident_memory_bytes") == pytest.approx(process.memory_info().rss, rel=0.3)
    assert scraped.value("process_virtual_memory_bytes") == pytest.approx(process.memory_info().vms, rel=0.3)
    assert scraped.value("process_open_fds") == pytest.approx(process.num_fds(), abs=5)
    assert scraped.value("process_max_fds") == process.rlimit(psutil.RLIMIT_NOFILE)[0]
    assert scraped.value("process_start_time_seconds") == pytest.approx(process.create_time(), abs=2)
    assert scraped.value("process_cpu_seconds_total") == pytest.approx(sum(process.cpu_times()[:2]), abs=0.2)


async def test_the_connection_and_the_leases_are_counted_and_readiness_follows_them(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        broker = embedded_broker.embedded(tmp_path / "nats")
        url = await broker.__aenter__()
        line = await stack.enter_async_context(pipeline(url, simulator, tmp_path, (), lease_ttl_s=SHORT_S))
        began = time.monotonic()
        one, two = await stack.enter_async_context(monitored(line, "cache", "cache"))

        def shares(scrapes: list[Scraped]) -> float:
            return sum(each.value("tickwire_leases_held") for each in scrapes)

        async with asyncio.timeout(100):
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
        found_one = await one.until(lambda now: now.value("tickwire_loop_stall_seconds_count") >= 2)
        # One for each second.
        assert found_one.value("tickwire_loop_stall_seconds_count") <= time.monotonic() - began
        stalled = found_one.value("tickwire_loop_stall_seconds_sum")
        assert 0 <= found_one.value("tickwire_loop_stall_cpu_seconds_sum") <= stalled
        process = psutil.Process(line.running["cache-0"].process.pid)
        of_process(await one.scrape(), process)

        paused = line.running["cache-1"].process
        held = (await two.scrape()).value("tickwire_leases_held")
        stalls = "tickwire_loop_stall_seconds"
        before = await two.scrape()
        paused.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await one.until(lambda now: now.value("tickwire_leases_held") == 8)
        paused.send_signal(signal.SIGCONT)
        stood = time.monotonic() - stopped
        # The second in which it stood still is one that was longer.
        found_two = await two.until(
            lambda now: now.value(f"{stalls}_sum") > before.value(f"{stalls}_sum") + stood - 0.05
        )
        assert found_two.value(f"{stalls}_sum") < time.monotonic() - began
        late, late_before = (
            (each := scraped.buckets(stalls))[float("inf")] - each[max(b for b in each if b < stood - 0.05)]
            for scraped in (found_two, before)
        )
        # A busy machine may add others.
        assert late >= late_before + 1
        await two.until(lambda now: now.value("tickwire_lease_changes_total", change="lost") == held)

        assert await one.health("live") == (200, "")
        assert await one.health("ready") == (200, "")
        await broker.__aexit__(None, None, None)
        await one.until(lambda now: now.value("tickwire_broker_connected") == 0)
        assert await one.health("ready") == (503, "not connected to the broker")
        assert await one.health("live") == (200, "")
        await stack.enter_async_context(embedded_broker.embedded(tmp_path / "nats", port=int(url.rsplit(":")[-1])))
        await one.until(lambda now: now.value("tickwire_broker_reconnects_total") == 1)
        async with asyncio.timeout(60):
            while await one.health("ready") != (200, ""):
                await asyncio.sleep(0.05)
        for _ in range(3):
            await line.bus.client.publish("control.log", b"no level")
        await one.until(lambda now: now.value("tickwire_undecodable_messages_total", subject="control.log") == 3)
        assert {*one.asked, "tickwire_request_seconds", "tickwire_requests_refused_total"} >= set(
            described("Every service")
        ) - {"tickwire_broker_messages_total", "tickwire_broker_bytes_total"}
        await stack.pop_all().aclose()


async def test_every_metric_is_documented_and_every_documented_one_exists(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with (
        pipeline(broker, simulator, tmp_path, ()) as line,
        monitored(line, "cache", "fetcher", "streamer") as scrapers,
    ):
        for scraper_, section in zip(scrapers, ("Cache", "Fetcher", "Streamer"), strict=True):
            scraped = await scraper_.scrape()
            assert set(scraped.types) == set(described("Every service", section))


async def test_up_gives_each_service_the_next_port_and_one_that_is_taken_is_named(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    port = free_port()
    folder = tmp_path / "up"
    folder.mkdir()
    async with up(folder, simulator, env={"TICKWIRE_METRICS_PORT": str(port)}) as running:
        for place, own in enumerate(("tickwire_cache_rows_total", "tickwire_fetcher_retries_total", "tickwire_feeds")):
            async with scraper(port + place) as from_:
                assert own in (await from_.scrape()).types
        url = running.env["TICKWIRE_DATA_DIR"]
        ended = await tickwire(
            running.env | {"TICKWIRE_METRICS_PORT": str(port), "TICKWIRE_DATA_DIR": url}, "service", "cache"
        )
        assert ended.code == 2
        assert f"metrics cannot be served at 127.0.0.1:{port}" in ended.err
        assert "metrics.port" in ended.err
