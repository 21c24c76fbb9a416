"""The simulator as Gate v4, seen by unmodified ccxt and by requests: spot markets and perpetual contracts."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, BadSymbol

from simulator.asking import RECORDED, connected, form, get, samples
from support.simulated import client, simulated
from support.trading import ANY_TIME
from support.venues import Memory, venue_at
from tickwire.errors import ExchangeFailed
from tickwire.exchange.past_trades import PageRequest, PastTrades
from tickwire.model.feeds import Feed
from tickwire.simulator.server import Simulator
from tickwire.venues.gate import PROFILE

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC")
SPOT, USDT = "api.gateio.ws/ws/v4/", "fx-ws.gateio.ws/v4/ws/usdt"
FINE = [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.1", "lot": "0.001", "amount": 0.05}]


async def market(running: Simulator, endpoint: str, **query: Any) -> Any:
    return await get(running, f"api.gateio.ws/api/v4/{endpoint}", **query)


async def truth(running: Simulator, what: str, symbol: str, **query: Any) -> Any:
    return await get(running, f"_sim/truth/{what}", exchange="gate", symbol=symbol, **query)


def spot_socket(running: Simulator) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, SPOT)


async def asked(connection: aiohttp.ClientWebSocketResponse, channel: str, *payload: str, **fields: Any) -> Any:
    """The answer to a request to subscribe; the data that comes before it is passed over."""
    request = {"time": 1, "id": 7, "channel": channel, "event": "subscribe", "payload": list(payload)} | fields
    await connection.send_json({name: value for name, value in request.items() if value is not None})
    async with asyncio.timeout(60):
        while (message := await connection.receive_json()).get("event") == "update":
            pass
    return message


async def updates(connection: aiohttp.ClientWebSocketResponse, channel: str, count: int) -> list[Any]:
    """The next updates of a channel."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while len(found) < count:
            message = await connection.receive_json()
            found += [message] if message["channel"] == channel and message["event"] == "update" else []
    return found


# ---- markets and candles


async def test_ccxt_loads_the_markets_of_all_kinds() -> None:
    async with simulated(now=NOW) as running, client(running.url, "gate") as venue:
        markets = await venue.load_markets()
        spot, linear, inverse = (markets[symbol] for symbol in SYMBOLS)
        assert (spot["precision"]["price"], spot["precision"]["amount"]) == (0.01, 0.00001)
        assert (linear["linear"], linear["settle"], linear["contractSize"]) == (True, "USDT", 0.0001)
        assert (inverse["inverse"], inverse["settle"], inverse["contractSize"]) == (True, "BTC", 1)
        assert markets["ETH/USDT:USDT"]["contractSize"] == 0.01
        assert await venue.fetch_time() == NOW


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
async def test_candles_are_those_of_the_market(timeframe: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, "gate") as venue:
        since = NOW - 900 * MINUTE if timeframe == "1m" else NOW - 30 * DAY
        for symbol in SYMBOLS:
            ours = await venue.fetch_ohlcv(symbol, timeframe, since=since, limit=1_000)
            true = await truth(running, "candles", symbol, timeframe=timeframe, since=since)
            assert len(true) > 0
            assert [row[:5] for row in ours[: len(true)]] == [row[:5] for row in true]
            size = {"BTC/USDT": 1, "BTC/USDT:USDT": 0.0001}.get(symbol)
            if size is not None:
                assert [row[5] * size for row in ours[: len(true)]] == pytest.approx([row[5] for row in true])


async def test_weeks_open_on_thursday_for_both_of_ccxt_s_timeframes() -> None:
    async with simulated(now=NOW) as running, client(running.url, "gate") as venue:
        for timeframe in ("7d", "1w"):
            rows = await venue.fetch_ohlcv("BTC/USDT", timeframe, since=NOW - 40 * DAY, limit=10)
            assert len(rows) == 6
            assert {row[0] % (7 * DAY) for row in rows} == {0}


