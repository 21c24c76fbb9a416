"""Recorded exchanges played through real sockets: unmodified ccxt.pro, and the frames themselves."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import pytest
from ccxt.base.errors import BadSymbol

from simulator.asking import connected, get, post
from support.simulated import client, simulated
from tickwire.errors import ConfigError

pytestmark = pytest.mark.actors

INFO = json.dumps({"symbols": [{"symbol": "AB"}]})
AGGREGATES = [{"e": "aggTrade", "s": "AB", "a": id_, "p": "1", "q": "2", "f": id_, "l": id_, "T": 1000 + id_, "m": True}
              for id_ in range(1, 6)]  # fmt: skip


def messages(prefix: Path) -> dict[str, list[str]]:
    """The payloads of each stream, as texts, by nothing but the file's own lines."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in Path(f"{prefix}.ws.1.0").read_text().splitlines():
        head, _, data = line.partition(',"data":')
        if data:
            found[head.partition('{"stream":"')[2].rstrip('"')].append(data[:-1])
    return found


def written(folder: Path) -> str:
    """A recording of five aggregate trades, one a tenth of a second."""
    lines = [json.dumps({"stream": "ab@aggTrade", "data": each}) for each in AGGREGATES]
    (folder / "R.0").write_text(f"https://api.binance.com/api/v3/exchangeInfo -> 1.0: {INFO}\n")
    (folder / "R.ws.1.0").write_text(
        "wss://stream.binance.com:9443/stream?streams=ab@aggTrade <-> 1.0\n"
        + "".join(f"{1 + place / 10}: {line}\n" for place, line in enumerate(lines))
    )
    return str(folder / "R")


@pytest.mark.parametrize(
    ("name", "host"), [("BINANCE", "stream.binance.com:9443"), ("BINANCE_FUTURES", "fstream.binance.com/market")]
)
async def test_every_recorded_frame_comes_as_it_was_and_in_order(recorded: Path, name: str, host: str) -> None:
    prefix = recorded / "wire" / name
    expected = messages(prefix)
    total = sum(map(len, expected.values()))
    async with (
        simulated(play_wire=[str(prefix)]) as running,
        connected(running, f"{host}/ws/1") as bare,
        connected(running, f"{host}/stream?streams={'/'.join(expected)}") as combined,
    ):
        await bare.send_json({"method": "SUBSCRIBE", "params": list(expected), "id": 1})
        assert await bare.receive_json() == {"result": None, "id": 1}
        status = {"sent": 0, "unheard": 0, "left": total, "streams": sorted(expected)}
        assert await get(running, "_sim/wire") == status
        await post(running, "wire", speed=None)
        lines = [
            line.partition(": ")[2] for line in Path(f"{prefix}.ws.1.0").read_text().splitlines() if '"stream":' in line
        ]
        assert [await combined.receive_str(timeout=60) for _ in range(total)] == lines
        got = [await bare.receive_str(timeout=60) for _ in range(total)]
        assert got == [line.partition(',"data":')[2][:-1] for line in lines]
        assert (await get(running, "_sim/wire"))["left"] == 0


