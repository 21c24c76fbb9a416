"""Which errors of an exchange are worth another attempt, and what the others become."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from ccxt.base import errors
from prometheus_client import CollectorRegistry

from tickwire.errors import ExchangeFailed, UnknownSymbol
from tickwire.exchange.gate import Gate
from tickwire.exchange.listing import unknown_symbol
from tickwire.fetcher.calls import MAX_RETRY_AFTER_S, Calls, FailedAttempt
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.observe import logs
from tickwire.settings import FetcherSettings, LogSettings

pytestmark = pytest.mark.pure


def below(tree: dict[str, Any], *, retried: bool = False) -> Iterator[tuple[str, bool]]:
    """Every class of ccxt's own table, and whether it is OperationFailed or below."""
    for name, children in tree.items():
        again = retried or name == "OperationFailed"
        yield name, again
        yield from below(children, retried=again)


HIERARCHY = list(below(errors.error_hierarchy))


class Exchange:
    """What Calls needs of an exchange."""

    id = "binance"

    def __init__(self) -> None:
        self.gate = Gate()


def calls(exchange: Exchange, secrets: list[str] | None = None) -> Calls:
    settings = FetcherSettings(attempts=3, backoff_s=0.001, max_backoff_s=0.002)
    return Calls(exchange, settings, concurrency=1, metrics=FetcherMetrics(CollectorRegistry()), secrets=secrets or [])


def test_the_hierarchy_is_the_whole_of_ccxt_s_errors() -> None:
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert classes == {name for name, _ in HIERARCHY}


@pytest.mark.parametrize(("name", "retried"), HIERARCHY)
async def test_each_error_class_is_on_its_side_of_the_line(name: str, retried: bool) -> None:
    attempts = 0

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise getattr(errors, name)("something")

    again = 0

    async def count(failure: FailedAttempt) -> None:
        nonlocal again
        again += 1
        assert name in failure.reason

    with pytest.raises(UnknownSymbol if name == "BadSymbol" else ExchangeFailed, match=name):
        await calls(Exchange())("candles", fail, count)
    assert (attempts, again) == ((3, 2) if retried else (1, 0))


@pytest.mark.parametrize("error", [TypeError, KeyError, IndexError, AttributeError, ValueError])
async def test_a_parser_that_trips_is_a_bad_response_and_asked_again(error: type[Exception]) -> None:
    attempts = 0

    async def trip() -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise error("x")
        return attempts

    assert await calls(Exchange())("candles", trip) == 3


async def test_a_connection_that_breaks_within_an_answer_is_asked_again() -> None:
    attempts = 0

    async def broken() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            # As ccxt raises it.
            raise errors.ExchangeError("binance GET klines") from aiohttp.ClientPayloadError("not completed")
        if attempts == 2:
            raise ConnectionResetError("reset by peer")
        return attempts

    assert await calls(Exchange())("candles", broken) == 3


async def test_failures_are_logged_at_their_beginning_and_end_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(LogSettings(format="json"))
    asked = calls(Exchange(), ["hush-hush"])

    async def one() -> None:
        attempts = 0

        async def fails_twice() -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise errors.ExchangeNotAvailable("503 of ?key=hush-hush")

        await asked("candles", fails_twice)

    await asyncio.gather(*(one() for _ in range(3)))
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in told if line["logger"] == "tickwire.fetcher.calls"]
    assert [line["event"] for line in told] == ["an exchange fails", "over: an exchange fails"]
    assert (told[0]["exchange"], told[0]["what"], told[1]["times"]) == ("binance", "candles", 6)
    assert "ExchangeNotAvailable: 503 of ?key=***" in told[0]["error"]


async def test_other_calls_go_on_while_one_backs_off() -> None:
    exchange = Exchange()
    bounded = calls(exchange)
    order: list[str] = []

    async def other() -> None:
        order.append("other")

    async def fail() -> None:
        order.append("fail")
        if len(order) == 1:
            raise errors.NetworkError("gone")

    async def on_the_way() -> None:
        # The one permit is free again by the time the first attempt has failed.
        await bounded("other", other)

    await asyncio.gather(bounded("candles", fail), on_the_way())
    assert order == ["fail", "other", "fail"]


async def test_a_call_that_is_answered_leaves_nothing_for_the_garbage_collector() -> None:
    asked = calls(Exchange())

    async def answered() -> None:
        pass

    await asked("candles", answered)
    # What other tests have left, and what its finalizers leave.
    while gc.collect():
        pass
    gc.disable()
    try:
        for _ in range(100):
            await asked("candles", answered)
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_a_ban_of_hours_ends_the_call_without_a_request() -> None:
    exchange = Exchange()
    exchange.gate.shut(MAX_RETRY_AFTER_S + 60)

    async def never() -> None:
        raise AssertionError("asked")

    with pytest.raises(ExchangeFailed, match="accepts no requests for"):
        await calls(exchange)("candles", never)


async def test_credentials_never_reach_an_error() -> None:
    async def fail() -> None:
        raise errors.AuthenticationError("bad key hush-hush in https://x/?key=hush-hush")

    with pytest.raises(ExchangeFailed, match="TICKWIRE_BINANCE_API_KEY") as caught:
        await calls(Exchange(), ["hush-hush"])("balance", fail)
    assert "hush-hush" not in str(caught.value)


def test_an_unknown_symbol_names_the_nearest() -> None:
    assert "BTC/USDT" in unknown_symbol("binance", "btc/usd", ["ETH/BTC", "BTC/USDT", "SOL/USDT"]).remedy
