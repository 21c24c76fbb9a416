"""What tickwire relies on of the installed ccxt is there, and still does what the patches assume."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import ccxt.pro
import pytest
from ccxt.async_support.base.ws.cache import ArrayCache, ArrayCacheBySymbolById

from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches.caches import NewItems, Placed, forget, stands
from tickwire.exchange.ccxt_patches.observed_exchange import ObservedExchange
from tickwire.exchange.ccxt_patches.rest_traps import RestTraps
from tickwire.exchange.ccxt_patches.stream_places import release_stream
from tickwire.exchange.ccxt_types import CcxtClient, CcxtExchange, TradePages
from tickwire.model.feeds import Feed
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.pure

URL = "wss://stream.binance.com:9443/ws/1"
OWN = {"observer", "fetch_whole_page", "parsed", "parsed_later"}
"""Members of the mixin classes that replace nothing."""


@pytest.fixture
async def exchange() -> AsyncIterator[Any]:
    async with opening.open_exchange("binance", ExchangeSettings(), pro=True) as opened:
        yield opened


def members(protocol: type[Any]) -> list[str]:
    """The attributes and methods that a Protocol names."""
    methods = [
        name
        for name, each in vars(protocol).items()
        if (inspect.isfunction(each) or isinstance(each, property)) and not name.startswith("_")
    ]
    return [*protocol.__annotations__, *methods]


async def test_a_client_has_what_is_used_of_it(exchange: Any) -> None:
    client = exchange.client(URL)
    assert [name for name in members(CcxtClient) if not hasattr(client, name)] == []


async def test_an_exchange_has_what_is_used_of_it(exchange: Any) -> None:
    assert [name for name in [*members(TradePages), *members(CcxtExchange)] if not hasattr(exchange, name)] == []


def parameters(method: Any) -> list[inspect.Parameter]:
    """But for `self`, which some of ccxt's methods lack: they are static."""
    return [each for name, each in inspect.signature(method).parameters.items() if name != "self"]


@pytest.mark.parametrize("mixin", [ObservedExchange, RestTraps])
def test_each_method_that_is_replaced_exists_with_as_many_parameters(mixin: type[Any]) -> None:
    for name, method in vars(mixin).items():
        if not inspect.isfunction(method) or name.startswith("_") or name in OWN:
            continue
        original = getattr(ccxt.pro.binance, name)
        ours, theirs = parameters(method), parameters(original)
        open_ended = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in ours)
        assert len(ours) == len(theirs) or (open_ended and len(theirs) >= len(ours) - 1), name
        assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(original), name


async def test_places_of_streams_are_counted_as_they_are_released(exchange: Any) -> None:
    before = {name: exchange.options.get(name) for name in ("streamBySubscriptionsHash", "numSubscriptionsByStream")}
    first = exchange.stream("spot", "one", 3)
    assert exchange.options["streamBySubscriptionsHash"]["one"] == first
    assert exchange.options["numSubscriptionsByStream"][first] == 3
    release_stream(exchange.options, "one", 3)
    assert {name: exchange.options[name] or None for name in before} == {
        name: each or None for name, each in before.items()
    }


async def test_a_subscription_stands_while_ccxt_lists_it_on_an_open_socket(exchange: Any) -> None:
    client = exchange.client(URL)
    placed = [Placed(client, "btcusdt@trade")]
    assert not stands(exchange, placed)
    client.subscriptions["btcusdt@trade"] = True
    assert stands(exchange, placed)
    client.on_error(ccxt.NetworkError("cut"))
    assert not stands(exchange, placed)


async def test_the_cache_of_a_feed_is_where_it_is_dropped(exchange: Any) -> None:
    exchange.set_markets([
        exchange.safe_market_structure(
            {"id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
             "type": "spot", "spot": True, "active": True}
        )
    ])  # fmt: skip
    client = exchange.client(URL)
    frame = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 7, "p": "1.5", "q": "2", "T": 1_700_000_000_000, "m": False}
    exchange.handle_message(client, frame)
    assert [each["id"] for each in exchange.trades["BTC/USDT"]] == ["7"]
    forget(exchange, Feed("trade", "binance", "BTC/USDT"), "trades")
    assert "BTC/USDT" not in exchange.trades


def item(number: int) -> dict[str, Any]:
    return {"symbol": "BTC/USDT", "id": str(number), "price": number}


@pytest.mark.parametrize("kind", [ArrayCache, ArrayCacheBySymbolById])
def test_new_items_of_a_cache_are_found_once(kind: type[Any]) -> None:
    lost: list[str] = []
    cache, new = kind(5), NewItems(lost.append)
    found = []
    for number in range(12):
        cache.append(item(number))
        found += [each["id"] for each in new.of(cache)]
        assert new.of(cache) == []
    assert found == [str(number) for number in range(12)]
    assert lost == []


@pytest.mark.parametrize("kind", [ArrayCache, ArrayCacheBySymbolById])
def test_a_cache_that_was_replaced_as_a_whole_may_have_lost_items(kind: type[Any]) -> None:
    lost: list[str] = []
    cache, new = kind(5), NewItems(lost.append)
    cache.append(item(0))
    new.of(cache)
    for number in range(1, 7):
        cache.append(item(number))
    assert len(new.of(cache)) == 5
    assert len(lost) == 1
