"""Recorded snapshots and changes of binance give the books that a hand-checkable rule in decimals gives.

The recordings also have binance's own best prices (`bookTicker`), each of one update: where a change ends at that very
update, they are the top of the book.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tickwire.streamer.books.orderbook import OrderBook
from tickwire.venues.dialect import Diff

pytestmark = pytest.mark.golden

LIMIT = 1000


def snapshots(path: Path) -> dict[str, dict[str, Any]]:
    """By symbol, from lines `URL -> TIME: ANSWER`."""
    found = {}
    for line in path.read_text().splitlines():
        url, _, rest = line.partition(" -> ")
        if "depth?" in url:
            symbol = url.partition("symbol=")[2].partition("&")[0]
            found[symbol] = json.loads(rest.partition(": ")[2])
    return found


def frames(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stream and payload, from lines `TIME: FRAME`."""
    for line in path.read_text().splitlines():
        frame = line.partition(": ")[2]
        if frame.startswith('{"stream"'):
            message = json.loads(frame)
            yield message["stream"], message["data"]


class NaiveBook:
    """Prices and amounts as the strings that binance sent, ordered as decimals when asked."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}

    def apply(self, event: dict[str, Any]) -> None:
        for side in "ba":
            for price, amount in event[side]:
                if Decimal(amount) == 0:
                    self.sides[side].pop(price, None)
                else:
                    self.sides[side][price] = amount

    def ordered(self, side: str) -> list[tuple[float, float]]:
        prices = sorted(self.sides[side], key=Decimal, reverse=side == "b")
        return [(float(price), float(self.sides[side][price])) for price in prices]


def as_diff(event: dict[str, Any]) -> Diff:
    levels = {side: [(float(price), float(amount)) for price, amount in event[side]] for side in "ba"}
    return Diff(
        first=event["U"],
        last=event["u"],
        timestamp=event["E"],
        bids=levels["b"],
        asks=levels["a"],
        previous=event.get("pu"),
    )


@pytest.mark.parametrize(
    ("name", "applied", "compared"),
    [
        # Counted in the files: changes whose `u` is past the snapshot, and best prices of an update that ends one.
        ("BINANCE", {"NKNUSDT": 149, "BLZETH": 9, "LRCBTC": 13, "RUNEEUR": 1}, 26),
        ("BINANCE_FUTURES", {"SUSHIUSDT": 252, "AKROUSDT": 187, "CTKUSDT": 179, "KEEPUSDT": 131}, 50),
    ],
)
def test_recorded_books_are_those_of_the_exchange(
    recorded: Path, name: str, applied: dict[str, int], compared: int
) -> None:
    """Book after book equals the naive one, update by update, and its top is what binance itself called the best."""
    begun = snapshots(recorded / "wire" / f"{name}.http.0.0")
    assert begun.keys() == applied.keys()
    books = {
        symbol: OrderBook(
            answer["lastUpdateId"],
            [(float(price), float(amount)) for price, amount in answer["bids"]],
            [(float(price), float(amount)) for price, amount in answer["asks"]],
            limit=LIMIT,
        )
        for symbol, answer in begun.items()
    }
    naive = {symbol: NaiveBook(answer) for symbol, answer in begun.items()}
    events = [(stream.partition("@"), data) for stream, data in frames(recorded / "wire" / f"{name}.ws.1.0")]
    best = {
        (data["s"], data["u"]): (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
        for (_, _, kind), data in events
        if kind == "bookTicker"
    }
    done = dict.fromkeys(books, 0)
    agreed = 0
    for (_, _, kind), data in events:
        if not kind.startswith("depth"):
            continue
        symbol = data["s"]
        past = data["u"] > begun[symbol]["lastUpdateId"]
        assert books[symbol].apply(as_diff(data)) == past
        if not past:
            continue
        done[symbol] += 1
        naive[symbol].apply(data)
        assert books[symbol].whole() == (naive[symbol].ordered("b"), naive[symbol].ordered("a"))
        assert books[symbol].sequence == data["u"]
        if said := best.get((symbol, data["u"])):
            bids, asks = books[symbol].top(1)
            assert (*bids[0], *asks[0]) == said
            agreed += 1
    assert done == applied
    assert agreed == compared
