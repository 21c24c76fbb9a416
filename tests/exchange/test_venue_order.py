"""Trades of one millisecond by real ccxt over real HTTP: in the venue's order, whatever their ids are."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import ccxt.async_support
import ccxt.pro
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from support.trading import ANY_TIME, START
from support.web import exchange_at, served
from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps
from tickwire.exchange.ccxt_patches.venue_order import oldest_first
from tickwire.exchange.past_trades import PageRequest, PastTrades
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.pure

SYMBOL, SPOT = "BTC/USD:USD", "BTC/USD"


class Executed(NamedTuple):
    """A trade: its time (ms), its id and its price."""

    at: int
    id: str
    price: float


def uuids(count: int) -> list[str]:
    """UUIDs, the last one in the order of texts first."""
    return [str(uuid.UUID(int=(count - number) << 100)) for number in range(count)]


def executed(times: Sequence[int], ids: Sequence[str]) -> list[Executed]:
    return [Executed(START + at, id_, 100.0 + number) for number, (at, id_) in enumerate(zip(times, ids, strict=True))]


BURST = executed([0, 1, 1, 1, 1, 7, 7, 7], uuids(8))
"""As executed: their ids sort the other way."""


def bybit(happened: Sequence[Executed]) -> Any:
    """V5, "Get Recent Public Trades": newest first."""
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "linear", "list": [
        {"execId": each.id, "symbol": "BTCUSD", "price": str(each.price), "size": "1", "side": "Buy",
         "time": str(each.at), "isBlockTrade": False} for each in reversed(happened)]}}  # fmt: skip


def krakenfutures(happened: Sequence[Executed]) -> Any:
    """ "Get Public Execution Events" with `sort=asc`: oldest first."""
    order = {"tradeable": "BTCUSD", "direction": "Buy", "quantity": "1", "orderType": "IoC"}
    return {"elements": [
        {"uid": each.id, "timestamp": each.at, "event": {"Execution": {"execution": {
            "uid": each.id, "makerOrder": order, "takerOrder": order, "timestamp": each.at, "quantity": "1",
            "price": str(each.price), "markPrice": "1"}}}} for each in happened]}  # fmt: skip


def htx(happened: Sequence[Executed]) -> Any:
    """ "Get the Most Recent Trades": newest first; ccxt sorts them by time alone."""
    return {"status": "ok", "ch": "market.btcusd.trade.detail", "ts": START, "data": [
        {"id": 1, "ts": each.at, "data": [{"id": 1, "trade-id": each.id, "ts": each.at, "amount": 1.0,
                                           "price": each.price, "direction": "buy"}]}
        for each in reversed(happened)]}  # fmt: skip


def bitfinex(happened: Sequence[Executed]) -> Any:
    """ "Trades" with `sort=1`: by time, but within a millisecond not by id."""
    return [[int(each.id), each.at, 1.0, each.price] for each in happened]


ANSWERS = {"bybit": bybit, "krakenfutures": krakenfutures, "htx": htx, "bitfinex": bitfinex}


def market(exchange: str) -> dict[str, Any]:
    spot = exchange in ("htx", "bitfinex")
    kind = {"type": "spot", "spot": True} if spot else {
        "type": "swap", "swap": True, "spot": False, "contract": True, "linear": True, "contractSize": 1.0,
        "settle": "USD", "settleId": "USD"}  # fmt: skip
    return {"id": "BTCUSD", "symbol": SPOT if spot else SYMBOL, "base": "BTC", "quote": "USD", "baseId": "BTC",
            "quoteId": "USD", "active": True, **kind}  # fmt: skip


async def fetched(exchange: str, happened: Sequence[Executed], limit: int | None = None) -> list[Executed]:
    """What a repair gets of an exchange where these trades were executed."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response(ANSWERS[exchange](happened))

    async with served(handler) as url, opening.open_exchange(exchange, exchange_at(url)) as opened:
        described = opened.safe_market_structure(market(exchange))  # type: ignore[attr-defined]
        opened.set_markets([described])
        past = PastTrades(opened, profile_of(exchange).trades, lambda: START + 60_000)
        found = await past.fetch(described["symbol"], PageRequest(START, limit), ANY_TIME, lambda reason: None)
    return [Executed(each.timestamp, each.id or "", each.price) for each in found]


@pytest.mark.parametrize("exchange", ["bybit", "krakenfutures", "htx"])
async def test_trades_of_one_millisecond_keep_the_order_of_the_venue(exchange: str) -> None:
    assert await fetched(exchange, BURST) == BURST


async def test_a_limit_cuts_off_the_last_trades_of_a_millisecond() -> None:
    assert await fetched("krakenfutures", BURST, limit=4) == BURST[:4]


async def test_a_page_of_one_millisecond_is_turned_by_the_declared_order() -> None:
    same = executed([3] * 6, uuids(6))
    assert await fetched("bybit", same) == same
    # Of htx nothing is declared, so the page stays as it is listed.
    assert await fetched("htx", same) == same[::-1]


async def test_ids_that_are_known_to_rise_order_the_trades_of_one_millisecond() -> None:
    listed = executed([0, 1, 1, 1, 2], ["9", "12", "11", "10", "13"])
    page = await fetched("bitfinex", listed)
    assert [each.id for each in page] == ["9", "10", "11", "12", "13"]


def test_live_trades_of_one_millisecond_keep_the_order_of_the_frame() -> None:
    # hitbtc lists the oldest first; as texts, "10" is before "9".
    patched = with_rest_traps(ccxt.pro.hitbtc)({})
    rows = [{"t": START, "i": id_, "p": "1", "q": "1", "s": "buy"} for id_ in (9, 10, 11)]
    found = patched.parse_ws_trades(rows, patched.safe_market_structure(market("htx")))
    assert [each["id"] for each in found] == ["9", "10", "11"]
    # cryptocom lists the newest first, as recorded, which the ids alone show where the time is the same.
    patched = with_rest_traps(ccxt.pro.cryptocom)({})
    rows = [{"d": id_, "t": START, "p": "1", "q": "1", "s": "BUY", "i": "BTCUSD"} for id_ in ("1000", "999", "98")]
    patched.set_markets([patched.safe_market_structure(market("htx"))])
    found = patched.parse_trades(rows, patched.market(SPOT))
    assert [each["id"] for each in found] == ["98", "999", "1000"]


async def test_ccxt_by_itself_sorts_the_trades_of_one_millisecond_by_id() -> None:
    """One that does not needs the patch no more."""
    exchange = ccxt.async_support.bybit()
    described = exchange.safe_market_structure(market("bybit"))
    found = exchange.parse_trades(bybit(BURST)["result"]["list"], described)
    assert [each["id"] for each in found] == [each.id for each in sorted(BURST)] != [each.id for each in BURST]
    await exchange.close()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30).map(sorted))
def test_a_list_and_its_reverse_are_the_same_trades_from_the_oldest_on(times: list[int]) -> None:
    listed = [{"timestamp": at, "number": number} for number, at in enumerate(times)]
    one_time = times[0] == times[-1]
    assert oldest_first(listed, "timestamp") == listed
    assert oldest_first(listed[::-1], "timestamp") == (listed[::-1] if one_time else listed)
    assert oldest_first(listed[::-1], "timestamp", newest_first=True) == listed
