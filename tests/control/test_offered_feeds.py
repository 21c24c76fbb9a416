"""What venues' live feeds take, against every class of ccxt.pro, called offline; and timeframes that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ccxt.pro
import pytest
from ccxt.base import errors

from tickwire.errors import UnsupportedKind, UnsupportedTimeframe
from tickwire.exchange import opening
from tickwire.model import timeframes
from tickwire.model.feeds import Feed
from tickwire.streamer.control.offered_feeds import method_of, refusal
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.pure


class Sent(Exception):
    """ccxt would have used the network."""


WATCH: dict[str, Callable[[Any, Feed], Any]] = {
    "trade": lambda opened, feed: opened.watch_trades(feed.symbol),
    "book": lambda opened, feed: opened.watch_order_book(feed.symbol),
    "ticker": lambda opened, feed: opened.watch_ticker(feed.symbol),
    "candle": lambda opened, feed: opened.watch_ohlcv(feed.symbol, feed.timeframe),
}


def market(*, spot: bool) -> dict[str, Any]:
    """One as ccxt describes it."""
    settle = None if spot else "USDT"
    return {
        "id": "BTCUSDT", "lowercaseId": "btcusdt", "symbol": "BTC/USDT" if spot else "BTC/USDT:USDT", "base": "BTC",
        "quote": "USDT", "baseId": "BTC", "quoteId": "USDT", "settle": settle, "settleId": settle,
        "type": "spot" if spot else "swap", "spot": spot, "margin": False, "swap": not spot, "future": False,
        "option": False, "contract": not spot, "linear": not spot, "inverse": False, "contractSize": 1, "active": True,
        "precision": {"price": 0.01, "amount": 0.01}, "limits": {}, "info": {},
    }  # fmt: skip


def feeds_of(opened: Any, symbol: str) -> list[Feed]:
    """One of each kind that is subscribed there; of candles, the first timeframe that is not built from trades."""
    found: list[Feed] = []
    wanted = [Feed(kind, opened.id, symbol) for kind in ("trade", "book", "ticker")]
    own = timeframes.offered(opened.timeframes or {})
    wanted += [Feed("candle", opened.id, symbol, timeframe) for timeframe in own]
    for feed in wanted:
        try:
            kind = method_of(opened, feed)
        except (UnsupportedKind, UnsupportedTimeframe):
            continue
        if kind == feed.kind and kind not in [each.kind for each in found]:
            found.append(feed)
    return found


async def asked(feed: Feed, of: dict[str, Any]) -> type[BaseException] | None:
    """What ccxt refuses offline, if it does."""
    # Without TLS, for which each instance reads the certificates of all authorities (20 ms): nothing is sent.
    opened = getattr(ccxt.pro, feed.exchange)(
        {"markets": {of["symbol"]: of}, "enableRateLimit": False, "timeout_on_exit": 0, "verify": False}
    )

    def sent(*arguments: Any, **named: Any) -> Any:
        raise Sent

    async def fetched(*arguments: Any, **named: Any) -> Any:
        raise Sent

    opened.watch = opened.watch_multiple = sent
    opened.fetch = fetched
    opened.open()
    try:
        await WATCH[feed.kind](opened, feed)
    except (errors.AuthenticationError, errors.NotSupported) as error:
        return type(error)
    except Exception:  # noqa: BLE001
        # It went on to what needs the network, or more than this market tells.
        return None
    finally:
        await opened.close()
    return None


@pytest.mark.parametrize("exchange", sorted(set(ccxt.pro.exchanges) - {"kucoin", "kucoinfutures"}))
async def test_what_ccxt_refuses_offline_is_refused_at_start_and_nothing_else_is(exchange: str) -> None:
    """Kucoin is left out: it asks for a token in a task of its own before anything else."""
    opened = getattr(ccxt.pro, exchange)({"timeout_on_exit": 0})
    for spot in (True, False):
        of = market(spot=spot)
        for feed in feeds_of(opened, of["symbol"]):
            refused = refusal(opened, profile_of(exchange), feed.kind, of)
            if refused is not None and "package" in refused.message:
                continue
            by_ccxt = await asked(feed, of)
            assert (refused is None) == (by_ccxt is None), (feed, by_ccxt, refused)
            if by_ccxt is errors.AuthenticationError:
                assert "key" in str(refused)
    await opened.close()


def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = ccxt.pro.mexc()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = refusal(opened, profile_of("mexc"), "trade", market(spot=True))
    assert isinstance(refused, UnsupportedKind)
    assert "pip install 'protobuf==" in str(refused)
    assert refusal(opened, profile_of("mexc"), "trade", market(spot=False)) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert refusal(opened, profile_of("mexc"), "trade", market(spot=True)) is None


@pytest.mark.parametrize(("exchange", "none"), [("backpack", "15"), ("backpack", "30"), ("phemex", "1Y")])
def test_a_timeframe_that_an_exchange_lists_and_that_is_none_is_not_offered(exchange: str, none: str) -> None:
    opened = getattr(ccxt.pro, exchange)({"timeout_on_exit": 0})
    assert none in opened.timeframes
    offered = opening.timeframes(exchange)
    assert none not in offered
    assert sorted(offered, key=timeframes.duration_ms)
    with pytest.raises(UnsupportedTimeframe):
        opening.check_timeframe(exchange, none)
    with pytest.raises(UnsupportedTimeframe):
        method_of(opened, Feed("candle", exchange, "BTC/USDT", none))


@pytest.mark.parametrize("exchange", opening.ids())
def test_every_timeframe_that_is_offered_is_one(exchange: str) -> None:
    for timeframe in opening.timeframes(exchange):
        assert timeframes.duration_ms(timeframe) > 0