async def test_a_spot_candle_has_quote_volume_base_volume_and_whether_it_is_closed() -> None:
    async with simulated(now=NOW) as running:
        rows = await market(running, "spot/candlesticks", currency_pair="BTC_USDT", interval="1m", limit=2)
    assert [len(row) for row in rows] == [8, 8]
    assert [row[7] for row in rows] == ["true", "false"]
    (at, quote, close, high, low, opened, base, _) = rows[0]
    assert int(at) == NOW // MINUTE * 60 - 60
    assert Decimal(low) <= min(Decimal(opened), Decimal(close)) <= max(Decimal(opened), Decimal(close)) <= Decimal(high)
    assert Decimal(low) <= Decimal(quote) / Decimal(base) <= Decimal(high)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"interval": "1m", "from": NOW // 1000 - 10_001 * 60, "to": NOW // 1000 - 10_000 * 60}, "too long ago"),
        ({"interval": "1m", "from": NOW // 1000 - 2_001 * 60}, "too broad"),
        ({"interval": "1m", "from": NOW // 1000 - 60, "limit": 10}, "`limit` value: 10"),
        ({"interval": "2m"}, "`interval` value: 2m"),
        ({"interval": "1m", "limit": 2_001}, "`limit` value: 2001"),
    ],
)
async def test_requests_for_candles_that_gate_refuses(query: dict[str, Any], words: str) -> None:
    async with simulated(now=NOW) as running:
        for path, name in (("spot", "currency_pair"), ("futures/usdt", "contract")):
            async with aiohttp.ClientSession() as http:
                url = f"{running.url}/api.gateio.ws/api/v4/{path}/candlesticks"
                async with http.get(url, params={name: "BTC_USDT"} | query) as response:
                    answer = await response.json()
            assert (response.status, answer["label"]) == (400, "INVALID_PARAM_VALUE")
            assert words in answer["message"]


async def test_unknown_markets_are_refused_by_their_labels() -> None:
    async with simulated(now=NOW) as running, client(running.url, "gate") as venue:
        await venue.load_markets()
        with pytest.raises(BadSymbol, match="INVALID_CURRENCY_PAIR"):
            await venue.public_spot_get_trades({"currency_pair": "NOSUCH_USDT"})
        with pytest.raises(BadSymbol, match="CONTRACT_NOT_FOUND"):
            await venue.public_futures_get_settle_trades({"settle": "usdt", "contract": "NOSUCH_USDT"})
        with pytest.raises(BadRequest):
            await venue.fetch_ohlcv("BTC/USDT", "1m", since=NOW - 30 * DAY, limit=10)


# ---- trades


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_past_trades_of_more_than_a_page_come_whole(symbol: str) -> None:
    async with (
        simulated(now=NOW, live_rate=50, live_from=NOW - 2 * MINUTE) as running,
        client(running.url, "gate") as venue,
    ):
        await venue.load_markets()
        past, since = PastTrades(venue, PROFILE.trades, lambda: NOW), NOW - MINUTE + 1
        found = await past.fetch(symbol, PageRequest(since, None), ANY_TIME, lambda reason: None)
        true = await truth(running, "trades", symbol, since=since)
    assert len(true) > 2_000
    # Of spot markets it is the maker's side.
    turned = {"buy": "sell", "sell": "buy"} if symbol == "BTC/USDT" else {"buy": "buy", "sell": "sell"}
    assert past.knows_sides(symbol) is (symbol != "BTC/USDT")
    assert [(each.id, each.timestamp, each.side, each.price, each.amount) for each in found] == [
        (str(row["id"]), row["timestamp"], turned[row["side"]], row["price"], row["amount"]) for row in true
    ]


async def test_of_too_many_trades_in_a_range_the_newest_are_given_newest_first() -> None:
    async with simulated(now=NOW) as running:
        until = NOW // 1000 - 600
        query = {"currency_pair": "BTC_USDT", "from": until - 3_600, "to": until, "limit": 20}
        page = await market(running, "spot/trades", **query)
        second = await market(running, "spot/trades", **query, page=2)
        older = await market(
            running, "spot/trades", currency_pair="BTC_USDT", last_id=page[-1]["id"], reverse="true", limit=20
        )
        true = await truth(running, "trades", "BTC/USDT", since=(until - 3_600) * 1000, until=until * 1000 + 1)
    newest = [str(row["id"]) for row in true[::-1]]
    assert [row["id"] for row in page] == newest[:20]
    assert [row["id"] for row in second] == [row["id"] for row in older] == newest[20:40]


# ---- books


async def test_a_spot_book_begins_whole_and_each_change_follows_the_one_before() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, spot_socket(running) as connection:
        assert (await asked(connection, "spot.obu", "ob.BTC_USDT.50"))["result"] == {"status": "success"}
        whole, *rest = [each["result"] for each in await updates(connection, "spot.obu", 12)]
        again = await asked(connection, "spot.obu", "ob.BTC_USDT.50")
        book = {side: dict(whole[side]) for side in "ba"}
        last = whole["u"]
        for change in rest:
            assert change["U"] == last + 1
            last = change["u"]
            for side in "ba":
                book[side] |= dict(change[side])
        true = await truth(running, "book", "BTC/USDT", at=rest[-1]["t"], levels=50)
    assert whole["full"] is True
    assert again["error"] == {"code": 2, "message": "Alert sub ob.BTC_USDT.50"}
    for side, name in (("b", "bids"), ("a", "asks")):
        kept = sorted(((float(price), float(size)) for price, size in book[side].items() if size != "0"),
                      reverse=side == "b")  # fmt: skip
        assert [list(level) for level in kept] == true[name]


async def test_changes_of_a_contract_s_book_continue_the_rest_snapshot() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, USDT) as connection:
        await asked(connection, "futures.order_book_update", "BTC_USDT", "100ms", "100")
        await updates(connection, "futures.order_book_update", 1)
        whole = await market(running, "futures/usdt/order_book", contract="BTC_USDT", limit=100, with_id="true")
        changes = [each["result"] for each in await updates(connection, "futures.order_book_update", 15)]
        following = [each for each in changes if each["u"] > whole["id"]]
        book = {side: {each["p"]: each["s"] for each in whole[name]} for side, name in (("b", "bids"), ("a", "asks"))}
        for change in following:
            for side in "ba":
                book[side] |= {each["p"]: each["s"] for each in change[side]}
        true = await truth(running, "book", "BTC/USDT:USDT", at=following[-1]["t"], levels=100)
    assert following[0]["U"] <= whole["id"] + 1 <= following[0]["u"]
    assert all(after["U"] == before["u"] + 1 for before, after in pairwise(following))
    for side, name in (("b", "bids"), ("a", "asks")):
        kept = sorted(((float(price), float(size)) for price, size in book[side].items() if size != "0"),
                      reverse=side == "b")[:100]  # fmt: skip
        assert [list(level) for level in kept] == true[name]


# ---- sockets


async def test_a_request_with_an_unknown_market_is_refused_whole() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, spot_socket(running) as connection:
        answer = await asked(connection, "spot.trades", "BTC_USDT", "NOSUCH_USDT")
        assert answer["error"] == {"code": 2, "message": "unknown currency pair: NOSUCH_USDT"}
        assert (answer["id"], answer["result"], answer["event"]) == (7, {"status": "fail"}, "subscribe")
        assert (await asked(connection, "futures.trades", "BTC_USDT"))["error"]["code"] == 2
        assert (await asked(connection, "spot.trades", event="nothing"))["error"]["code"] == 1
        await connection.send_json({"time": 1, "channel": "spot.ping"})
        pong = await connection.receive_json(timeout=60)
    assert (pong["channel"], pong["event"], pong["result"]) == ("spot.pong", "", None)


async def test_ccxt_watches_everything_and_unwatches() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50, symbols=FINE) as running,
        client(running.url, "gate", pro=True) as venue,
    ):
        for symbol in SYMBOLS:
            async with asyncio.timeout(100):
                (trade, *_) = await venue.watch_trades(symbol)
                assert trade["symbol"] == symbol
                assert (await venue.watch_ohlcv(symbol, "1m"))[-1][0] % MINUTE == 0
                assert (await venue.watch_bids_asks([symbol]))[symbol]["bid"] > 0
                assert (await venue.watch_ticker(symbol))["last"] > 0
                book = await venue.watch_order_book(symbol)
                assert book["bids"][0][0] < book["asks"][0][0]
                assert await venue.un_watch_order_book(symbol) is True
                assert await venue.un_watch_trades(symbol) is True


