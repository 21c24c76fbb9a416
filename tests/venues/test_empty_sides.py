"""The best price of a side that became empty does not stay in the ticker: a frame that says so replaces it. Pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tickwire.streamer.tickers import TickerState
from tickwire.venues.registry import dialect_of

pytestmark = pytest.mark.pure


def okx(channel: str, **row: Any) -> dict[str, Any]:
    return {"arg": {"channel": channel, "instId": "A-B"}, "data": [{"ts": "9", "instType": "SPOT"} | row]}


def deribit(channel: str, bid: float | None, **more: Any) -> dict[str, Any]:
    sides = {"best_bid_price": bid, "best_bid_amount": 0.0 if not bid else 10.0, "best_ask_price": 8.0,
             "best_ask_amount": 20.0}  # fmt: skip
    data = {"timestamp": 1_700_000_000_000, "instrument_name": "A-B"} | sides | more
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def kraken(bid: float) -> dict[str, Any]:
    row = {"symbol": "A/B", "bid": bid, "bid_qty": bid, "ask": 8.0, "ask_qty": 1.0, "last": 7.5, "volume": 1.0,
           "vwap": 7.5, "low": 7.0, "high": 8.0, "change": 0.1, "change_pct": 1.0}  # fmt: skip
    return {"channel": "ticker", "type": "update", "data": [row]}


def kucoin(bids: list[str]) -> dict[str, Any]:
    data = {"asks": ["8", "1"], "bids": bids, "timestamp": 1_700_000_000_000}
    return {"topic": "/spotMarket/level1:A-B", "type": "message", "subject": "level1", "data": data}


def gate(bid: str) -> dict[str, Any]:
    result = {"t": 1_700_000_000_000, "u": 1, "s": "A_B", "b": bid, "B": bid or "0", "a": "8", "A": "1"}
    return {"time": 1, "time_ms": 1, "channel": "spot.book_ticker", "event": "update", "result": result}


def bitget(bid: str) -> dict[str, Any]:
    row = {"instId": "AB", "lastPr": "7.5", "bidPr": bid, "bidSz": bid, "askPr": "8", "askSz": "1", "ts": "9"}
    return {"action": "snapshot", "arg": {"instType": "SPOT", "channel": "ticker", "instId": "AB"}, "data": [row]}


def coinbase(bid: str) -> dict[str, Any]:
    row = {"type": "ticker", "product_id": "A-B", "price": "7.5", "best_bid": bid, "best_bid_quantity": bid,
           "best_ask": "8", "best_ask_quantity": "1"}  # fmt: skip
    return {"channel": "ticker", "timestamp": "2026-04-07T14:30:02Z", "sequence_num": 0,
            "events": [{"type": "update", "tickers": [row]}]}  # fmt: skip


def binance(bid: str) -> dict[str, Any]:
    return {"u": 1, "s": "AB", "b": bid, "B": bid, "a": "8", "A": "1"}


def bybit(type_: str, *bids: list[str]) -> dict[str, Any]:
    data = {"s": "AB", "b": bids, "a": [["8", "1"]], "u": 2, "seq": 3}
    return {"topic": "orderbook.1.AB", "type": type_, "ts": 1_700_000_000_000, "data": data}


DAY = {"last_price": 7.5, "stats": {"high": 8.0, "low": 7.0, "volume": 1.0}}
FRAMES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "binance": ("binance", binance("7"), binance("0.00000000")),
    "bitget": ("bitget", bitget("7"), bitget("")),
    "bybit": ("bybit", bybit("snapshot", ["7", "1"]), bybit("delta", ["7", "0"])),
    "coinbase": ("coinbase", coinbase("7"), coinbase("")),
    "deribit, ticker": (
        "deribit",
        deribit("ticker.BTC-PERPETUAL.100ms", 7.0, **DAY),
        deribit("ticker.BTC-PERPETUAL.100ms", None, **DAY),
    ),
    "deribit, quote": ("deribit", deribit("quote.BTC-PERPETUAL", 7.0), deribit("quote.BTC-PERPETUAL", 0.0)),
    "gate": ("gate", gate("7"), gate("")),
    "kraken": ("kraken", kraken(7.0), kraken(0.0)),
    "kucoin": ("kucoin", kucoin(["7", "1"]), kucoin([])),
    "okx, bbo-tbt": (
        "okx",
        okx("bbo-tbt", bids=[["7", "1", "0", "1"]], asks=[["8", "1", "0", "1"]]),
        okx("bbo-tbt", bids=[], asks=[["8", "1", "0", "1"]]),
    ),
    "okx, tickers": (
        "okx",
        okx("tickers", last="7.5", bidPx="7", bidSz="1", askPx="8", askSz="1"),
        okx("tickers", last="7.5", bidPx="", bidSz="", askPx="8", askSz="1"),
    ),
}
"""By name: the venue, a frame with both sides, and one whose bids are gone."""


def applied(state: TickerState, exchange: str, frame: dict[str, Any]) -> None:
    decode = dialect_of(exchange).decode
    assert decode is not None
    found = decode(json.dumps(frame, separators=(",", ":")))
    assert found is not None
    (ticker,) = found
    assert ticker.kind == "ticker"
    for item in ticker.items:
        assert state.update(item) == []


@pytest.mark.parametrize("name", FRAMES)
def test_the_last_best_price_of_a_side_that_is_empty_is_gone(name: str) -> None:
    exchange, both, without_bids = FRAMES[name]
    state = TickerState("A/B")
    applied(state, exchange, both)
    assert (state.fields["bid"], state.fields["ask"]) == (7.0, 8.0)
    applied(state, exchange, without_bids)
    assert "bid" not in state.fields
    assert not state.fields.get("bid_amount")
    assert state.fields["ask"] == 8.0
    applied(state, exchange, both)
    assert (state.fields["bid"], state.fields["ask"]) == (7.0, 8.0)


def test_prices_of_a_day_without_trades_are_gone() -> None:
    state = TickerState("A/B")
    applied(state, "deribit", deribit("ticker.BTC-PERPETUAL.100ms", 7.0, **DAY))
    assert (state.fields["high"], state.fields["low"]) == (8.0, 7.0)
    # Best prices alone say nothing about the day.
    applied(state, "deribit", deribit("quote.BTC-PERPETUAL", 7.0))
    assert (state.fields["last"], state.fields["high"], state.fields["low"]) == (7.5, 8.0, 7.0)
    # "ticker": `high` and `low` are null where nothing was traded in 24 hours.
    quiet = DAY | {"stats": {"high": None, "low": None, "volume": 0.0}}
    applied(state, "deribit", deribit("ticker.BTC-PERPETUAL.100ms", 7.0, **quiet))
    assert {"high", "low"} & state.fields.keys() == set()
    assert state.fields["last"] == 7.5
