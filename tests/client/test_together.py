"""Several markets in one stream, connections without a block, batches as DataFrames, against the whole pipeline."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime

import pandas
import pytest

from client.pipeline_side import HOUR, now, source, until_released
from support import live
from support.pipeline import Pipeline
from tickwire.client import (
    BadRequest,
    Client,
    Gap,
    Key,
    Released,
    Trade,
    UnknownSymbol,
    connect,
    connect_sync,
    frame,
)
from tickwire.errors import BrokerUnavailable
from tickwire.model import feeds
from tickwire.model.feeds import Feed

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

MARKETS = [("binance", "BTC/USDT"), ("binance", "ETH/USDT"), ("binance", "T003/USDT")]


async def test_trades_of_many_markets_come_in_one_stream_each_once_and_named(line: Pipeline, client: Client) -> None:
    seen: dict[str, list[Trade]] = defaultdict(list)
    async with client.trades(MARKETS) as trades, asyncio.timeout(100):
        async for trade in trades:
            assert trade.exchange == "binance"
            assert trade.time == datetime.fromtimestamp(trade.timestamp / 1000, UTC)
            seen[trade.symbol].append(trade)
            if len(seen) == 3 and min(map(len, seen.values())) >= 30:
                break
        assert trades.gaps == []
    for _, symbol in MARKETS:
        found = seen[symbol]
        ids = [int(each.id or "") for each in found]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert found == await live.truth(line.simulator, symbol.replace("/", ""), ids[0], ids[-1])
        await until_released(line, Feed("trade", "binance", symbol))


async def test_a_cut_is_repaired_in_a_stream_of_many_markets_too(line: Pipeline, client: Client) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    async with client.trades(MARKETS[:2], gaps=True) as trades, asyncio.timeout(100):
        async for trade in trades:
            assert isinstance(trade, Trade)
            seen[trade.symbol].append(int(trade.id or ""))
            if sum(map(len, seen.values())) == 40:
                await line.simulator.fault("stream.binance.com", "ws_cut", seconds=1)
            if len(seen) == 2 and min(map(len, seen.values())) >= 150:
                break
    for ids in seen.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_books_and_tickers_of_many_markets_come_in_one_stream(client: Client) -> None:
    symbols = {symbol for _, symbol in MARKETS}
    async with asyncio.timeout(100):
        books = set()
        async for book in client.books(MARKETS, depth=5):
            if book.state == "live":
                assert len(book.bids) == 5
                books.add(book.symbol)
            if books == symbols:
                break
        tickers = set()
        async for ticker in client.tickers(MARKETS):
            tickers.add(ticker.symbol)
            if tickers == symbols:
                break


async def test_candles_of_many_keys_are_frames_or_one_stream(line: Pipeline, client: Client) -> None:
    until = await now(line) // HOUR * HOUR
    keys = [Key("binance", "BTC/USDT", "1h"), Key("binance", "ETH/USDT", "1h")]
    since = until - 24 * HOUR
    frames = await client.candles(keys, since=since, until=until)
    assert list(frames) == keys
    for key in keys:
        expected = await source(line, key.symbol, "1h", since, until)
        assert frames[key].to_numpy().tolist() == [row[1:] for row in expected]
    seen: dict[str, list[int]] = defaultdict(list)
    async with asyncio.timeout(100):
        async for candle in client.candles(keys, since=since, until=until):
            seen[candle.symbol].append(candle.timestamp)
    assert {symbol: len(times) for symbol, times in seen.items()} == {"BTC/USDT": 24, "ETH/USDT": 24}
    assert all(times == sorted(times) for times in seen.values())


async def test_a_market_that_is_refused_ends_the_stream_with_its_error(line: Pipeline, client: Client) -> None:
    with pytest.raises(UnknownSymbol, match="BTC/NONE"):
        async with asyncio.timeout(100), client.trades([*MARKETS, ("binance", "BTC/NONE")]):
            raise AssertionError
    for _, symbol in MARKETS:
        await until_released(line, Feed("trade", "binance", symbol))


@pytest.mark.parametrize(
    "markets", [[], ["binance"], [("binance",)], [("binance", "BTC/USDT", "1m")], [MARKETS[0], MARKETS[0]]]
)
async def test_what_is_no_list_of_markets_is_refused(client: Client, markets: list[tuple[str, str]]) -> None:
    for ask in (client.trades, client.books, client.tickers):
        with pytest.raises(BadRequest, match="binance"):
            ask(markets)


async def test_without_a_loop_many_markets_are_one_iterator_and_a_batch_a_frame(line: Pipeline) -> None:
    def work() -> pandas.DataFrame:
        with connect_sync(line.bus.url) as client:
            assert repr(client).startswith("<tickwire client without async, connected to nats://127.0.0.1:")
            with client.trades(MARKETS[:2]) as trades:
                seen = {next(trades).symbol for _ in range(200)}
                assert seen == {"BTC/USDT", "ETH/USDT"}
                return trades.take().frame()

    found = await asyncio.to_thread(work)
    assert list(found.columns) == ["id", "side", "price", "amount", "exchange", "symbol"]
    assert str(found.index.dtype) == "datetime64[ns, UTC]"
    assert found.index.name == "timestamp"
    assert found.price.dtype == "float64"


async def test_a_batch_of_a_stream_is_a_frame_with_columns(client: Client) -> None:
    async with asyncio.timeout(100):
        async with client.trades("binance", "BTC/USDT") as trades:
            batch = await trades.take()
        async with client.books("binance", "BTC/USDT", depth=5) as books:
            while (await anext(aiter(books))).state != "live":
                pass
            book = (await books.take())[-1]
    found = batch.frame()
    assert found.price.tolist() == [trade.price for trade in batch]
    assert found.index.tolist() == [pandas.Timestamp(trade.time) for trade in batch]
    best = frame([book]).iloc[0]
    assert (best.bid, best.ask_amount) == (book.bids[0][0], book.asks[0][1])
    assert frame([]).empty


async def test_a_client_may_be_awaited_and_closed(line: Pipeline) -> None:
    """As notebooks do, whose cells are no blocks; and within another block, `async with` closes it."""
    client = await connect(line.bus.url)
    assert repr(client) == f"<tickwire client, connected to {line.bus.url}>"
    trades = client.trades("binance", "BTC/USDT")
    assert "not started" in repr(trades)
    async for trade in trades:
        assert trade.symbol == "BTC/USDT"
        break
    await client.close()
    await client.close()
    assert repr(client).startswith("<tickwire client, closed")
    with pytest.raises(Released):
        client.trades("binance", "BTC/USDT")
    await until_released(line, Feed("trade", "binance", "BTC/USDT"))
    async with await connect(line.bus.url) as again:
        assert len(await again.candles("binance", "BTC/USDT", "1h", last=3)) == 3
    with pytest.raises(Released):
        again.tickers("binance", "BTC/USDT")
    with pytest.raises(BrokerUnavailable):
        await connect("127.0.0.1:1")


async def test_a_client_that_is_awaited_and_never_closed_ends_with_its_loop(line: Pipeline) -> None:
    def work() -> None:
        async def main() -> None:
            client = await connect(line.bus.url)
            await anext(aiter(client.tickers("binance", "BTC/USDT")))

        asyncio.run(main())

    await asyncio.to_thread(work)
    await until_released(line, Feed("ticker", "binance", "BTC/USDT"))


async def test_a_named_trade_equals_the_one_on_the_bus_and_no_other_market_s() -> None:
    taped = feeds.Trade(id="1", timestamp=1, side="buy", price=1.0, amount=2.0)
    named = Trade(id="1", timestamp=1, side="buy", price=1.0, amount=2.0, exchange="okx", symbol="A/B")
    other = Trade(id="1", timestamp=1, side="buy", price=1.0, amount=2.0, exchange="okx", symbol="C/B")
    assert named == taped
    assert taped == named
    assert named != other
    assert len({named, other, named}) == 2
    assert named != Trade(id="2", timestamp=1, side="buy", price=1.0, amount=2.0)
    assert feeds.Gap(since=1, until=2) == Gap(since=1, until=2, exchange="okx", symbol="A/B")
    assert named != feeds.Gap(since=1, until=2)
