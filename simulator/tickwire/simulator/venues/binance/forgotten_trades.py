"""Pages of trades without those that the fault `rest_forgets` removes; filled up with later trades. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tickwire.simulator.answers import Query
from tickwire.simulator.venues.binance.parameters import limit

IDS = {"aggTrades": "a", "trades": "id", "historicalTrades": "id"}
"""Endpoints of trades, and the name of the id in each."""

Found = tuple[Any, int] | None


def remembered(ask: Callable[[Query], Found], endpoint: str, query: Query, holes: list[range]) -> Found:
    """Return the answer of `ask(query)` without trades whose ids are in a hole, and with later trades in their place.

    Raises what `ask` does.
    """
    found = ask(query)
    if found is None or not holes or endpoint not in IDS:
        return found
    id_, most = IDS[endpoint], limit(query, 500, 1000)
    until = int(query["endTime"]) if "endTime" in query else None
    rows, weight = found
    kept = _outside(rows, id_, holes)
    onwards = "fromId" in query or "startTime" in query
    asked = most
    while onwards and len(rows) == asked and len(kept) < most:
        asked = most - len(kept)
        first = _after(rows[-1][id_] + 1, holes)
        again = ask({"symbol": query["symbol"], "fromId": str(first), "limit": str(asked)})
        rows = [row for row in again[0] if until is None or row["T"] <= until] if again else []
        kept += _outside(rows, id_, holes)
    return kept, weight


def _outside(rows: list[Any], id_: str, holes: list[range]) -> list[Any]:
    return [row for row in rows if not any(row[id_] in hole for hole in holes)]


def _after(first: int, holes: list[range]) -> int:
    for hole in sorted(holes, key=lambda hole: hole.start):
        if first in hole:
            first = hole.stop
    return first
