"""What exchanges answer to a subscription, in their documented forms; and what is no answer to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.exchange.requests import request_id
from tickwire.streamer.subscriptions.acknowledgement import answer_of, request_of

pytestmark = pytest.mark.pure

OKX = {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}
BYBIT = {"op": "subscribe", "req_id": "7", "args": ["publicTrade.BTCUSDT"]}
BAR = "market.btcusdt.trade.detail"
PERPETUAL = "trades.BTC-PERPETUAL.100ms"
COIN = {"type": "trades", "coin": "BTC"}
ANSWERS: list[tuple[str, Any, Any]] = [
    ("binance", {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 3}, {"result": None, "id": 3}),
    ("okx", OKX, {"event": "subscribe", "arg": {"channel": "trades", "instId": "BTC-USDT"}, "connId": "a4d3ae55"}),
    ("bybit", BYBIT, {"success": True, "ret_msg": "", "conn_id": "c", "req_id": "7", "op": "subscribe"}),
    (
        "deribit",
        {"jsonrpc": "2.0", "method": "public/subscribe", "params": {"channels": [PERPETUAL]}, "id": 2},
        {"jsonrpc": "2.0", "id": 2, "result": [PERPETUAL], "testnet": False},
    ),
    (
        "kraken",
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}, "req_id": 4},
        {"method": "subscribe", "req_id": 4, "result": {"channel": "trade", "symbol": "BTC/USD"}, "success": True},
    ),
    ("htx", {"sub": BAR, "id": "5"}, {"id": "5", "status": "ok", "subbed": BAR}),
    ("kucoin", {"id": "9", "type": "subscribe", "topic": "/market/match:BTC-USDT"}, {"id": "9", "type": "ack"}),
    (
        "bitfinex",
        {"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"},
        {"event": "subscribed", "channel": "trades", "chanId": 19111, "symbol": "tBTCUSD", "pair": "BTCUSD"},
    ),
    (
        "bitmex",
        {"op": "subscribe", "args": ["trade:XBTUSD"]},
        {"success": True, "subscribe": "trade:XBTUSD", "request": {"op": "subscribe", "args": ["trade:XBTUSD"]}},
    ),
    (
        "hyperliquid",
        {"method": "subscribe", "subscription": COIN},
        {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": COIN}},
    ),
    (
        "coinbaseexchange",
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]},
        {"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["BTC-USD"]}]},
    ),
    (
        "bitstamp",
        {"event": "bts:subscribe", "data": {"channel": "live_trades_btcusd"}},
        {"event": "bts:subscription_succeeded", "channel": "live_trades_btcusd", "data": {}},
    ),
]  # fmt: skip


def acknowledges(sent: object, text: str | bytes) -> bool:
    """Whether a frame acknowledges a message that subscribes."""
    answer = answer_of(text)
    return answer is not None and answer.acknowledges(request_of(sent))


@pytest.mark.parametrize(("sent", "said"), [each[1:] for each in ANSWERS], ids=[each[0] for each in ANSWERS])
def test_the_documented_answer_acknowledges_its_request_and_no_other(sent: Any, said: Any) -> None:
    assert acknowledges(sent, json.dumps(said))
    assert acknowledges(sent, json.dumps(said).encode())
    for _, other, _ in ANSWERS:
        if other is not sent:
            assert not acknowledges(other, json.dumps(said))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (OKX, {"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": [{"px": "1"}]}),
        (OKX, {"event": "subscribe", "arg": {"channel": "books", "instId": "BTC-USDT"}}),
        (OKX, {"event": "subscribe", "arg": {"channel": "trades", "instId": "ETH-USDT"}}),
        (OKX, {"event": "unsubscribe", "arg": {"channel": "trades", "instId": "BTC-USDT"}}),
        (OKX, {"event": "error", "code": "60018", "msg": "subscribe trades BTC-USDT doesn't exist"}),
        (BYBIT, {"success": False, "ret_msg": "error:handler not found", "req_id": "7", "op": "subscribe"}),
        (BYBIT, {"success": True, "req_id": "8", "op": "subscribe"}),
        (ANSWERS[0][1], {"error": {"code": 2, "msg": "Invalid request"}, "id": 3}),
        (ANSWERS[0][1], {"result": None, "id": 4}),
        # Deribit's "public/subscribe": the result names the channels that were subscribed, and no other.
        (ANSWERS[3][1], {"jsonrpc": "2.0", "id": 2, "result": [], "testnet": False}),
        (
            ANSWERS[3][1] | {"id": None},
            {"method": "subscription", "params": {"channel": PERPETUAL, "data": []}},
        ),
    ],
)
def test_data_a_refusal_and_an_answer_to_another_acknowledge_nothing(sent: Any, said: Any) -> None:
    assert not acknowledges(sent, json.dumps(said))


@given(text=st.text() | st.binary(), value=st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_whatever_is_said_is_looked_at_without_failing(text: str | bytes, value: Any) -> None:
    assert not acknowledges(OKX, text)
    acknowledges(value, json.dumps({"id": value, "subscribe": value}))
    request_id(value)
