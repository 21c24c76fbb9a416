"""Parses what users type: times, comma-separated lists, keys, feeds. Pure; raises BadRequest with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from tickwire.errors import BadRequest
from tickwire.model import subjects, timeframes
from tickwire.model.feeds import KINDS, Feed, feed
from tickwire.model.nearest import did_you_mean, listed, nearest
from tickwire.model.subjects import Key
from tickwire.model.times import time_ms


class KeyNames(NamedTuple):
    """Comma-separated names that make keys."""

    exchanges: str
    symbols: str
    timeframes: str


Choice = tuple[frozenset[str] | None, frozenset[str] | None, frozenset[str] | None]
"""Names of exchanges, symbols and timeframes; None for all."""


class KeyFilter(NamedTuple):
    """Comma-separated names that select keys; None selects all."""

    exchanges: str | None
    symbols: str | None
    timeframes: str | None


class FeedNames(NamedTuple):
    """A kind and comma-separated names that make feeds."""

    kind: str
    exchanges: str
    symbols: str
    timeframes: str | None


def span(since: str | None, until: str | None, now: int) -> tuple[int | None, int | None]:
    """Parse the ends of a time range (ms); an end that is not given is None. Raises BadRequest."""
    start = None if since is None else time_ms(since, now, "--since")
    end = None if until is None else time_ms(until, now, "--until")
    if start is not None and end is not None and start >= end:
        raise BadRequest(f"--since {since} is not before --until {until}", "swap them, or choose an earlier --since")
    if start is not None and end is None and start >= now:
        raise BadRequest(f"--since {since} is in the future", "choose an earlier --since")
    return start, end


def items(text: str, what: str) -> list[str]:
    """Split `a,b,c` into a list without duplicates. Raises BadRequest for an empty item."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise BadRequest(f"{what} {text!r} has an empty name", "separate names by single commas, without spaces")
    return list(dict.fromkeys(parts))


def keys(exchanges: str, symbols: str, timeframes_: str) -> list[Key]:
    """Return every combination of the comma-separated names. Raises BadRequest or UnsupportedTimeframe."""
    found = [
        Key(*parts)
        for parts in product(items(exchanges, "EXCHANGES"), items(symbols, "SYMBOLS"), items(timeframes_, "TIMEFRAMES"))
    ]
    for key in found:
        timeframes.parse(key.timeframe)
        subjects.key_path(key)
    return found


def feeds(kind: str, exchanges: str, symbols: str, timeframes_: str | None) -> list[Feed]:
    """Return every combination of the comma-separated names. Raises BadRequest or UnsupportedTimeframe."""
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        raise BadRequest(
            f"{kind!r} is not a kind of feed",
            did_you_mean(near) if near else f"it is one of {', '.join(KINDS)}",
        )
    lengths: list[str | None] = [None] if timeframes_ is None else [*items(timeframes_, "TIMEFRAMES")]
    found = [feed(kind, *parts) for parts in product(items(exchanges, "EXCHANGES"), items(symbols, "SYMBOLS"), lengths)]
    for each in found:
        if each.timeframe is not None:
            timeframes.parse(each.timeframe)
    return found


def choice(exchanges: str | None, symbols: str | None, timeframes_: str | None) -> Choice:
    """Split comma-separated names; None selects all. Raises BadRequest or UnsupportedTimeframe."""
    names = None if timeframes_ is None else items(timeframes_, "TIMEFRAMES")
    for each in names or ():
        timeframes.parse(each)
    return (
        None if exchanges is None else frozenset(items(exchanges, "EXCHANGES")),
        None if symbols is None else frozenset(items(symbols, "SYMBOLS")),
        None if names is None else frozenset(names),
    )


def unmatched(known: Sequence[Key], wanted: Choice) -> str | None:
    """Return a line about names that select no cached key, with the nearest ones; None where each selects some."""
    for at, names in enumerate(wanted):
        have = {key[at] for key in known}
        absent = sorted((names or frozenset()) - have)
        if absent:
            near = [other for name in absent for other in nearest(name, have)]
            cached = f"cached: {listed(sorted(have))}" if have else "nothing is cached yet"
            names_ = listed([each or repr(each) for each in absent])
            return f"nothing cached matches {names_}; {did_you_mean(near) if near else cached}"
    if any(names is not None for names in wanted) and not chosen(known, wanted):
        return f"nothing cached matches all these names; cached: {listed([str(key) for key in known])}"
    return None


def chosen(known: Sequence[Key], wanted: Choice) -> list[Key]:
    """Return the known keys that a choice selects."""
    return [
        key for key in known if all(names is None or part in names for part, names in zip(key, wanted, strict=True))
    ]
