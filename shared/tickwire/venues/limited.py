"""Venues whose only known facts are conditions of live feeds.

Source: ccxt 4.5.90, `pro/<venue>.py`: the `watch_*` methods raise AuthenticationError or NotSupported.
"""

from __future__ import annotations

from tickwire.venues.profile import Condition, Profile

PROFILES: tuple[Profile, ...] = (
    Profile(exchanges=("alpaca",), conditions=(Condition(key=True),)),
    Profile(exchanges=("cex",), conditions=(Condition(kinds=("book", "ticker"), key=True),)),
    Profile(exchanges=("luno",), conditions=(Condition(kinds=("trade", "book"), key=True),)),
    Profile(exchanges=("bitrue",), conditions=(Condition(kinds=("trade", "ticker", "candle"), markets=("spot",)),)),
    Profile(exchanges=("blofin",), conditions=(Condition(markets=("spot",)),)),
    Profile(exchanges=("lbank",), conditions=(Condition(markets=("contract",)),)),
    Profile(exchanges=("lighter",), conditions=(Condition(kinds=("ticker",), markets=("spot",)),)),
)