@pytest.mark.parametrize("symbol", ["ETH/USDT", "ETH/USDT:USDT"])
async def test_a_subscription_that_is_refused_ends_no_other_on_its_socket(symbol: str) -> None:
    types, other = ("swap",) if ":" in symbol else ("spot",), symbol.replace("ETH", "BTC")
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        venue_at(running.url, "gate", types=types) as venue,
    ):
        kept, refused = Memory(), Memory()
        async with venue.watching(Feed("trade", "gate", other), kept):
            await kept.get(5)
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{running.url}/_sim/listing", json={"symbol": "ETH/USDT", "listed": False}) as response,
            ):
                assert response.status == 200
            with pytest.raises(ExchangeFailed, match="unknown"):
                async with venue.watching(Feed("trade", "gate", symbol), refused):
                    await asyncio.Event().wait()
            await kept.get(len(kept.items) + 20)
        assert kept.told == ["connected"]
        assert refused.items == []


# ---- the form of frames

needs_recordings = pytest.mark.skipif(
    not (RECORDED / "gate").is_dir(), reason="the recorded market data is not beside this checkout (../shared/data)"
)


def recorded(channel: str, event: str = "update", where: str = "") -> list[Any]:
    """The recorded frames of a channel with this text."""
    return [
        message for each in samples("gate")
        if (message := each["message"]).get("channel") == channel and message.get("event") == event
        and where in json.dumps(message)
    ]  # fmt: skip


