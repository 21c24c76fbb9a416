"""Orders of faults: which requests they mean, how often, and what they do to an answer."""

from __future__ import annotations

import pytest

from tickwire.errors import BadRequest
from tickwire.simulator.answers import Answer, window_end
from tickwire.simulator.faults import Fault, Faults, matches, parse

pytestmark = pytest.mark.pure

KLINES = "/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=3"


@pytest.mark.parametrize(
    ("match", "target", "meant"),
    [
        ("klines", KLINES, True),
        ("trades", "/api.binance.com/api/v3/aggTrades?symbol=A", False),
        ("time", KLINES, False),
        ("", KLINES, True),
        ("symbol=BTCUSDT", KLINES, True),
        ("binance.us", KLINES, False),
        ("ticker", "/api.binance.com/api/v3/ticker/24hr", True),
        ("trades", "/www.okx.com/api/v5/market/history-trades?instId=BTC-USDT", False),
        ("time", "/www.deribit.com/api/v2/public/get_order_book?start_time=1", False),
        ("candleSnapshot", '/api.hyperliquid.xyz/info?{"type":"candleSnapshot"}', True),
    ],
)
def test_a_fault_selects_requests_by_a_whole_word_or_any_other_part(match: str, target: str, meant: bool) -> None:
    assert matches(match, target) is meant


def test_a_fault_waits_for_its_turn_and_ends_after_its_count() -> None:
    faults = Faults()
    faults.order(Fault(kind="empty", match="klines", count=2, after=1))
    assert [faults.hit(KLINES) is not None for _ in range(5)] == [False, True, True, False, False]
    assert faults.listed() == []


def test_the_same_last_candle_comes_for_ever() -> None:
    faults = Faults()
    faults.order(Fault(kind="same_last"))
    pages = [[[0], [1]], [[2], [3]], []]
    assert [hit.changed(Answer(page)).rows for page in pages if (hit := faults.hit(KLINES))] == [[[1]], [[1]], [[1]]]


def test_a_window_before_the_listing_is_empty_and_one_across_it_begins_there() -> None:
    faults = Faults()
    faults.order(Fault(kind="listing", since=180_000))
    jumped = [[180_000], [240_000], [300_000]]

    def page(start: int | None = None, end: int | None = None, limit: int = 500) -> object:
        hit = faults.hit(KLINES)
        assert hit
        until = window_end("1m", start, end, limit)
        return hit.changed(Answer(jumped, interval="1m", until=until)).rows

    assert page(0, limit=3) == []
    assert page(0, 179_999) == []
    assert page(60_000, limit=3) == [[180_000]]
    assert page() == jumped


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"{", "not a fault"),
        (b'{"kind":"earthquake"}', "kinds are status, delay"),
        (b'{"kind":"status","cod":500}', "unknown field `cod`"),
        (b'{"kind":"status","code":1}', "no HTTP status"),
        (b'{"kind":"empty","count":-1}', "below zero"),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(body)
    assert what in str(refused.value)
