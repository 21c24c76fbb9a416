"""Pages of past trades: asked for as an exchange takes it, which is declared or found out."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from ccxt.base import errors

from support.trading import ANY_TIME, START, Rest, row, trade, trades
from tickwire.exchange.past_trades import PageRequest, PastTrades, Unanswered
from tickwire.model.feeds import Trade
from tickwire.venues.profile import Older, TradeFacts
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.pure

BINANCE = profile_of("binance").trades
OKX = msgspec.structs.replace(
    profile_of("okx").trades,
    page=5,
    older=Older(before="after", page=3, params={"method": "publicGetMarketHistoryTrades"}),
)
"""With pages as small as those of the test."""


async def fetched(
    rest: Any,
    ask: PageRequest,
    symbol: str = "BTC/USDT",
    *,
    facts: TradeFacts | None = None,
    past: PastTrades | None = None,
) -> list[Trade]:
    """A page by an exchange of these facts."""
    facts = facts or (TradeFacts() if ask.first_id is None else BINANCE)
    return await (past or PastTrades(rest, facts, lambda: START)).fetch(symbol, ask, ANY_TIME, lambda reason: None)


async def test_a_page_is_asked_by_id_and_sorted_as_numbers() -> None:
    rest = Rest([])
    rest.script = [[row(trade(10)), row(trade(9))]]
    assert await fetched(rest, PageRequest(None, 1000, 9)) == [trade(9), trade(10)]
    assert rest.calls == [{"symbol": "BTC/USDT", "since": None, "limit": 1000, "fromId": 9}]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [("counting", "9 10 11"), ("rising", "9 10 11"), ("opaque", "10 11 9"), (None, "10 11 9")],
)
async def test_ids_order_the_trades_of_one_millisecond_where_they_are_known_to_rise(ids: Any, expected: str) -> None:
    rest = Rest([])
    rest.script = [[row(trade(number, timestamp=START)) for number in (10, 11, 9)]]
    page = await fetched(rest, PageRequest(START, None), facts=TradeFacts(ids=ids))
    assert [each.id for each in page] == expected.split()


@pytest.mark.parametrize(("symbol", "limit"), [("BTC/USDT", 60), ("BTC/USDT:USDT", 1000), ("BTC/USD:BTC", 1000)])
async def test_a_page_is_as_large_as_the_kind_of_market_allows(symbol: str, limit: int) -> None:
    rest: Any = Rest([])
    rest.markets = {"BTC/USDT:USDT": {"linear": True}, "BTC/USD:BTC": {"inverse": True}}
    await fetched(rest, PageRequest(START, None), symbol, facts=profile_of("bybit").trades)
    assert [each["limit"] for each in rest.calls] == [limit]


async def test_the_order_that_decides_what_is_cut_is_asked_for_with_a_time_alone() -> None:
    rest: Any = Rest([])
    facts = profile_of("deribit").trades
    await fetched(rest, PageRequest(START, None), "BTC/USD:BTC", facts=facts)
    await fetched(rest, PageRequest(None, None), "BTC/USD:BTC", facts=facts)
    assert [each.get("sorting") for each in rest.calls] == ["asc", None]


async def test_where_raw_trades_are_watched_raw_trades_are_asked_for() -> None:
    rest: Any = Rest([])
    rest.options = {"watchTrades": {"name": "trade"}}
    rest.markets = {"BTC/USDT:USDT": {"spot": False, "linear": True}}
    await fetched(rest, PageRequest(None, 1000, 9), "BTC/USDT:USDT")
    assert rest.calls[0]["fetchTradesMethod"] == "fapiPublicGetHistoricalTrades"


def subclasses(kind: type[BaseException]) -> list[type[BaseException]]:
    """A class and all below it."""
    return [kind, *(lower for each in kind.__subclasses__() for lower in subclasses(each))]


@pytest.mark.parametrize("error", subclasses(errors.BaseError))
async def test_only_operations_that_failed_are_asked_again(error: type[BaseException]) -> None:
    rest = Rest([])
    rest.script = [error("no")]
    with pytest.raises(Unanswered) as raised:
        await fetched(rest, PageRequest(None, 1000, 9))
    assert raised.value.kind == ("failed" if error in subclasses(errors.OperationFailed) else "refused")


@pytest.mark.parametrize(
    "rows",
    [["text"], [{}], [{**row(trade(1)), "price": None}], [{**row(trade(1)), "amount": math.nan}], [{"id": "1"}]],
)
async def test_an_answer_that_cannot_be_read_is_a_failure_and_no_empty_page(rows: list[Any]) -> None:
    rest = Rest([])
    rest.script = [rows]
    with pytest.raises(Unanswered, match="BadResponse") as raised:
        await fetched(rest, PageRequest(1, None))
    assert raised.value.kind == "failed"


async def test_secrets_are_not_repeated() -> None:
    rest: Any = Rest([])
    rest.apiKey = "hush"
    rest.always = errors.ExchangeError("key hush is bad")
    with pytest.raises(Unanswered, match=r"key \*\*\* is bad"):
        await fetched(rest, PageRequest(1, None))


@pytest.mark.parametrize(
    ("features", "limit"), [({}, 1000), ({"spot": {"fetchTrades": {"limit": 60}}}, 60), ({"spot": {}}, 1000)]
)
async def test_the_largest_page_is_asked_for_as_ccxt_knows_it(features: Any, limit: int) -> None:
    rest: Any = Rest(trades(1, 10))
    rest.features, rest.markets = features, {"BTC/USDT": {"type": "spot", "spot": True}}
    await fetched(rest, PageRequest(START, None))
    assert [call["limit"] for call in rest.calls] == [limit]


class NewestOnly(Rest):
    """OKX by way of ccxt: the newest trades, or those before one, without what is older than `since`."""

    id = "okx"

    async def fetch_trades(
        self, symbol: str, since: int | None = None, limit: int | None = None, params: Any = None
    ) -> Any:
        self.calls.append({"limit": limit, **(params or {})})
        end = int((params or {}).get("after", 10**9))
        happened = [each for each in self.happened if int(each.id or 0) < end][
            -(3 if "after" in (params or {}) else 5) :
        ]
        return [row(each) for each in happened if each.timestamp >= (since or 0)]


async def test_where_rest_gives_only_the_newest_older_pages_are_requested_to_known_trades() -> None:
    rest = NewestOnly(trades(1, 21))
    since = trade(9).timestamp
    assert await fetched(rest, PageRequest(since, None), facts=OKX) == trades(9, 21)
    history = {"limit": 3, "method": "publicGetMarketHistoryTrades"}
    assert rest.calls == [{"limit": 5}, *({**history, "after": str(first)} for first in (16, 13, 10))]


async def test_older_ones_that_are_not_to_be_had_are_left_out() -> None:
    rest = NewestOnly(trades(14, 21))
    assert await fetched(rest, PageRequest(START, None), facts=OKX) == trades(14, 21)


# ---- what an exchange takes


class Choosy(Rest):
    """One that refuses what it does not take, by saying so."""

    def __init__(
        self, happened: list[Trade], *, most: int | None = None, ends: bool = False, times: bool = True
    ) -> None:
        super().__init__(happened, page=most or 1000)
        self.most = most
        self.ends = ends
        """Whether it wants both ends of a time."""
        self.times = times
        """Whether it takes a time at all."""

    async def fetch_trades(
        self, symbol: str, since: int | None = None, limit: int | None = None, params: Any = None
    ) -> Any:
        params = params or {}
        self.calls.append({"since": since is not None, "limit": limit, "until": "until" in params})
        if self.most is not None and (limit or 0) > self.most:
            raise errors.BadRequest("limit")
        if self.ends and since is not None and "until" not in params:
            raise errors.BadRequest("start without end")
        if not self.times and since is not None:
            raise errors.ExchangeError("unknown parameter")
        until = params.get("until", 10**15)
        inside = [each for each in self.happened if (since or 0) <= each.timestamp < until]
        size = min(limit or 20, self.page)
        # Where it wants both ends, it gives the newest before the later one.
        return [row(each) for each in (inside[-size:] if self.ends or since is None else inside[:size])]


@pytest.mark.parametrize(("most", "asked"), [(500, [1000, 500]), (150, [1000, 500, 100]), (60, [1000, 500, 100, None])])
async def test_a_refused_page_is_requested_in_smaller_numbers_which_are_remembered(
    most: int, asked: list[int | None]
) -> None:
    rest = Choosy(trades(1, 10), most=most)
    past = PastTrades(rest, TradeFacts())
    assert await fetched(rest, PageRequest(START, None), past=past) == trades(1, 10)
    assert [call["limit"] for call in rest.calls] == asked
    await fetched(rest, PageRequest(START, None), past=past)
    assert [call["limit"] for call in rest.calls] == [*asked, asked[-1]]


@pytest.mark.parametrize("id_", [None, "x"], ids=["without ids", "of one order"])
async def test_equal_trades_on_both_sides_of_a_page_s_beginning_are_all_fetched(id_: str | None) -> None:
    times = (0, 400, 800, 1_200, 1_200, 1_600, 2_000, 2_400, 2_800)
    happened = [Trade(id=id_, timestamp=START + at, side="buy", price=1.0, amount=1.0) for at in times]
    rest = Choosy(happened, most=5, ends=True)
    facts = TradeFacts(method="by_time", needs_until=True, cut="newest", page=5, resolution_ms=1)
    past = PastTrades(rest, facts, lambda: START + 3_000)
    assert await fetched(rest, PageRequest(START, None), past=past) == happened


async def test_a_page_is_asked_for_as_large_as_is_declared() -> None:
    rest = Choosy(trades(1, 10), most=150)
    await fetched(rest, PageRequest(START, None), facts=profile_of("cryptocom").trades)
    assert [call["limit"] for call in rest.calls] == [150]


async def test_an_end_of_the_time_is_named_where_it_is_wanted_and_that_is_remembered() -> None:
    rest = Choosy(trades(1, 10), ends=True)
    past = PastTrades(rest, TradeFacts(), lambda: START)
    assert await fetched(rest, PageRequest(START, None), past=past) == trades(1, 10)
    assert rest.calls[0] == {"since": True, "limit": 1000, "until": False}
    assert rest.calls[-1] == {"since": True, "limit": 1000, "until": True}
    before = len(rest.calls)
    await fetched(rest, PageRequest(START, None), past=past)
    assert rest.calls[before]["until"]


async def test_ccxt_s_word_that_until_is_wanted_is_taken() -> None:
    rest = Rest(trades(1, 10))
    rest.script = [errors.ArgumentsRequired("fetchTrades() requires a `until` parameter")] * 4
    past = PastTrades(rest, TradeFacts(), lambda: START)
    assert await fetched(rest, PageRequest(START, None), past=past) == trades(1, 10)
    assert "until" in rest.calls[-1]
    assert past.impossible("BTC/USDT") is None


async def test_the_newest_are_asked_for_where_no_time_is_taken() -> None:
    rest = Choosy(trades(1, 30), times=False)
    past = PastTrades(rest, TradeFacts(), lambda: START)
    assert await fetched(rest, PageRequest(START, None), past=past) == trades(1, 30)
    assert not rest.calls[-1]["since"]
    before = len(rest.calls)
    await fetched(rest, PageRequest(START, None), past=past)
    assert len(rest.calls) == before + 1


async def test_where_a_window_gives_its_newest_earlier_ones_are_requested_back_to_it() -> None:
    facts = profile_of("coinbase").trades
    rest = Choosy(trades(0, 400), ends=True)
    past = PastTrades(rest, facts, lambda: trade(400).timestamp)
    found = await fetched(rest, PageRequest(trade(10).timestamp, None), past=past)
    assert [each.id for each in found] == [each.id for each in trades(10, 400)]
    assert all(call["until"] and call["limit"] == 100 for call in rest.calls)
    assert len(rest.calls) == 5


async def test_nothing_is_asked_where_nothing_can_be_had() -> None:
    rest: Any = Rest(trades(1, 10))
    with pytest.raises(Unanswered, match="interruptions are gaps") as raised:
        await fetched(rest, PageRequest(START, None), facts=profile_of("hyperliquid").trades)
    assert raised.value.kind == "impossible"
    rest.has = {"fetchTrades": False}
    with pytest.raises(Unanswered, match="interruptions are gaps"):
        await fetched(rest, PageRequest(START, None))
    assert rest.calls == []


@pytest.mark.parametrize(
    "error", [errors.ArgumentsRequired("requires a walletAddress"), errors.NotSupported("inverse")]
)
async def test_what_can_never_be_asked_is_asked_once(error: errors.BaseError) -> None:
    rest = Rest(trades(1, 10))
    rest.always = error
    past = PastTrades(rest, TradeFacts())
    for _ in range(3):
        with pytest.raises(Unanswered, match="interruptions are gaps") as raised:
            await fetched(rest, PageRequest(START, None), past=past)
        assert raised.value.kind == "impossible"
    assert len(rest.calls) == 1
    assert past.impossible("BTC/USDT") is not None


async def test_an_unknown_resolution_shows_by_whole_seconds() -> None:
    coarse = [trade(number, timestamp=START + number // 3 * 1000) for number in range(20)]
    past = PastTrades(Rest(coarse), TradeFacts())
    assert (past.resolution_ms, past.asks_from_ms) == (1, 1000)
    await fetched(None, PageRequest(START, None), past=past)
    assert past.resolution_ms == 1000
    exact = PastTrades(Rest(trades(0, 20)), TradeFacts())
    await fetched(None, PageRequest(START, None), past=exact)
    assert exact.asks_from_ms == 1


@pytest.mark.parametrize(("exchange", "is_makers"), [("coinbase", True), ("kraken", False), ("generic", False)])
async def test_the_side_of_a_past_trade_is_the_taker_s_whosever_the_venue_names(exchange: str, is_makers: bool) -> None:
    facts = profile_of(exchange).trades
    rest = Rest([])
    rest.script = [[row(trade(1)), row(trade(2)), row(trade(3)) | {"side": None}]]
    found = await fetched(rest, PageRequest(None, 100, 1), facts=msgspec.structs.replace(facts, first_id="id"))
    sides = ["sell", "buy"] if is_makers else ["buy", "sell"]
    assert [each.side for each in found] == [*sides, None]
