"""The markets that the conformance suite tries: those that `tests/venues/<venue>/cases.toml` name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from tickwire.venues.profile import MarketKind


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """Two markets of one kind of one exchange."""

    exchange: str
    kind: MarketKind
    symbol: str
    other: str
    options: str = "{}"
    """ccxt options, as TOML: which kinds of markets are loaded, where loading all takes long."""
    quote: str = "USDT"
    """The quote currency of the simulator's markets that the two are made of."""
    cut_s: float = 3.0
    """How long the sockets are cut (s): longer where a subscription brings so many of the last trades that none would
    be missing after three seconds."""

    @property
    def underlying(self) -> tuple[str, str]:
        """The simulator's markets that the two are made of."""
        first, second = (f"{each.partition('/')[0]}/{self.quote}" for each in (self.symbol, self.other))
        return first, second

    def __str__(self) -> str:
        return f"{self.exchange}-{self.kind}"


CASES = tuple(
    msgspec.convert(each, Case)
    for path in sorted(Path(__file__).parents[1].glob("*/cases.toml"))
    for each in tomllib.loads(path.read_text())["case"]
)
PARAMETERS = [pytest.param(case, id=str(case), marks=pytest.mark.xdist_group(str(case))) for case in CASES]
