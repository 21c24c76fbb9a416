"""Trades as venues say them, live and by REST, by their documentation: for `support.loopback`."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

from support.loopback import Loopback, loopback, market, settings
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue


class Deal(NamedTuple):
    """A trade that happened: its number, its time (ms), its price and its amount."""

    number: int
    at: int
    price: float
    amount: float


def deals(first: int, end: int, since: int, every_ms: int = 100, at_once: int = 1) -> list[Deal]:
    """Deals `first` to `end - 1`, so many at once each so many ms from `since` (that of number 0) on."""
    return [
        Deal(number, since + number // at_once * every_ms, 100.0 + number % 7, 1 + number % 3)
        for number in range(first, end)
    ]


def iso(at: int) -> str:
    """A time (ms) as ISO 8601 with microseconds."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Spoken:
    """An exchange that has `happened`. `frame` is what it says live of a deal, `page` its answer by REST."""

    exchange: str
    symbol: str
    market_id: str
    frame: Callable[[Deal], Any]
    page: Callable[[Sequence[Deal], dict[str, str]], Any]
    confirms: Callable[[Any], list[Any]]
    path: str
    """Of its REST trades: the end of the path."""
    ids: Callable[[Deal], tuple[str, str]]
    """The ids of a deal, live and by REST."""
    packed: Callable[[bytes], bytes] | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """What ccxt's description of the market says besides."""
    happened: list[Deal] = field(default_factory=list)
    server: Loopback = field(default_factory=Loopback)

    def push(self, some: Sequence[Deal]) -> None:
        """They happen, and are said live."""
        self.happened += some
        self.server.push([self.frame(each) for each in some])

    def asked(self) -> list[dict[str, str]]:
        """The queries of its REST trades."""
        return [query for path, query in self.server.asked if path.endswith(self.path)]


def refused(status: int, message: Any) -> web.Response:
    """An answer of REST with an error."""
    return web.json_response(message, status=status)


# ---- venues


def _coinbase_row(deal: Deal) -> dict[str, Any]:
    return {"trade_id": str(deal.number), "product_id": "BTC-USD", "price": str(deal.price), "size": str(deal.amount),
            "side": "BUY", "time": iso(deal.at)}  # fmt: skip


def _coinbase_page(happened: Sequence[Deal], query: dict[str, str]) -> Any:
    """Get Market Trades: the newest between start and end (s), 100 at most whatever the limit is."""
    if ("start" in query) != ("end" in query):
        return refused(400, {"error": "INVALID_ARGUMENT", "message": "start and end go together"})
    limit = min(int(query.get("limit", 100)), 100)
    since, until = int(query.get("start", 0)) * 1000, int(query.get("end", 10**10)) * 1000
    inside = [each for each in happened if since <= each.at < until]
    return {"trades": [_coinbase_row(each) for each in reversed(inside[-limit:])], "best_bid": "1", "best_ask": "2"}


def coinbase() -> Spoken:
    """Advanced Trade."""
    return Spoken(
        "coinbase", "BTC/USD", "BTC-USD",
        frame=lambda deal: {"channel": "market_trades", "timestamp": iso(deal.at), "sequence_num": deal.number,
                            "events": [{"type": "update", "trades": [_coinbase_row(deal)]}]},
        page=_coinbase_page,
        confirms=lambda said: [{"channel": "subscriptions", "events": [{"subscriptions": (
            {"market_trades": ["BTC-USD"]} if said.get("type") == "subscribe" else {})}]}],
        path="/ticker",
        ids=lambda deal: (str(deal.number), str(deal.number)),
    )  # fmt: skip


def _bybit_page(happened: Sequence[Deal], query: dict[str, str]) -> Any:
    """Get Recent Public Trades: the newest, the newest first."""
    newest = happened[-int(query.get("limit", 500)) :]
    return {"retCode": 0, "retMsg": "OK", "result": {"category": "spot", "list": [
        {"execId": f"other-{each.number}", "symbol": "BTCUSD", "price": str(each.price), "size": str(each.amount),
         "side": "Buy", "time": str(each.at), "isBlockTrade": False} for each in reversed(newest)]}}  # fmt: skip


def bybit() -> Spoken:
    """V5 spot, with other ids by REST than live, as if its two numberings were not one."""
    return Spoken(
        "bybit", "BTC/USD", "BTCUSD",
        frame=lambda deal: {"topic": "publicTrade.BTCUSD", "type": "snapshot", "ts": deal.at, "data": [
            {"T": deal.at, "s": "BTCUSD", "S": "Buy", "v": str(deal.amount), "p": str(deal.price), "L": "PlusTick",
             "i": str(deal.number), "BT": False}]},
        page=_bybit_page,
        confirms=lambda said: [{"success": True, "ret_msg": "", "op": said.get("op"), "req_id": said.get("req_id")}],
        path="/recent-trade",
        ids=lambda deal: (str(deal.number), f"other-{deal.number}"),
    )  # fmt: skip


def _htx_id(deal: Deal) -> int:
    return 140_593_224_538_220_306_140_000_000 + deal.number


def _htx_page(happened: Sequence[Deal], query: dict[str, str]) -> Any:
    """Get the Most Recent Trades: the newest first."""
    return {"ch": "market.btcusd.trade.detail", "status": "ok", "ts": 1, "data": [
        {"id": 1, "ts": each.at, "data": [{"id": _htx_id(each), "ts": each.at, "trade-id": each.number,
         "amount": each.amount, "price": each.price, "direction": "buy"}]}
        for each in reversed(happened[-int(query.get("size", 1)):])]}  # fmt: skip


