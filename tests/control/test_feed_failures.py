"""A feed that fails does so alone: it says why, it is tried again, and its neighbours do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ccxt.base import errors

from support import feeds, live
from support.hearing import Heard, hearing, reports
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.venues import Memory, settings, venue_at
from tickwire.bus.connection import Bus
from tickwire.errors import Busy, ExchangeFailed
from tickwire.model.feeds import Feed, FeedReport, StartRequest, Status, Ticker, Trades
from tickwire.streamer import service
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.service import serve_streamer
from tickwire.streamer.subscriptions import live_venue, venue_clock, venue_pool

pytestmark = pytest.mark.actors

TRADE = Feed("trade", "binance", "BTC/USDT")
TICKER = Feed("ticker", "binance", "BTC/USDT")
OTHER = Feed("ticker", "binance", "ETH/USDT")


async def report_of(bus: Bus, feed: Feed) -> FeedReport:
    """As its owner sees it."""
    return next(each for each in await reports(bus) if each.feed == feed)


@pytest.mark.parametrize(
    "error", [OverflowError("a bug"), ConnectionError("closed before send"), ExceptionGroup("", [KeyError("x")])]
)
async def test_an_unlisted_error_in_one_feed_ends_neither_its_neighbours_nor_the_feed(
    bus: Bus, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, failing = service.BODIES["ticker"], asyncio.Event()
    failing.set()

    async def run(context: FeedContext) -> None:
        if failing.is_set() and context.feed == TICKER:
            raise error
        await healthy(context)

    monkeypatch.setitem(service.BODIES, "ticker", run)
    async with (
        running_simulator("--live-rate", "50") as simulator,
        serving(bus, serve_streamer, settings(simulator.url)) as streamer,
    ):
        async with (
            hearing(bus, TRADE.public, Trades) as trades,
            hearing(bus, OTHER.public, Ticker) as tickers,
            hearing(bus, "md.status.>", Status) as statuses,
            hearing(bus, TICKER.public, Ticker) as healed,
        ):
            for feed in (TRADE, OTHER, TICKER):
                await live.start(bus, feed)
            await statuses.until_said(lambda said: sum(each.event == "failed" for each in said) >= 2)
            report = await report_of(bus, TICKER)
            assert report.state == "failed"
            assert type(error).__name__ in report.reason or "KeyError" in report.reason
            await goes_on(trades)
            await goes_on(tickers)
            failing.clear()
            await healed.until_said(lambda said: any(each.last for each in said))
            assert (await report_of(bus, TICKER)).reason == ""
            assert not streamer.done()
        others = [each for each in statuses.said if (each.kind, each.symbol) != ("ticker", "BTC/USDT")]
        assert {each.event for each in others} <= {"starting", "connected"}


async def goes_on(heard: Heard[Any]) -> None:
    """Until more comes."""
    count = len(heard.said)
    await heard.until_said(lambda said: len(said) > count + 2)


async def test_a_bug_in_the_watchdog_of_a_venue_ends_no_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_simulator("--live-rate", "200") as exchange, venue_at(exchange.url, silence_s=1.0) as opened:
        failed = asyncio.Event()

        class Broken:
            isConnected, error = True, None

            @property
            def last_message_at(self) -> int:
                failed.set()
                raise ZeroDivisionError("a bug")

        memory = Memory()
        async with opened.watching(TRADE, memory):
            await memory.get(5)
            clients: Any = opened.rest.clients
            clients["ws://broken"] = Broken()
            async with asyncio.timeout(100):
                await failed.wait()
            had = len(memory.items)
            await memory.get(had + 20)
            del opened.rest.clients["ws://broken"]
        assert memory.told == ["connected"]


async def test_a_book_lives_through_more_failed_snapshots_than_a_float_has_exponents(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.0 ** 1024 is an OverflowError: after 1,025 failures, three hours, it ended the whole streamer."""
    monkeypatch.setattr("tickwire.streamer.books.resync.MAX_BACKOFF_S", 0.0)
    feed = Feed("book", "binance", "BTC/USDT")
    async with feeds.body(bus, books.run, feed, Demand(depth=5, cadence_ms=0)) as running:
        sink = await running.venue.sink()
        for _ in range(1_100):
            running.venue.rest.answers.put_nowait(errors.NetworkError("away"))
        running.venue.rest.answers.put_nowait({"nonce": 7, "timestamp": 1, "bids": [[1.0, 2.0]], "asks": [[3.0, 4.0]]})
        sink.connected()
        book = await running.public.first(lambda book: book.state == "live")
        assert (book.sequence, len(running.venue.rest.asked)) == (7, 1_101)


