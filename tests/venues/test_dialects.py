"""Code for one venue stands in `shared/tickwire/venues/`; generic code finds it by the registry."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tickwire.exchange import opening
from tickwire.venues import binance, generic, registry

pytestmark = pytest.mark.pure

ROOT = Path(__file__).parents[2]
GENERIC = [
    path
    for folder in ("shared", "services")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "venues" not in path.relative_to(ROOT).parts[2:]
]


def named(tree: ast.AST, ids: frozenset[str]) -> Iterator[str]:
    """Exchange ids as string constants, and modules of single venues that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in ids:
            yield f"{node.lineno}: {node.value!r}"
        elif isinstance(node, ast.ImportFrom) and node.module == "tickwire.venues":
            yield from (f"{node.lineno}: venues.{each.name}" for each in node.names if each.name in ids)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").removeprefix("tickwire.venues.") in ids:
            yield f"{node.lineno}: {node.module}"


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_generic_code_names_no_exchange(path: Path) -> None:
    assert list(named(ast.parse(path.read_text()), frozenset(opening.ids()))) == []


def test_a_named_exchange_is_found() -> None:
    source = 'from tickwire.venues import okx\nfrom tickwire.venues.binance import decode\nx = "kraken"\n'
    assert len(list(named(ast.parse(source), frozenset(opening.ids())))) == 3


def test_an_exchange_without_a_dialect_has_the_generic_one() -> None:
    assert registry.dialect_of("upbit") is generic.DIALECT
    assert registry.dialect_of("binanceusdm") is binance.DIALECT


def urls(nested: Any) -> Iterator[str]:
    """Every text of nested tables."""
    for each in nested.values():
        yield from urls(each) if isinstance(each, dict) else [each] if isinstance(each, str) else []


@pytest.mark.parametrize("exchange", ["binance", "binanceusdm", "binancecoinm", "binanceus"])
def test_sockets_of_spot_markets_are_those_of_ccxt(exchange: str) -> None:
    opening.preload(pro=True)
    kind = getattr(importlib.import_module("ccxt.pro"), exchange)
    known = kind()

    class Client:
        def __init__(self, url: str) -> None:
            self.url = url

    found = [url for url in urls(known.urls["api"]) if url.startswith("ws")]
    assert found
    for url in found:
        for each in (url, f"{url}/1", url.replace("wss://", "ws://127.0.0.1:9/")):
            assert binance.is_spot_url(each) == known.is_spot_url(Client(each)), each
