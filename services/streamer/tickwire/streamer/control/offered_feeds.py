"""Decides which feeds a venue offers: the others are refused at `start`, before anything is subscribed."""

from __future__ import annotations

import importlib.util

from tickwire.errors import TickwireError, UnsupportedKind, UnsupportedTimeframe
from tickwire.exchange.ccxt_types import CcxtExchange, Market
from tickwire.exchange.offers import LIVE
from tickwire.model import timeframes
from tickwire.model.feeds import Feed
from tickwire.venues.profile import Condition, Profile

_DAY_MS = 86_400_000


def offered(exchange: CcxtExchange) -> str:
    """The kinds of feeds that an exchange of ccxt.pro offers, as a phrase."""
    kinds = [kind for kind, need in LIVE.items() if exchange.has.get(need)]
    found = f"it has {', '.join(kinds)}" if kinds else "it has none"
    return f"{found}; see `tickwire venues {exchange.id}`"


def method_of(exchange: CcxtExchange, feed: Feed) -> str:
    """The kind that is subscribed for a feed: trades for candles of every timeframe that divides a day.

    Raises UnsupportedKind and UnsupportedTimeframe if the exchange offers neither.
    """
    has, name = exchange.has, exchange.id
    if feed.kind != "candle" or feed.timeframe is None:
        if not has.get(LIVE[feed.kind]):
            raise UnsupportedKind(f"{name} has no {feed.kind} feeds", offered(exchange))
        return feed.kind
    if has.get("watchTrades") and _DAY_MS % timeframes.duration_ms(feed.timeframe) == 0:
        return "trade"
    if not has.get("watchOHLCV"):
        if has.get("watchTrades"):
            raise UnsupportedTimeframe(f"{feed.timeframe} does not divide a day", "candles here are built from trades")
        raise UnsupportedKind(f"{name} has no candle feeds", offered(exchange))
    own = timeframes.offered(exchange.timeframes or {})
    if feed.timeframe not in own:
        raise UnsupportedTimeframe(f"{name} has no {feed.timeframe} candles", f"it has {', '.join(own)}")
    return feed.kind


def refusal(exchange: CcxtExchange, profile: Profile, kind: str, market: Market) -> TickwireError | None:
    """Why a kind of feed is unavailable for a market by the venue's profile; None if it is available."""
    of = "spot" if market.get("spot") else "contract"
    for condition in profile.conditions:
        if kind in condition.kinds and of in condition.markets and (found := _unmet(exchange, condition, kind, of)):
            return found
    return None


def _unmet(exchange: CcxtExchange, condition: Condition, kind: str, of: str) -> TickwireError | None:
    what = f"{exchange.id}: {kind} feeds of {of} markets"
    if condition.key:
        if exchange.check_required_credentials(False):
            return None
        names = [name for name, is_needed in exchange.requiredCredentials.items() if is_needed]
        return UnsupportedKind(
            f"{what} need an API key ({', '.join(names)})",
            f"set TICKWIRE_{exchange.id.upper()}_API_KEY and its companions for the streamer",
        )
    if condition.package:
        if _is_installed(condition.package):
            return None
        return UnsupportedKind(
            f"{what} need a package that is not installed", f"pip install '{condition.install}' for the streamer"
        )
    return UnsupportedKind(f"{what} are not available", condition.instead)


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        # A parent package is missing.
        return False