@pytest.mark.parametrize(
    ("exchange", "name", "symbol"),
    [
        ("binance", "BINANCE", "NKN/USDT"),
        ("binanceusdm", "BINANCE_FUTURES", "SUSHI/USDT:USDT"),
        ("binance", "BINANCE_FUTURES", "CTK/USDT:USDT"),
    ],
)
async def test_ccxt_follows_a_recording_from_its_snapshot_to_its_last_difference(
    recorded: Path, exchange: str, name: str, symbol: str
) -> None:
    prefix = recorded / "wire" / name
    stream = symbol.partition(":")[0].replace("/", "").lower()
    expected = messages(prefix)
    depths = [json.loads(text) for text in expected[f"{stream}@depth@100ms"]]
    trades = [json.loads(text) for text in expected[f"{stream}@aggTrade"]]
    candles = [json.loads(text)["k"] for text in expected[f"{stream}@kline_1m"]]
    options = {name: {"name": "aggTrade"} for name in ("watchTrades", "watchTradesForSymbols")}
    async with (
        simulated(play_wire=[str(prefix)]) as running,
        client(running.url, exchange, pro=True, options=options) as venue,
    ):
        await venue.load_markets()
        async with asyncio.TaskGroup() as group:
            group.create_task(venue.watch_trades(symbol))
            group.create_task(venue.watch_ohlcv(symbol, "1m"))
            book = group.create_task(venue.watch_order_book(symbol))
            while len((await get(running, "_sim/wire"))["streams"]) < 3:
                continue
            await post(running, "wire", speed=None)
        while book.result()["nonce"] < depths[-1]["u"]:
            await asyncio.wait_for(venue.watch_order_book(symbol), 60)
        assert [int(trade["id"]) for trade in venue.trades[symbol]] == [trade["a"] for trade in trades]
        assert venue.ohlcvs[symbol]["1m"][-1][:6] == [candles[-1]["t"], *(float(candles[-1][n]) for n in "ohlcv")]
        # The book by hand: the recorded snapshot, and every later difference on it.
        asked = "api/v3" if name == "BINANCE" else "fapi/v1"
        host = "api.binance.com" if name == "BINANCE" else "fapi.binance.com"
        snapshot = await get(running, f"{host}/{asked}/depth", symbol=stream.upper(), limit=1000)
        for side, key in (("bids", "b"), ("asks", "a")):
            levels = {float(price): float(amount) for price, amount in snapshot[side]}
            for depth in depths:
                if depth["u"] > snapshot["lastUpdateId"]:
                    levels.update((float(price), float(amount)) for price, amount in depth[key])
            left = sorted(((p, a) for p, a in levels.items() if a), reverse=side == "bids")
            assert [tuple(level[:2]) for level in book.result()[side]][:100] == left[:100]


async def test_trades_already_played_are_given_back_by_id_and_time(tmp_path: Path) -> None:
    async with simulated(play_wire=[written(tmp_path)]) as running:
        path = "api.binance.com/api/v3/aggTrades"
        assert await get(running, path, symbol="AB") == []
        assert (await post(running, "wire", count=3))["left"] >= 2
        while (await get(running, "_sim/wire"))["sent"] < 3:
            continue
        assert await get(running, "_sim/wire") == {"sent": 3, "unheard": 3, "left": 2, "streams": []}
        for query, ids in (
            ({}, [1, 2, 3]),
            ({"fromId": 2}, [2, 3]),
            ({"fromId": 1, "limit": 2}, [1, 2]),
            ({"limit": 2}, [2, 3]),
            ({"startTime": 1002, "endTime": 1002}, [2]),
        ):
            assert [trade["a"] for trade in await get(running, path, symbol="AB", **query)] == ids
        assert (await get(running, "api.binance.com/api/v3/time"))["serverTime"] == 1200
        assert (await get(running, path, symbol="CD"))["code"] == -1121


async def test_a_recording_is_the_whole_exchange_of_its_host_and_of_no_other(tmp_path: Path) -> None:
    async with simulated(play_wire=[written(tmp_path)]) as running, client(running.url) as venue:
        assert (await get(running, "api.binance.com/api/v3/klines", symbol="BTCUSDT"))["code"] == -1121
        assert await get(running, "api.binance.us/api/v3/klines", symbol="BTCUSDT", interval="1m")
        with pytest.raises(BadSymbol):
            await venue.publicGetAggTrades({"symbol": "BTCUSDT"})


async def test_a_recording_is_played_at_the_pace_that_is_ordered(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with (
        simulated(play_wire=[written(tmp_path)]) as running,
        connected(running, "stream.binance.com/ws/ab@aggTrade") as connection,
    ):
        began = loop.time()
        await post(running, "wire", speed=2)
        assert [(await connection.receive_json(timeout=60))["a"] for _ in range(5)] == [1, 2, 3, 4, 5]
        # Four tenths of a second were recorded.
        assert loop.time() - began >= 0.2


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("R.0", "https://api.binance.com/x\n", "R.0:1: not `URL -> seconds: JSON`"),
        ("R.ws.1.0", "1.0: {}\n", "R.ws.1.0:1: not a message of a combined stream"),
        ("R.ws.1.0", "", "have no messages"),
    ],
)
async def test_a_recording_that_is_none_is_refused_by_its_line(tmp_path: Path, file: str, text: str, what: str) -> None:
    prefix = written(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError) as refused:
        async with simulated(play_wire=[prefix]):
            pass
    assert what in str(refused.value)
