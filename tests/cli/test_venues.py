"""`tickwire venues`: which exchanges are proven, and the facts about one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.processes import environment, tickwire
from tickwire.exchange import opening

pytestmark = pytest.mark.system


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
