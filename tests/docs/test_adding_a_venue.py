"""docs/adding-a-venue.md names every fact and function that a venue may declare."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.simulator.sockets import dialect as simulated
from tickwire.simulator.venue import Sockets, Venue
from tickwire.venues import profile
from tickwire.venues.dialect import Dialect

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "adding-a-venue.md").read_text()
QUOTED = set(re.findall(r"`([^`\n]+)`", TEXT))
"""What is written as code."""
FACTS = {
    "trades": profile.TradeFacts,
    "candles": profile.CandleFacts,
    "book": profile.BookFacts,
    "tickers": profile.TickerFacts,
    "sockets": profile.SocketFacts,
}


def fields(kind: Any) -> list[str]:
    """The names of a struct's fields."""
    return [each.name for each in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("part", FACTS)
def test_every_fact_of_a_profile_has_a_place_in_the_guide(part: str) -> None:
    missing = [name for name in fields(FACTS[part]) if not {name, f"{part}.{name}"} & QUOTED]
    assert missing == []


def test_every_part_of_a_profile_has_a_place_in_the_guide() -> None:
    assert [name for name in fields(profile.Profile) if name not in QUOTED and name not in (*FACTS, "exchanges")] == []


def test_every_function_of_a_dialect_has_a_place_in_the_guide() -> None:
    assert [each.name for each in dataclasses.fields(Dialect) if each.name not in QUOTED] == []


@pytest.mark.parametrize("kind", [Venue, Sockets])
def test_every_field_of_a_simulated_venue_has_a_place_in_the_guide(kind: Any) -> None:
    assert [name for name in fields(kind) if not re.search(rf"\b{name}\b", TEXT)] == []


@pytest.mark.parametrize("kind", [simulated.Dialect, simulated.Subscriptions])
def test_every_function_of_a_simulated_dialect_has_a_place_in_the_guide(kind: Any) -> None:
    names = [name for name in vars(kind) if not name.startswith("_")]
    assert [name for name in names if not re.search(rf"\b{name}\b", TEXT)] == []
