"""Faults on command: which requests they hit, and how they change an answer. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.simulator.answers import Answer

Kind = Literal[
    "status", "delay", "hang", "truncated", "empty", "same_last", "short", "drop", "listing",
    "ws_cut", "ws_malformed", "ws_split", "ws_silent", "ws_close", "ws_error", "ws_duplicate", "ws_skip", "ws_deaf",
    "rest_forgets",
]  # fmt: skip

MOMENTARY = ("ws_malformed", "ws_close", "ws_error", "ws_duplicate")
"""Kinds that hit the sockets that are open when they are ordered, once."""

_WORD = re.compile(r"[\w-]+")


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """One order. `match` selects requests by `/host/path?query` (then the body of a POST); empty matches all.

    A `match` that is one word (letters, digits, `_`, `-`), such as the name of an endpoint (`klines`, `trades`), is a
    whole word there; any other is a part (`symbol=BTCUSDT`).

    `count` requests are hit (None: all from now on), after `after` others have passed. `ws_skip` counts messages
    instead and drops them; its `match` may name the stream (`books:BTC-USDT`). `ws_deaf` counts subscriptions and
    ignores them; its `match` may be part of the client's message.
    """

    kind: Kind
    match: str = ""
    count: int | None = None
    after: int = 0
    code: int | None = None
    """status: the HTTP status (500); ws_close: the close code (1000); ws_error: the error's code (2)."""
    retry_after: int | None = None
    """status: seconds, sent as `Retry-After`."""
    body: Any = None
    """status: the JSON body, or text where it is a string; absent: an empty body."""
    seconds: float = 0.0
    """delay, ws_cut: duration (s); ws_split, ws_silent: duration (s), 0 for ever."""
    rows: int = 1
    """short: rows that remain of a page."""
    since: int = 0
    """listing: the listing date (ms)."""
    text: str | None = None
    """ws_malformed: the frame (default: a truncated message); ws_error: the error's message."""
    mode: Literal["fragments", "torn"] = "fragments"
    """ws_split: each message in continuation frames, or each write cut within its last frame."""
    size: int = 7
    """ws_split: bytes of payload in a fragment, or bytes held back until the next write."""
    symbol: str = ""
    """rest_forgets: the symbol whose trades are missing, by ccxt's or the simulator's name.

    `BTC/USDT` is the spot market and its linear contract alike (`match` can choose one), `BTC/USD` the inverse one.
    """
    from_id: int = 0
    to_id: int = -1
    """rest_forgets: the first and the last id, of aggregate trades in `aggTrades`, of trades elsewhere."""


def parse(body: bytes) -> Fault:
    """Decode and check a fault. Raises BadRequest with one line."""
    try:
        fault = msgspec.json.decode(body, type=Fault)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = f"kinds are {', '.join(get_args(Kind))}" if "$.kind" in str(error) else ""
        raise BadRequest(f"not a fault: {error}", hint) from error
    if fault.kind == "rest_forgets" and not (fault.symbol and 0 <= fault.from_id <= fault.to_id):
        raise BadRequest("not a fault: rest_forgets needs symbol, from_id and to_id, the last not below the first")
    numbers = (fault.after, fault.seconds, fault.rows, 0 if fault.count is None else fault.count)
    if min(numbers) < 0 or fault.size < 1:
        raise BadRequest("not a fault: a count, a time or a size is below zero")
    if fault.kind == "status" and not 100 <= (fault.code or 500) <= 599:
        raise BadRequest("not a fault: code is no HTTP status")
    if fault.kind == "ws_close" and (not 1000 <= (fault.code or 1000) <= 4999 or fault.code in (1005, 1006, 1015)):
        raise BadRequest("not a fault: code is none that a close frame may have (RFC 6455, 7.4)")
    return fault


class _Order:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.passing = fault.after
        self.left = fault.count
        self.ends = time.monotonic() + fault.seconds if fault.seconds and fault.kind.startswith("ws_") else None
        self.memory: Any = None
        """same_last: the candle."""

    @property
    def over(self) -> bool:
        return self.left == 0 or (self.ends is not None and time.monotonic() >= self.ends)


class Hit:
    """A fault that hits one request."""

    def __init__(self, order: _Order) -> None:
        self._order = order
        self.fault = order.fault

    def changed(self, answer: Answer) -> Answer:
        """Return the answer as the fault changes it: other rows."""
        rows = answer.rows
        return answer if not isinstance(rows, list) else msgspec.structs.replace(answer, rows=self._rows(answer, rows))

    def _rows(self, answer: Answer, rows: list[Any]) -> list[Any]:
        match self.fault.kind:
            case "empty":
                return []
            case "short":
                return rows[: self.fault.rows]
            case "same_last":
                if self._order.memory is None and rows:
                    self._order.memory = max(rows, key=lambda row: int(row[0])) if answer.interval else rows[-1]
                return rows if self._order.memory is None else [self._order.memory]
            case "listing" if answer.interval:
                return _listed(rows, answer, self.fault.since)
            case _:
                return rows


def _listed(rows: list[Any], answer: Answer, listing: int) -> list[Any]:
    """Return no rows for a window wholly before the listing, as venues do that do not jump to it."""
    return [
        row
        for row in rows
        # The candle that contains the listing is present.
        if timeframes.next_open(answer.interval, int(row[0])) > listing
        and (answer.until is None or int(row[0]) < answer.until)
    ]


class Faults:
    """The faults in force, oldest first; the first that matches a request hits it."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []

    def order(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._orders.append(_Order(fault))

    def clear(self) -> None:
        """Remove all faults."""
        self._orders.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Return the faults in force, each with the hits that remain."""
        self._orders = [order for order in self._orders if not order.over]
        return [msgspec.to_builtins(order.fault) | {"count": order.left} for order in self._orders]

    def hit(self, target: str) -> Hit | None:
        """Count a request for `/host/path?query`; return the fault that hits it, or None."""
        for order in self._orders:
            if (
                order.fault.kind.startswith(("ws_", "rest_forgets"))
                or order.over
                or not matches(order.fault.match, target)
            ):
                continue
            if order.passing:
                order.passing -= 1
                continue
            if order.left is not None:
                order.left -= 1
            return Hit(order)
        return None

    def forgotten(self, target: str, names: Collection[str]) -> list[range]:
        """Return the ranges of ids that requests for the trades of an instrument with these names must leave out."""
        return [
            range(order.fault.from_id, order.fault.to_id + 1)
            for order in self._orders
            if order.fault.kind == "rest_forgets" and order.fault.symbol in names and matches(order.fault.match, target)
        ]

    def spent(self, kind: Kind, target: str) -> bool:
        """Count a message or subscription `/host/path?stream`; return whether a fault of this kind hits it."""
        for order in self._orders:
            if order.fault.kind == kind and not order.over and matches(order.fault.match, target):
                if order.passing:
                    order.passing -= 1
                    continue
                if order.left is not None:
                    order.left -= 1
                return True
        return False

    def socket(self, kind: Kind, target: str) -> Fault | None:
        """Return the `ws_` fault in force for a socket, or None."""
        for order in self._orders:
            if order.fault.kind == kind and not order.over and matches(order.fault.match, target):
                return order.fault
        return None


def matches(match: str, target: str) -> bool:
    """Return whether a fault's `match` selects a request for `/host/path?query`."""
    if not _WORD.fullmatch(match):
        return match in target
    return re.search(rf"(?<![\w-]){re.escape(match)}(?![\w-])", target) is not None
