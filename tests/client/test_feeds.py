"""Feeds through the Python client against the whole pipeline: each item once, in order, and what is missing said."""

from __future__ import annotations

import asyncio

import pytest

from client.pipeline_side import HOUR, now, until_released
from support import live
from support.pipeline import Pipeline
from tape.places import place_of
from tickwire.client import Client, Gap, Trade, UnknownSymbol
from tickwire.model.feeds import Feed

SOCKET = "stream.binance.com"

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]


async def test_trades_are_those_of_the_exchange_and_leaving_the_loop_releases_the_feed(
    line: Pipeline, client: Client
) -> None:
    seen: list[Trade] = []
    async for trade in client.trades("binance", "BTC/USDT"):
        seen.append(trade)
        if len(seen) == 200:
            break
    ids = [int(trade.id or "") for trade in seen]
    assert ids == list(range(ids[0], ids[0] + 200))
    assert seen == await live.truth(line.simulator, "BTCUSDT", ids[0], ids[-1])
    await until_released(line, Feed("trade", "binance", "BTC/USDT"))


async def test_a_cut_of_the_exchanges_socket_costs_the_iterator_nothing(line: Pipeline, client: Client) -> None:
    seen: list[Trade] = []
    async with client.trades("binance", "ETH/USDT") as trades:
        async for trade in trades:
            seen.append(trade)
            if len(seen) == 50:
                await line.simulator.fault(SOCKET, "ws_cut", seconds=1)
            if len(seen) == 400:
                break
        assert trades.gaps == []
    ids = [int(trade.id or "") for trade in seen]
    assert ids == list(range(ids[0], ids[0] + 400))


async def test_history_goes_over_into_live_trades_without_a_seam(line: Pipeline, client: Client) -> None:
    """From a time and from a sequence: exactly what is on the tape, each once."""
    feed = Feed("trade", "binance", "BNB/USDT")
    async with client.trades("binance", "BNB/USDT") as running:
        first = await anext(aiter(running))
        async for _ in running:
            if running.sequence >= 30:
                break
        stored = running.sequence
        seen: dict[str, list[Trade | Gap]] = {"time": [], "sequence": []}
        async with client.trades("binance", "BNB/USDT", since=first.timestamp + 50, gaps=True) as since:
            async for each in since:
                seen["time"].append(each)
                if len(seen["time"]) == 300:
                    break
        async with client.trades("binance", "BNB/USDT", after=stored, gaps=True) as after:
            async for each in after:
                seen["sequence"].append(each)
                if len(seen["sequence"]) == 300:
                    break
    found = await live.on_tape(line.bus, feed)
    tape, places = found.trades, found.places
    begin = next(at for at, trade in enumerate(tape) if trade.timestamp >= first.timestamp + 50)
    assert seen["time"] == tape[begin : begin + 300]
    begin = next(at for at, place in enumerate(places) if place > stored)
    assert seen["sequence"] == tape[begin : begin + 300]


async def test_what_lies_before_the_tape_is_a_gap_in_its_place(line: Pipeline, client: Client) -> None:
    since = await now(line) - HOUR
    found: list[Trade | Gap] = []
    async with client.trades("binance", "T009/USDT", since=since, gaps=True) as trades:
        async for each in trades:
            found.append(each)
            if len(found) == 20:
                break
        assert trades.gaps == found[:1]
    gap, first = found[0], found[1]
    assert isinstance(gap, Gap)
    assert isinstance(first, Trade)
    assert (gap.since, gap.until) == (since, first.timestamp)