async def ours(url: str, channel: str, *payload: str, count: int = 1) -> list[Any]:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, url) as connection:
        await asked(connection, channel, *payload)
        return await updates(connection, channel, count)


@needs_recordings
@pytest.mark.golden
async def test_messages_have_the_recorded_form() -> None:
    whole, change = recorded("spot.obu")
    for theirs, made in zip((whole, change), await ours(SPOT, "spot.obu", "ob.BTC_USDT.50", count=2), strict=True):
        assert form(made) == form(theirs)
        assert (list(made), list(made["result"])) == (list(theirs), list(theirs["result"]))
    (theirs,) = recorded("spot.book_ticker")
    (made,) = await ours(SPOT, "spot.book_ticker", "BTC_USDT")
    assert form(made) == form(theirs)
    (theirs,) = recorded("futures.tickers", where='"time_ms": 1677629168840')
    (made,) = await ours(USDT, "futures.tickers", "BTC_USDT")
    assert form(made) == form(theirs)
    assert list(made["result"][0]) == list(theirs["result"][0])


@needs_recordings
@pytest.mark.golden
async def test_trades_and_best_prices_have_the_recorded_form_but_for_what_came_later() -> None:
    (theirs,) = recorded("spot.trades")
    (made,) = await ours(SPOT, "spot.trades", "BTC_USDT")
    later = {"id_market", "range", "stock", "money", "trade_mode"}
    assert form({name: value for name, value in made["result"].items() if name not in later}) == form(theirs["result"])
    (theirs,) = recorded("futures.trades", where="1614556850860")
    (made,) = await ours(USDT, "futures.trades", "BTC_USDT")
    # With the header X-Gate-Size-Decimal, sizes are texts.
    assert form(made["result"][0]) == form(theirs["result"][0]) | {"size": "number"}
    (theirs,) = recorded("futures.book_ticker", where="1648771200080")
    (made,) = await ours(USDT, "futures.book_ticker", "BTC_USDT")
    assert form(made["result"]) == form(theirs["result"]) | {"B": "number", "A": "number"}


@needs_recordings
@pytest.mark.golden
async def test_an_acknowledgement_has_the_recorded_form() -> None:
    (theirs,) = recorded("spot.obu", "subscribe")
    async with simulated(now=NOW) as running, spot_socket(running) as connection:
        made = await asked(connection, "spot.obu", "ob.BTC_USDT.400", id=None)
    assert form(made) == form(theirs)
    assert list(made) == list(theirs)
