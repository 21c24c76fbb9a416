"""`tickwire venues`: which exchanges are proven, and the facts about one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from support.processes import environment, tickwire
from tickwire.cli.venues import facts
from tickwire.exchange import opening
from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

pytestmark = pytest.mark.system


def choices(kind: Any, name: str) -> list[Any]:
    """Every value that a fact may have, and None where it may be unknown."""
    literal, *unknown = get_args(get_type_hints(kind)[name])
    return [*get_args(literal), *([None] if unknown else [])]


@pytest.mark.parametrize(
    ("part", "kind", "name"),
    [
        ("trades", TradeFacts, "ids"),
        ("trades", TradeFacts, "method"),
        ("candles", CandleFacts, "since"),
        ("candles", CandleFacts, "quiet"),
    ],
)
def test_every_value_of_a_fact_has_a_phrase_of_its_own(part: str, kind: Any, name: str) -> None:
    found = choices(kind, name)
    assert len(found) > 2
    said = [tuple(facts.declared(Profile(exchanges=("x",), **{part: kind(**{name: each})}))) for each in found]
    assert len(set(said)) == len(found)


async def test_every_exchange_is_listed_with_how_it_is_known(tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path), "venues", "--json")
    found = {each["exchange"]: each for each in json.loads(ended.out)}
    assert (ended.code, tuple(sorted(found))) == (0, opening.ids())
    assert {each["standing"] for each in found.values()} <= {"proven", "declared", "generic"}
    assert found["poloniex"]["standing"] == "generic"
    assert found["poloniex"]["proven"] == []


async def test_the_facts_of_one_exchange_name_what_a_user_meets(tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path), "venues", "kraken")
    assert ended.code == 0
    assert "the newest 720" in ended.out
    unlisted = await tickwire(environment(tmp_path), "venues", "alpaca")
    assert "live feeds: an API key" in unlisted.out


async def test_a_misspelt_exchange_is_one_line_with_the_nearest(tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path), "venues", "okex")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == ["tickwire: there is no exchange 'okex'; did you mean okx?"]
