"""Finds markets of an exchange by what a person writes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tickwire.model.messages import ListedMarket
from tickwire.model.nearest import nearest

NEAR = 3
"""Symbols that are suggested where nothing matches."""


class Found(NamedTuple):
    """The markets that match, the best first; else the symbols nearest to what was written."""

    markets: Sequence[ListedMarket]
    near: list[str]


def find(markets: Sequence[ListedMarket], search: str) -> Found:
    """The markets in which each word of `search` is, whatever its case; all of them if there is no word."""
    words = search.casefold().split()
    if not words:
        return Found(markets, [])
    found = [each for each in markets if _matches(each, words)]
    if not found:
        return Found([], _near(markets, search))
    return Found(sorted(found, key=lambda each: _rank(each, words)), [])


def _matches(market: ListedMarket, words: Sequence[str]) -> bool:
    symbol = market.symbol.casefold()
    # A space between them, which no word has.
    text = f"{symbol} {_letters(symbol)} {(market.market_id or '').casefold()}"
    return all(word in text for word in words)


def _letters(symbol: str) -> str:
    """A symbol as many write it: BTCUSDT."""
    return "".join(filter(str.isalnum, symbol))


def _rank(market: ListedMarket, words: Sequence[str]) -> tuple[bool, bool, bool, bool, int, str]:
    symbol, first = market.symbol.casefold(), words[0]
    return (
        first not in (symbol, _letters(symbol)),
        market.base.casefold() != first,
        not (symbol.startswith(first) or _letters(symbol).startswith(first)),
        market.active is False,
        len(symbol),
        symbol,
    )


def _near(markets: Sequence[ListedMarket], search: str) -> list[str]:
    if near := nearest(search, (each.symbol for each in markets), NEAR):
        return near
    bases = nearest(search.split()[0], (each.base for each in markets), 1)
    return [each.symbol for each in find(markets, bases[0]).markets[:NEAR]] if bases else []
