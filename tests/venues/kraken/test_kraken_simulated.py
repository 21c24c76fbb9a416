"""The simulator as Kraken: its messages beside the recorded ones, its quirks, and unmodified ccxt that trades there."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ccxt.base.errors import DDoSProtection, ExchangeError

from simulator.asking import connected, form, get, order
from support.simulated import client, simulated
from venues.kraken.asking import HOUR, MINUTE, NOW, REST, SOCKET, SYMBOL, asked, made, of, public

pytestmark = pytest.mark.golden

# ---- the recorded form


@pytest.mark.parametrize(
    ("document", "endpoint", "query"),
    [
        ("http_server_time", "Time", {}),
        ("http_system_status", "SystemStatus", {}),
        ("http_asset_pairs", "AssetPairs", {"pair": "XBTUSDT"}),
        ("http_ohlc", "OHLC", {"pair": "XBTUSDT"}),
        ("http_trades", "Trades", {"pair": "XBTUSDT"}),
        ("http_ticker", "Ticker", {"pair": "XBTUSDT"}),
    ],
)
async def test_rest_answers_have_the_recorded_form(
    recorded: Path, document: str, endpoint: str, query: dict[str, str]
) -> None:
    theirs = of(recorded, document)
    async with simulated(now=NOW) as running:
        ours = await get(running, f"{REST}/{endpoint}", **query)
    assert form(ours) == form(theirs)


async def test_numbers_of_rest_have_the_recorded_decimals(recorded: Path) -> None:
    async with simulated(now=NOW) as running:
        ours = {name: await public(running, name, pair="XBTUSDT") for name in ("Trades", "OHLC", "Ticker")}

    def decimals(texts: list[Any]) -> list[int]:
        return [len(each.partition(".")[2]) for each in texts if isinstance(each, str)]

    trades = of(recorded, "http_trades")["result"]["XBTUSDT"][0]
    assert decimals(ours["Trades"]["XBTUSDT"][0]) == decimals(trades)
    ticker = of(recorded, "http_ticker")["result"]["XBTUSDT"]
    found = ours["Ticker"]["XBTUSDT"]
    assert {name: decimals(found[name]) for name in "abcvplh"} == {name: decimals(ticker[name]) for name in "abcvplh"}
    # Of candles prices have the decimals of the market, here two, and volumes eight.
    assert {tuple(decimals(row)) for row in ours["OHLC"]["XBTUSDT"]} == {(2, 2, 2, 2, 2, 8)}
    assert decimals(of(recorded, "http_ohlc")["result"]["XBTUSDT"][0]) == [1, 1, 1, 1, 1, 8]


@pytest.mark.parametrize(
    ("document", "params"),
    [
        ("ws_trade_update", {}),
        ("ws_book_snapshot", {"depth": 10}),
        ("ws_book_update", {"depth": 10}),
        ("ws_ticker_snapshot", {}),
    ],
)
async def test_messages_have_the_recorded_form(recorded: Path, document: str, params: dict[str, Any]) -> None:
    theirs = json.loads(json.dumps(of(recorded, document)), parse_float=str)
    ours = await made(theirs["channel"], theirs["type"], **params)
    if document == "ws_book_update":
        # A change may be of one side.
        row = ours["data"][0]
        row["bids"], row["asks"] = row["bids"] or row["asks"], []
    assert form(ours) == form(theirs)


async def test_candles_have_the_recorded_fields_and_those_that_ccxt_knows(recorded: Path) -> None:
    theirs = json.loads(json.dumps(of(recorded, "ws_ohlc_update")), parse_float=str)
    ours = await made("ohlc", "update", interval=1)
    (row,), (known,) = ours["data"], theirs["data"]
    assert form({name: row[name] for name in known}) == form(known)
    # The end of the interval, and the time of the message.
    assert {*row} - {*known} == {"timestamp"}
    assert {*ours} - {*theirs} == {"timestamp"}


async def test_answers_of_the_socket_have_the_recorded_form(recorded: Path) -> None:
    async with simulated(now=NOW) as running, connected(running, SOCKET) as connection:
        (answer,) = await asked(connection, "subscribe", channel="ticker", symbol=[SYMBOL])
        theirs = of(recorded, "ws_subscribe_response")
        assert form(answer) == form(theirs)
        assert answer["result"] == theirs["result"]
        await connection.send_json({"method": "ping", "req_id": 42})
        while (pong := await connection.receive_json(timeout=60)).get("req_id") != 42:
            pass
        assert form(pong) == form(of(recorded, "ws_pong"))


# ---- its quirks


async def test_candles_are_the_newest_720_and_the_open_one_whatever_since_is() -> None:
    async with simulated(now=NOW) as running:
        newest = await public(running, "OHLC", pair="XXBTZUSD", interval=1)
        old = await public(running, "OHLC", pair="XXBTZUSD", interval=1, since=NOW // 1000 - 40 * 86_400)
        recent = await public(running, "OHLC", pair="XXBTZUSD", interval=1, since=NOW // 60_000 * 60 - 180)
        late = await public(running, "OHLC", pair="XXBTZUSD", interval=1, since=NOW // 1000 + 3600)
        true = await get(running, "_sim/truth/candles", timeframe="1m", exchange="kraken", symbol=SYMBOL,
                         since=NOW - 13 * HOUR)  # fmt: skip
    rows = newest["XXBTZUSD"]
    opened = NOW // MINUTE * 60
    assert (len(rows), rows[-1][0], newest["last"]) == (721, opened, opened - 60)
    assert old["XXBTZUSD"] == rows
    assert [row[0] for row in recent["XXBTZUSD"]] == [opened - 120, opened - 60, opened]
    assert late["XXBTZUSD"] == rows[-1:]
    assert [[row[0] * 1000, *map(float, row[1:5]), float(row[6])] for row in rows[:-1]] == true[-720:]


async def test_a_quiet_minute_is_a_flat_row_at_the_close_before_it() -> None:
    since = NOW // MINUTE * MINUTE - 4 * HOUR
    of_market = {"symbol": "BTC/USDT", "price": 60_000, "tick": "0.01", "lot": "0.00001", "amount": 0.05}
    async with simulated(now=NOW, symbols=[of_market | {"quiet": [since, since + HOUR]}]) as running:
        rows = (await public(running, "OHLC", pair="XXBTZUSD", interval=1))["XXBTZUSD"]
    quiet = [(before, row) for before, row in pairwise(rows) if row[7] == 0]
    assert len([row for _, row in quiet if since <= row[0] * 1000 < since + HOUR]) == 59
    for before, row in quiet:
        assert row[1:] == [*[before[4]] * 4, "0.00", "0.00000000", 0]


async def test_candles_of_weeks_and_15_days_are_counted_from_the_epoch() -> None:
    async with simulated(now=NOW, history_rate=1) as running:
        for interval, days in ((10080, 7), (21600, 15)):
            rows = (await public(running, "OHLC", pair="XXBTZUSD", interval=interval))["XXBTZUSD"]
            assert len(rows) > 20
            assert all(row[0] % (days * 86_400) == 0 for row in rows)
            true = await get(running, "_sim/truth/candles", timeframe="1d", exchange="kraken", symbol=SYMBOL,
                             since=rows[-3][0] * 1000, until=rows[-2][0] * 1000)  # fmt: skip
            assert len(true) == days
            assert [float(each) for each in rows[-3][1:5]] == [
                true[0][1], max(row[2] for row in true), min(row[3] for row in true), true[-1][4],
            ]  # fmt: skip


async def test_trades_are_the_oldest_thousand_after_a_time_in_nanoseconds_or_seconds() -> None:
    async with simulated(now=NOW) as running:
        true = await get(running, "_sim/truth/trades", exchange="kraken", symbol=SYMBOL, since=NOW - 12 * HOUR)
        since = (NOW - 12 * HOUR) // 1000 + 1
        first = await public(running, "Trades", pair="XXBTZUSD", since=since)
        same = await public(running, "Trades", pair="XXBTZUSD", since=since * 10**9)
        following = await public(running, "Trades", pair="XXBTZUSD", since=first["last"])
        few = await public(running, "Trades", pair="XXBTZUSD", since=first["last"], count=3)
        newest = await public(running, "Trades", pair="XXBTZUSD")
    rows = first["XXBTZUSD"]
    expected = [each for each in true if each["timestamp"] > since * 1000]
    assert len(rows) == 1000
    assert [(row[6], float(row[0]), float(row[1]), int(row[2] * 1000), row[3]) for row in rows] == [
        (each["id"], each["price"], each["amount"], each["timestamp"], each["side"][0]) for each in expected[:1000]
    ]
    assert same == first
    assert [row[6] for row in following["XXBTZUSD"][:5]] == [each["id"] for each in expected[1000:1005]]
    assert few["XXBTZUSD"] == following["XXBTZUSD"][:3]
    assert [row[6] for row in newest["XXBTZUSD"]] == [each["id"] for each in true[-1000:]]


async def test_errors_have_status_200_and_kraken_s_words() -> None:
    async with simulated(now=NOW, weight_limit=20) as running, client(running.url, "kraken") as venue:
        for path, error in {
            "OHLC?pair=FOOUSD": "EQuery:Unknown asset pair",
            "Trades?pair=XBT/USD": "EQuery:Unknown asset pair",
            "OHLC?pair=XBTUSD&interval=7": "EGeneral:Invalid arguments",
            "Trades?pair=XBTUSD&count=2000": "EGeneral:Invalid arguments",
        }.items():
            assert await get(running, f"{REST}/{path}") == {"error": [error]}
        with pytest.raises(ExchangeError, match="Unknown asset pair"):
            await venue.public_get_ohlc({"pair": "FOOUSD"})
        with pytest.raises(DDoSProtection):
            for _ in range(20):
                await venue.fetch_time()


async def test_a_market_is_answered_under_its_id_or_its_name_on_sockets() -> None:
    async with simulated(now=NOW) as running:
        for name, answered in {"XXBTZUSD": "XXBTZUSD", "XBTUSD": "XXBTZUSD", "BTC/USD": "BTC/USD"}.items():
            assert [*await public(running, "Depth", pair=name, count=1)] == [answered]


async def test_forgotten_trades_and_other_faults_hit_this_venue() -> None:
    async with simulated(now=NOW) as running:
        query = {"pair": "XXBTZUSD", "since": (NOW - HOUR) // 1000}
        before = (await public(running, "Trades", **query))["XXBTZUSD"]
        await order(
            running, kind="rest_forgets", symbol=SYMBOL, from_id=before[5][6], to_id=before[9][6], match="Trades"
        )
        assert (await public(running, "Trades", **query))["XXBTZUSD"][:20] == before[:5] + before[10:25]
        for kind, rows in (("short", 1), ("empty", 0)):
            await order(running, kind=kind, match="OHLC", count=1)
            assert len((await public(running, "OHLC", pair="XXBTZUSD"))["XXBTZUSD"]) == rows