async def test_a_socket_that_closes_before_anything_is_sent_is_opened_again() -> None:
    """ccxt's `Client.send` raises the builtin ConnectionError then, which is none of ccxt's errors."""
    async with running_simulator("--live-rate", "200") as simulator, venue_at(simulator.url) as opened:
        memory = Memory()
        made, raised = opened.router.client_created, 0

        def closed_first(client: Any) -> None:
            made(client)
            send = client.send

            async def sent(message: Any) -> Any:
                nonlocal raised
                if raised == 3:
                    return await send(message)
                # As aiohttp is between the end of the stream and ccxt's next look at it.
                client.connection._closed = True
                try:
                    return await send(message)
                except ConnectionError:
                    raised += 1
                    raise
                finally:
                    client.connection._closed = False

            client.send = sent

        opened.router.client_created = closed_first  # type: ignore[method-assign]
        async with opened.watching(TRADE, memory):
            await memory.get(3)
        assert raised == 3


async def test_an_exchange_that_cannot_be_imported_is_refused_and_ends_no_other(
    bus: Bus, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = live_venue.open_live_venue

    def broken(exchange: str, *arguments: Any, **chosen: Any) -> Any:
        if exchange == "okx":
            raise ImportError("a package is missing")
        return opened(exchange, *arguments, **chosen)

    monkeypatch.setattr(venue_pool, "open_live_venue", broken)
    async with (
        serving(bus, serve_streamer, settings(simulator.url)) as streamer,
        hearing(bus, TRADE.public, Trades) as trades,
    ):
        await live.start(bus, TRADE)
        with pytest.raises(ExchangeFailed, match="a package is missing"):
            await live.start(bus, Feed("trade", "okx", "BTC/USDT"))
        await goes_on(trades)
        assert not streamer.done()


async def test_a_streamer_stops_at_once_though_an_exchange_demands_a_pause_of_minutes(bus: Bus) -> None:
    """Neither a feed that is being opened nor a request to start one delays it."""
    async with running_simulator("--live-rate", "50") as simulator, asyncio.timeout(100):
        await simulator.fault("exchangeInfo", "status", code=429, retry_after=600)
        chosen = settings(simulator.url, feeds=["trade binance BTC/USDT"])
        request = StartRequest(kind="ticker", exchange="binance", symbol="BTC/USDT", subscriber="one", ttl_s=60)
        async with asyncio.TaskGroup() as group:
            async with serving(bus, serve_streamer, chosen):
                # The exchange has demanded the pause.
                while "failed" not in {each.state for each in await reports(bus)}:
                    await asyncio.sleep(0.02)
                asking = group.create_task(refused(bus, request))
                # The request has been received before this one.
                await reports(bus)
            assert isinstance(await asking, Busy)


async def test_a_clock_that_cannot_be_asked_for_minutes_is_unknown_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candles begin, and feeds stop, without the answer."""
    monkeypatch.setattr(venue_clock, "RETRY_S", 0.0)
    async with running_simulator() as simulator, asyncio.timeout(60):
        await simulator.fault("time", "status", code=429, retry_after=600)
        async with venue_at(simulator.url) as venue:
            assert [await venue.now() for _ in range(3)] == [None] * 3


async def refused(bus: Bus, request: StartRequest) -> Exception:
    with pytest.raises(Busy) as raised:
        await bus.request("streamer.start", request, FeedReport, timeout_s=90)
    return raised.value
