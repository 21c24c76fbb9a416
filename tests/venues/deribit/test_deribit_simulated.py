"""The simulator as Deribit: its messages beside the recorded ones, and unmodified ccxt that trades there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, DDoSProtection, ExchangeError

from simulator.asking import connected, form, get
from support.simulated import client, simulated

pytestmark = pytest.mark.golden

NOW = 1_750_000_030_500
MINUTE, HOUR = 60_000, 3_600_000
REST, SOCKET = "www.deribit.com/api/v2/public", "www.deribit.com/ws/api/v2"
INVERSE, LINEAR = "BTC/USD:BTC", "BTC/USDC:USDC"
NAME = "BTC-PERPETUAL"


def of(recorded: Path, name: str) -> Any:
    """A recorded document."""
    return json.loads((recorded / "venues" / "deribit" / f"{name}.json").read_text())


async def asked(connection: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> Any:
    """The answer to a request on a socket; what else arrives before it is dropped."""
    await connection.send_json({"jsonrpc": "2.0", "id": 7, "method": f"public/{method}", "params": params})
    while (message := await connection.receive_json(timeout=60)).get("id") != 7:
        pass
    return message


async def notified(connection: aiohttp.ClientWebSocketResponse, channel: str) -> Any:
    """The next notification of a channel."""
    while True:
        message = await connection.receive_json(timeout=60)
        if message.get("method") == "subscription" and message["params"]["channel"] == channel:
            return message


# ---- the recorded form


@pytest.mark.parametrize(
    ("document", "method", "query"),
    [
        ("http_get_time", "get_time", {}),
        ("http_get_instruments", "get_instruments", {"currency": "BTC"}),
        ("http_get_tradingview_chart_data", "get_tradingview_chart_data",
         {"resolution": "1", "start_timestamp": NOW - HOUR, "end_timestamp": NOW}),
        ("http_get_last_trades", "get_last_trades_by_instrument_and_time",
         {"instrument_name": "ETH-PERPETUAL", "start_timestamp": NOW - HOUR, "count": 10}),
    ],
)  # fmt: skip
async def test_answers_have_the_recorded_form(recorded: Path, document: str, method: str, query: Any) -> None:
    theirs = of(recorded, document)
    async with simulated(now=NOW) as running:
        ours = await get(running, f"{REST}/{method}", **{"instrument_name": NAME} | query)
    assert form(ours["result"]) == form(theirs["result"])
    ours |= {"id": 1}  # A request by GET has no id.
    # The recorded answer with the time is cut.
    assert {*ours} == {*theirs} if document != "http_get_time" else {*ours} > {*theirs}


@pytest.mark.parametrize(
    ("document", "channel", "left_out"),
    [
        ("ws_trades", f"trades.{NAME}.100ms", "combo_trade_id"),
        ("ws_ticker", f"ticker.{NAME}.100ms", ""),
        ("ws_quote", f"quote.{NAME}", ""),
        ("ws_chart", f"chart.trades.{NAME}.1", ""),
    ],
)
async def test_notifications_have_the_recorded_form(recorded: Path, document: str, channel: str, left_out: str) -> None:
    theirs = of(recorded, document)
    for row in theirs["params"]["data"] if left_out else ():
        row.pop(left_out, None)
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, SOCKET) as connection:
        answer = await asked(connection, "subscribe", channels=[channel])
        assert form(await notified(connection, channel)) == form(theirs)
    acknowledged = of(recorded, "ws_subscribe_response")
    assert form(answer) == form(acknowledged)


async def test_books_begin_with_a_snapshot_and_each_change_names_the_one_before(recorded: Path) -> None:
    channel = f"book.{NAME}.100ms"
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, SOCKET) as connection:
        await asked(connection, "subscribe", channels=[channel])
        book, *changes = [await notified(connection, channel) for _ in range(6)]
    first, second = of(recorded, "ws_book_snapshot"), of(recorded, "ws_book_delta")
    # The first notification has no number before it ("every message except the first").
    del first["params"]["data"]["prev_change_id"]
    assert form(book) == form(first)
    assert all(level[0] == "new" for side in ("bids", "asks") for level in book["params"]["data"][side])
    numbers, actions = [book["params"]["data"]["change_id"]], set()
    for each in changes:
        data = each["params"]["data"]
        assert data["prev_change_id"] == numbers[-1]
        numbers.append(data["change_id"])
        rows = [*data["bids"], *data["asks"]]
        actions |= {row[0] for row in rows}
        assert all((row[0] == "delete") == (row[2] == 0) for row in rows)
        if data["bids"] and data["asks"]:
            assert form(each) == form(second)
    assert sorted(set(numbers)) == numbers
    assert actions == {"new", "change", "delete"} or actions == {"change"}


async def test_refusals_have_the_recorded_form(recorded: Path) -> None:
    async with simulated(now=NOW, speed=1) as running, connected(running, SOCKET) as connection:
        refused = await asked(connection, "subscribe", channels=[f"trades.{NAME}.raw"])
        assert form(refused) == form(of(recorded, "ws_error"))
        assert refused["error"]["code"] == 13778
        assert (await asked(connection, "subscribe", channels=[]))["error"]["code"] == -32602
        assert (await asked(connection, "sell", amount=1))["error"]["code"] == -32601


# ---- the rules of its API


async def test_channels_that_do_not_exist_are_missing_in_the_result() -> None:
    wrong = ["trades.NO-PERPETUAL.100ms", f"trades.{NAME}.1s", f"chart.trades.{NAME}.7", "book", f"quote.{NAME}.100ms"]
    async with simulated(now=NOW, speed=1) as running, connected(running, SOCKET) as connection:
        assert (await asked(connection, "subscribe", channels=[*wrong, f"quote.{NAME}"]))["result"] == [f"quote.{NAME}"]
        assert (await asked(connection, "subscribe", channels=wrong))["result"] == []
        assert (await asked(connection, "unsubscribe", channels=[f"quote.{NAME}", wrong[0]]))["result"] == [
            f"quote.{NAME}"
        ]


async def test_heartbeats_are_sent_when_they_are_asked_for() -> None:
    async with simulated(now=NOW, speed=100) as running, connected(running, SOCKET) as connection:
        assert (await asked(connection, "set_heartbeat", interval=9))["error"]["code"] == -32602
        assert (await asked(connection, "set_heartbeat", interval=10))["result"] == "ok"
        beat = await connection.receive_json(timeout=60)
        assert beat == {"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}
        assert "version" in (await asked(connection, "test"))["result"]
        assert (await asked(connection, "disable_heartbeat"))["result"] == "ok"


async def test_trades_come_oldest_first_from_a_time_on_and_newest_first_without_one() -> None:
    async with simulated(now=NOW) as running:
        method = f"{REST}/get_last_trades_by_instrument"
        old = await get(running, f"{method}_and_time", instrument_name=NAME, start_timestamp=NOW - HOUR, count=3)
        new = await get(running, method, instrument_name=NAME, count=3)
        too_many = await get(running, method, instrument_name=NAME, count=1001)
        too_old = await get(running, f"{method}_and_time", instrument_name=NAME, start_timestamp=NOW - 25 * HOUR)
    first, last = old["result"]["trades"], new["result"]["trades"]
    assert first[0]["timestamp"] < NOW - 50 * MINUTE
    assert [row["trade_seq"] for row in first] == sorted(row["trade_seq"] for row in first)
    assert [row["trade_seq"] for row in last] == sorted((row["trade_seq"] for row in last), reverse=True)
    assert (old["result"]["has_more"], new["result"]["has_more"]) == (True, True)
    assert too_old["result"] == {"trades": [], "has_more": False}
    assert too_many["error"]["data"] == {"param": "count", "reason": "value must be between 1 and 1000"}


# ---- unmodified ccxt


async def test_ccxt_loads_perpetuals_whose_contracts_are_dollars_or_coins() -> None:
    async with simulated(now=NOW) as running, client(running.url, "deribit") as venue:
        markets = await venue.load_markets()
        inverse, ether, linear = (markets[each] for each in (INVERSE, "ETH/USD:ETH", LINEAR))
        assert await venue.fetch_time() == NOW
    assert (inverse["inverse"], inverse["contractSize"], inverse["precision"]["amount"]) == (True, 10, 10)
    assert (ether["id"], ether["contractSize"]) == ("ETH-PERPETUAL", 1)
    assert (linear["id"], linear["linear"], linear["settle"]) == ("BTC_USDC-PERPETUAL", True, "USDC")


@pytest.mark.parametrize(("symbol", "prefix"), [(INVERSE, ""), ("ETH/USD:ETH", "ETH-"), (LINEAR, "BTC_USDC-")])
async def test_amounts_volumes_and_ids_are_those_of_the_market(symbol: str, prefix: str) -> None:
    opened = NOW // MINUTE * MINUTE - 2 * MINUTE
    async with simulated(now=NOW, history_rate=30) as running, client(running.url, "deribit") as venue:
        trades = await venue.fetch_trades(symbol, opened, 1000)
        (candle,) = [row for row in await venue.fetch_ohlcv(symbol, "1m", opened, 2) if row[0] == opened]
        of_market = {"exchange": "deribit", "symbol": symbol}
        true = await get(running, "_sim/truth/trades", **of_market, since=opened, until=NOW)
        unit = await get(running, "_sim/truth/market", **of_market)
    assert [(each["price"], each["amount"], each["timestamp"]) for each in trades] == [
        (each["price"], each["amount"], each["timestamp"]) for each in true
    ]
    numbers = [int(each["id"].removeprefix(prefix)) for each in trades]
    assert sorted(set(numbers)) == numbers
    assert numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    inside = [each for each in trades if each["timestamp"] < opened + MINUTE]
    assert inside
    lot = 10 if symbol == INVERSE else unit["lot"]
    assert all(round(each["amount"] / lot, 6).is_integer() for each in inside)
    inverse = symbol != LINEAR
    assert (unit["unit"], unit["inverse"], unit["lot"]) == (1.0, inverse, lot)
    volume = sum(each["amount"] / each["price"] if inverse else each["amount"] for each in inside)
    assert candle[5] == pytest.approx(volume, abs=1e-8 * len(inside))


@pytest.mark.parametrize("timeframe", ["1m", "10m", "3h", "1d"])
async def test_every_resolution_is_served_up_to_the_end_of_the_window(timeframe: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, "deribit") as venue:
        width = venue.parse_timeframe(timeframe) * 1000
        since = NOW // width * width - 20 * width
        rows = await venue.fetch_ohlcv(INVERSE, timeframe, since, 5)
        before = await get(running, f"{REST}/get_tradingview_chart_data", instrument_name=NAME, resolution="1",
                           start_timestamp=0, end_timestamp=MINUTE)  # fmt: skip
    assert [row[0] for row in rows] == [since + place * width for place in range(5)]
    assert (before["result"]["status"], before["result"]["ticks"]) == ("no_data", [])


async def test_ccxt_names_what_is_refused() -> None:
    async with simulated(now=NOW) as running, client(running.url, "deribit") as venue:
        with pytest.raises(ExchangeError, match="not_found"):
            await venue.publicGetTicker({"instrument_name": "NO-PERPETUAL"})
        with pytest.raises(BadRequest, match="resolution"):
            await venue.publicGetGetTradingviewChartData(
                {"instrument_name": NAME, "resolution": "7", "start_timestamp": 1, "end_timestamp": 2}
            )
    async with simulated(now=NOW, weight_limit=1) as running, client(running.url, "deribit") as venue:
        await venue.fetch_time()
        with pytest.raises(DDoSProtection, match="too_many_requests"):
            await venue.fetch_time()


async def test_ccxt_watches_trades_books_tickers_and_candles() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, "deribit", pro=True) as venue,
        asyncio.timeout(100),
    ):
        (trade, *_) = await venue.watch_trades(INVERSE)
        book = await venue.watch_order_book(INVERSE)
        ticker = await venue.watch_ticker(INVERSE)
        (candle, *_) = await venue.watch_ohlcv(INVERSE, "1m")
        assert (trade["symbol"], trade["amount"] % 10) == (INVERSE, 0)
        assert book["bids"][0][0] < book["asks"][0][0]
        assert ticker["bid"] < ticker["ask"]
        assert candle[2] >= candle[3] > 0