async def test_a_replay_is_the_tape_again_at_the_chosen_speed(line: Pipeline, client: Client) -> None:
    feed = Feed("trade", "binance", "T008/USDT")
    begin = await now(line)
    async with client.trades("binance", "T008/USDT") as trades:
        seen = 0
        async for _ in trades:
            seen += 1
            if seen == 400:
                break
    await until_released(line, feed)
    tape = (await live.on_tape(line.bus, feed)).trades
    replayed = [each async for each in client.replay("binance", "T008/USDT", begin - HOUR) if isinstance(each, Trade)]
    assert replayed == tape
    middle = tape[len(tape) // 2].timestamp
    part = [each async for each in client.replay("binance", "T008/USDT", begin - HOUR, middle)]
    assert [each for each in part if isinstance(each, Trade)] == [each for each in tape if each.timestamp < middle]
    span_s = (tape[-1].timestamp - tape[0].timestamp) / 1000
    loop = asyncio.get_running_loop()
    started = loop.time()
    async for _ in client.replay("binance", "T008/USDT", begin - HOUR, speed=4):
        pass
    # A busy machine may be late; that it is not later than the speed says is in `test_replay_of_several`.
    assert span_s / 4 <= loop.time() - started


async def test_books_and_tickers_come_with_their_present_state(client: Client) -> None:
    async with asyncio.timeout(100):
        async for book in client.books("binance", "BTC/USDT", depth=5):
            if book.state == "live":
                assert (len(book.bids), len(book.asks)) == (5, 5)
                assert book.bids[0][0] < book.asks[0][0]
                break
        async for ticker in client.tickers("binance", "BTC/USDT"):
            if ticker.last is not None:
                assert (ticker.low or 0) <= ticker.last <= (ticker.high or 0)
                break


async def test_whoever_is_slow_with_a_book_gets_the_newest_and_harms_no_other(line: Pipeline, client: Client) -> None:
    async with client.books("binance", "ETH/USDT", cadence_ms=0) as slow:
        async with client.books("binance", "ETH/USDT", cadence_ms=0) as fast:
            stale = await anext(aiter(slow))
            count = 0
            async for newest in fast:  # noqa: B007
                count += 1
                if count == 30:
                    break
            book = await anext(aiter(slow))
            assert slow.missed >= 20
            assert (book.sequence or 0) >= (newest.sequence or 0) > (stale.sequence or 0)
            assert fast.missed < slow.missed


async def test_an_unknown_symbol_is_told_at_the_first_step_of_the_iterator(client: Client) -> None:
    with pytest.raises(UnknownSymbol):
        await anext(aiter(client.trades("binance", "BTC/NONE")))


async def test_a_feed_that_had_been_off_begins_with_the_first_live_trade(line: Pipeline, client: Client) -> None:
    """What happened meanwhile is fetched for the tape, and is not what is asked for."""
    feed = Feed("trade", "binance", "T012/USDT")
    async for _ in client.trades("binance", "T012/USDT"):
        break
    await until_released(line, feed)
    off = (await live.on_tape(line.bus, feed)).trades[-1].timestamp
    async with asyncio.timeout(100):
        while await now(line) < off + 3000:
            await asyncio.sleep(0.1)
    asked = await now(line)
    seen: list[Trade | Gap] = []
    async for trade in client.trades("binance", "T012/USDT", gaps=True):
        seen.append(trade)
        if len(seen) == 50:
            break
    tape = await live.on_tape(line.bus, feed)
    meanwhile = [trade for trade in tape.trades if off < trade.timestamp < asked]
    assert tape.repaired >= len(meanwhile) > 50
    first = seen[0]
    assert isinstance(first, Trade)
    assert first.timestamp >= asked
    begin = tape.trades.index(first)
    assert seen == tape.trades[begin : begin + 50]


async def test_a_second_loop_goes_on_where_the_first_stopped_and_so_does_who_comes_back(
    line: Pipeline, client: Client
) -> None:
    seen: list[Trade] = []
    async with client.trades("binance", "T013/USDT") as trades:
        await line.simulator.order("burst", symbol="T013USDT", count=500, ms=100)
        for until in (30, 60, 200):
            async for trade in trades:
                seen.append(trade)
                if len(seen) >= until:
                    break
        stored, whole = trades.sequence, len(seen)
    async with client.trades("binance", "T013/USDT", after=stored) as trades:
        async for trade in trades:
            seen.append(trade)
            if len(seen) == 600:
                break
    tape = await live.on_tape(line.bus, Feed("trade", "binance", "T013/USDT"))
    again = seen.index(seen[whole])
    # A message of which only a part was handed on comes again, whole.
    assert again <= whole
    begin = tape.trades.index(seen[0])
    assert seen[:whole] == tape.trades[begin : begin + whole]
    assert (
        seen[whole:] == [t for t, place in zip(tape.trades, tape.places, strict=True) if place > stored][: 600 - whole]
    )


async def test_a_consumer_that_is_too_slow_reads_back_what_it_missed_or_is_told(
    line: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.client.live.WAITING", 4)
    monkeypatch.setattr("tickwire.client.live.HELD", 8)
    feed = Feed("trade", "binance", "T014/USDT")
    seen: list[Trade | Gap] = []

    async def until_behind(messages: int) -> None:
        """Wait until so many more messages are on the tape; the consumer takes none of them."""
        before = len((await live.on_tape(line.bus, feed)).sequences)
        async with asyncio.timeout(100):
            while len((await live.on_tape(line.bus, feed)).sequences) < before + messages:
                await asyncio.sleep(0.1)

    async with client.trades("binance", "T014/USDT", gaps=True) as trades:
        steps = aiter(trades)
        seen.append(await anext(steps))
        await until_behind(60)
        while len(seen) < 100:
            seen.append(await anext(steps))
        tape = (await live.on_tape(line.bus, feed)).trades
        begin = tape.index(seen[0])  # type: ignore[arg-type]
        assert seen == tape[begin : begin + len(seen)]
        assert trades.read_back > 0
        await until_behind(60)
        await line.bus.jetstream.purge_stream(place_of(feed).stream, subject=place_of(feed).subject, keep=5)
        while not trades.gaps:
            seen.append(await anext(steps))
        assert seen[-1] == trades.gaps[0]
        after = await anext(steps)
    gap, before = trades.gaps[0], seen[-2]
    assert isinstance(before, Trade)
    assert isinstance(after, Trade)
    assert (gap.after_id, gap.before_id) == (before.id, after.id)
    assert int(after.id or 0) - int(before.id or 0) > 1


async def test_a_book_whose_streamer_died_is_not_live_for_long(
    line: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client says so itself: nobody else is there to say it."""
    monkeypatch.setattr("tickwire.client.live.BOOK_VALID_S", 1.0)
    async with asyncio.timeout(100), client.books("binance", "BTC/USDT") as books:
        each = aiter(books)
        while (await anext(each)).state != "live":
            pass
        await line.kill("streamer")
        while (book := await anext(each)).state == "live":
            pass
        assert (book.bids, book.asks) == ([], [])
        await line.start("streamer")
        while (await anext(each)).state != "live":
            pass