def htx() -> Spoken:
    """Spot: ids of 27 digits live, others by REST; frames are packed."""
    return Spoken(
        "htx", "BTC/USD", "btcusd",
        frame=lambda deal: {"ch": "market.btcusd.trade.detail", "ts": deal.at, "tick": {"id": 1, "ts": deal.at, "data":
            [{"id": _htx_id(deal), "ts": deal.at, "tradeId": deal.number, "amount": deal.amount, "price": deal.price,
             "direction": "buy"}]}},
        page=_htx_page,
        confirms=lambda said: [{"id": said["id"], "status": "ok", "subbed": said.get("sub"), "ts": 1}]
        if "sub" in said else [{"id": said.get("id"), "status": "ok", "unsubbed": said.get("unsub"), "ts": 1}],
        path="/market/history/trade",
        ids=lambda deal: (str(_htx_id(deal)), str(deal.number)),
        packed=gzip.compress,
    )  # fmt: skip


def _cryptocom_page(happened: Sequence[Deal], query: dict[str, str]) -> Any:
    """public/get-trades: the newest 150 at most between start_ts and end_ts."""
    count = int(query.get("count", 25))
    if count > 150:
        return refused(400, {"id": -1, "method": "public/get-trades", "code": 40003, "message": "Invalid count"})
    since, until = int(query.get("start_ts", 0)), int(query.get("end_ts", 10**15))
    inside = [each for each in happened if since <= each.at < until]
    return {"id": -1, "method": "public/get-trades", "code": 0, "result": {"data": [
        {"s": "buy", "p": str(each.price), "q": str(each.amount), "t": each.at, "tn": each.at * 10**6,
         "d": str(each.number), "i": "BTC_USD"} for each in reversed(inside[-count:])]}}  # fmt: skip


def cryptocom() -> Spoken:
    """Crypto.com Exchange: 150 trades at most."""
    return Spoken(
        "cryptocom", "BTC/USD", "BTC_USD",
        frame=lambda deal: {"id": -1, "code": 0, "method": "subscribe", "result": {
            "instrument_name": "BTC_USD", "subscription": "trade.BTC_USD", "channel": "trade", "data": [
                {"dataTime": deal.at, "d": str(deal.number), "s": "BUY", "p": str(deal.price), "q": str(deal.amount),
                 "t": deal.at, "i": "BTC_USD"}]}},
        page=_cryptocom_page,
        confirms=lambda said: [{"id": said.get("id"), "method": said.get("method"), "code": 0}],
        path="/public/get-trades",
        ids=lambda deal: (str(deal.number), str(deal.number)),
    )  # fmt: skip


def _bitstamp_page(happened: Sequence[Deal], query: dict[str, str]) -> Any:
    """Transactions: those of the last hour, the newest first, in whole seconds."""
    newest = max((each.at for each in happened), default=0)
    return [{"date": str(each.at // 1000), "tid": str(each.number), "price": str(each.price), "type": "0",
             "amount": str(each.amount)} for each in reversed(happened) if each.at > newest - 3_600_000]  # fmt: skip


def bitstamp() -> Spoken:
    """Whole seconds by REST, microseconds live."""
    return Spoken(
        "bitstamp", "BTC/USD", "btcusd",
        frame=lambda deal: {"event": "trade", "channel": "live_trades_btcusd", "data": {
            "id": deal.number, "timestamp": str(deal.at // 1000), "microtimestamp": str(deal.at * 1000), "type": 0,
            "amount": deal.amount, "amount_str": str(deal.amount), "price": deal.price, "price_str": str(deal.price),
            "buy_order_id": 1, "sell_order_id": 2}},
        page=_bitstamp_page,
        confirms=lambda said: [{"event": "bts:subscription_succeeded", "channel": said["data"]["channel"], "data": {}}]
        if said.get("event") == "bts:subscribe" else [],
        path="/transactions/btcusd/",
        ids=lambda deal: (str(deal.number), str(deal.number)),
    )  # fmt: skip


def hyperliquid() -> Spoken:
    """Live trades; none of the past by REST without a wallet, and then only one's own."""
    return Spoken(
        "hyperliquid", "BTC/USDC:USDC", "0",
        frame=lambda deal: {"channel": "trades", "data": [
            {"coin": "BTC", "side": "B", "px": str(deal.price), "sz": str(deal.amount), "time": deal.at, "hash": "0x0",
             "tid": deal.number}]},
        page=lambda happened, query: {"time": int(time.time() * 1000)}
        if query.get("type") == "exchangeStatus" else refused(500, "nobody is to ask"),
        confirms=lambda said: [{"channel": "subscriptionResponse", "data": said}]
        if said.get("method") in ("subscribe", "unsubscribe") else [],
        path="/info",
        ids=lambda deal: (str(deal.number), str(deal.number)),
        more={"type": "swap", "spot": False, "swap": True, "contract": True, "linear": True, "inverse": False,
              "settle": "USDC", "settleId": "USDC", "contractSize": 1.0, "baseName": "BTC", "base": "BTC",
              "quote": "USDC", "baseId": "0", "info": {"name": "BTC"}},
    )  # fmt: skip


@asynccontextmanager
async def speaking(spoken: Spoken, **streamer: Any) -> AsyncIterator[LiveVenue]:
    """The venue, opened by ccxt at a server that speaks so."""
    async with loopback() as server:
        spoken.server = server
        server.packed = spoken.packed
        server.reply = spoken.confirms
        server.answer = lambda path, query: spoken.page(spoken.happened, query) if path.endswith(spoken.path) else {}
        markets = [market(spoken.symbol, spoken.market_id, **spoken.more)]
        chosen = settings(server.url, spoken.exchange, markets, **streamer)
        async with open_live_venue(spoken.exchange, chosen) as venue:
            yield venue
