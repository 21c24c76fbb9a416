"""Venues of the simulator: found by their place, known to no generic code, and reached at the URLs of ccxt."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest

from tickwire.simulator.answers import Answer, Refused
from tickwire.simulator.config import checked
from tickwire.simulator.directory import Directory, discovered, plain
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.venue import Venue

pytestmark = pytest.mark.pure

FOLDER = Path(__file__).parents[2] / "simulator" / "tickwire" / "simulator"
# Recordings are in the form of one venue.
GENERIC = [
    path for path in sorted(FOLDER.rglob("*.py")) if path.relative_to(FOLDER).parts[0] not in ("venues", "recordings")
]
VENUES = discovered()


def urls(nested: Any) -> Iterator[str]:
    """Every text of nested tables."""
    for each in nested.values():
        yield from urls(each) if isinstance(each, dict) else [each] if isinstance(each, str) else []


def words(path: Path) -> Iterator[str]:
    """The texts of a module other than docstrings, and the modules that it imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: str(path.relative_to(FOLDER)))
def test_generic_code_of_the_simulator_names_no_venue(path: Path) -> None:
    ids = {id_ for venue in VENUES for id_ in (venue.name, *venue.exchanges)}
    found = [text for text in words(path) if ids & set(re.split(r"\W+", text.lower()))]
    assert found == []


def test_each_module_and_folder_in_venues_is_a_venue() -> None:
    names = {path.stem for path in (FOLDER / "venues").iterdir() if not path.name.startswith("_")}
    assert {venue.name for venue in VENUES} == names


@pytest.mark.parametrize("exchange", [id_ for venue in VENUES for id_ in venue.exchanges])
def test_the_hosts_of_ccxt_are_those_of_the_venue(exchange: str) -> None:
    directory = Directory(VENUES, Exchange(checked({"symbols": ["BTC/USDT"]})))
    made = getattr(ccxt.pro if hasattr(ccxt.pro, exchange) else ccxt.async_support, exchange)()
    found = {url.replace("{hostname}", made.hostname or "").split("/")[2] for url in urls(made.urls["api"])}
    served = {host: directory.venue(host) for host in found}
    assert any(venue and exchange in venue.exchanges for venue in served.values()), served
    assert {venue.name for venue in served.values() if venue} == {
        venue.name for venue in VENUES if exchange in venue.exchanges
    }


def test_an_endpoint_may_name_parameters_in_its_path() -> None:
    def endpoint(request: Any) -> Answer:
        return Answer([])

    venue = Venue(
        name="made",
        exchanges=(),
        hosts=("api.made.test",),
        endpoints={"GET products/{id}/trades": endpoint, "POST info": endpoint, "GET v1/{rest...}": endpoint},
        error=lambda refused, now: refused.code,
        too_many_requests=lambda limit: Refused(1, "too many"),
    )
    directory = Directory([venue], Exchange(checked({"symbols": ["BTC/USDT"]})))
    assert directory.venue("api.made.test:443") is venue
    assert directory.venue("api.other.test") is None
    assert plain("api.made.test:443") == "api.made.test"
    cases = {
        ("GET", "products/BTC-USD/trades"): {"id": "BTC-USD"},
        ("POST", "info"): {},
        ("GET", "v1/a/b"): {"rest": "a/b"},
        ("GET", "info"): None,
        ("GET", "products/a/b/trades"): None,
    }
    for (method, path), named in cases.items():
        found = directory.endpoint(venue, method, path)
        assert (found[1] if found else None) == named, path
