"""What the conformance suite has proven of each venue, as the file that the last whole run of the suite wrote.

The suite (`tests/venues/conformance`, `make conformance`) runs unmodified ccxt and every service against a simulator
that speaks the venue's protocols; it cannot prove that the real venue keeps to its documentation.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Literal

import msgspec
from msgspec import Struct

from tickwire.venues.profile import MarketKind, Profile

FILE = "proven.json"
CHECKS = {
    "markets": "a market is described as the venue lists it",
    "trades": "each trade arrives once, of two markets at the same time",
    "burst": "3,000 trades of two markets in one write all arrive",
    "cut": "after a cut of 3 s the trades are fetched, or a gap names what is missing",
    "book": "the book is the market's, before and after a cut",
    "ticker": "the ticker is the market's",
    "candles": "a live candle equals the venue's own, in base currency",
    "history": "candles of every timeframe equal the venue's own",
    "listing": "candles before the listing are known to be none",
    "hole": "candles after a hole longer than a page are found",
    "depth": "candles older than the venue keeps are listed as missing",
    "refusals": "refused requests are named, and end nothing else",
}
"""The checks, by name, each as a sentence."""


class Proof(Struct, frozen=True, kw_only=True, order=True):
    """The results of one venue's markets of one kind."""

    exchange: str
    """A ccxt id."""
    kind: MarketKind
    symbol: str
    """The market that was used."""
    checks: dict[str, str]
    """The result of each check of CHECKS: `passed`, `failed`, or how the venue differs."""
    profile: str
    """The digest of the profile that was used."""

    @property
    def holds(self) -> bool:
        """Whether no check failed and none is missing."""
        return self.checks.keys() == CHECKS.keys() and "failed" not in self.checks.values()


class Proofs(Struct, frozen=True, kw_only=True):
    """The results of one run."""

    ccxt: str
    """The version of ccxt."""
    proofs: list[Proof]


@cache
def proofs() -> Proofs:
    """The results of the last run that was kept."""
    return msgspec.json.decode(resources.files("tickwire.venues").joinpath(FILE).read_bytes(), type=Proofs)


def proven_kinds(exchange: str) -> list[MarketKind]:
    """The kinds of markets of an exchange that have passed every check."""
    return [each.kind for each in proofs().proofs if each.exchange == exchange and each.holds]


def not_proven(exchange: str) -> str | None:
    """A phrase for errors of a venue that is not proven; None for one that is."""
    return None if proven_kinds(exchange) else f"{exchange} is not proven yet: see docs/venues.md"


def digest(profile: Profile) -> str:
    """Identifies the facts of a profile: a proof holds for these only. A new kind of fact changes no digest."""
    return sha256(msgspec.json.encode(_declared(profile), order="deterministic")).hexdigest()[:16]


def _declared(value: object) -> object:
    """A Struct as a dict without the fields that have their default, so far down as Structs go."""
    if not isinstance(value, Struct):
        return value
    return {
        field.name: _declared(found)
        for field in msgspec.structs.fields(value)
        if (found := getattr(value, field.name)) != _default(field)
    }


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


Standing = Literal["proven", "declared", "generic"]
"""`proven`: the suite passed; `declared`: a profile states facts, which no suite has tried; `generic`: no facts."""
