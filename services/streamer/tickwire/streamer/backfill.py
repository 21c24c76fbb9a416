"""What to ask REST for what is missing from a feed of trades, how long, and how its answers are read.

Where ids count: from the next id on, until what has arrived live is reached. Elsewhere: from the time of the last
trade on, one millisecond more so that pages overlap what is known whether the exchange means `since` inclusively or
not. Where no trade is known: from the time on up to which the tape is complete.

Source of the paging parameters: Binance's API documentation, "Compressed/Aggregate trades list" (`fromId` inclusive,
at most 1,000, without a key) and "Old trade lookup".
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ccxt.base import errors

from tickwire.exchanges import page_limit
from tickwire.feeds import Trade
from tickwire.streamer.admission import Admission, LeftOut
from tickwire.streamer.sequence import Ordering, known_until
from tickwire.streamer.unified import trade as trade_of

PAGE = 1000
"""Trades of a page where ccxt does not say how many there may be: many exchanges give a tenth unless asked."""
BY_TIME_MS = 3_600_000
"""How far back trades are asked for by time where none is known: ccxt's pages of binance end an hour after `since`."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
CONFIRMATIONS = 4
"""How often REST is asked before its word is taken that it lacks a trade though it has later ones: in about 0.7 s."""

OLDER: dict[str, Callable[[Trade], dict[str, Any]]] = dict.fromkeys(
    ("okx", "okxus", "myokx"), lambda first: {"method": "publicGetMarketHistoryTrades", "after": first.id}
)
"""Where `fetch_trades` gives the newest only, whatever `since` says: what asks for those before a trade.

Source: OKX's API documentation v5, "Get trades" (the newest 500) and "Get trades history" (100 before `after`, three
months back).
"""
OLDER_PAGES = 100
"""How many older pages are asked for at most, one after the other: OKX allows ten in a second."""

_RAW = {
    "spot": "publicGetHistoricalTrades",
    "linear": "fapiPublicGetHistoricalTrades",
    "inverse": "dapiPublicGetHistoricalTrades",
}


class Ask(NamedTuple):
    """The next call of `fetch_trades`. `cut`: what is missing before its answer is not to be asked for.

    Without a `limit`, the largest page that is to be had.
    `floor`: no trade is known that the answer could overlap, but what happened before this time is not missing.
    """

    since: int | None
    limit: int | None
    first_id: int | None = None
    cut: bool = False
    floor: int | None = None


def next_ask(ordering: Ordering, oldest: int, resolution_ms: int = 1) -> Ask:
    """What to ask next; nothing that happened before `oldest` (ms) is asked for. See `Ordering.forgo`.

    `resolution_ms` is that of REST's timestamps: what it tells of a trade may be so much earlier.
    """
    last = ordering.last

    def coarse(timestamp: int) -> int:
        return timestamp // resolution_ms * resolution_ms

    if ordering.next_id is not None:
        if known_until(ordering) < oldest:
            return Ask(oldest, PAGE, cut=True)
        return Ask(None, PAGE, ordering.next_id)
    if last is not None and last.timestamp >= oldest:
        return Ask(coarse(last.timestamp) - 1, None)
    if ordering.until is not None:
        return Ask(coarse(ordering.until) - 1, None, floor=ordering.until)
    return Ask(oldest, None, cut=True)


class Patience:
    """How long to go on asking. Times are of the monotonic clock, seconds."""

    def __init__(self, repair_s: float) -> None:
        self._repair_s = repair_s
        self._since: float | None = None
        self._tries = 0
        self._absent = 0

    def waiting(self, now: float, trades: int) -> None:
        """So many trades wait for those that are missing."""
        if not trades:
            self._since = None
        elif self._since is None:
            self._since = now

    def progressed(self, now: float) -> None:
        """Some of what is missing came: those that wait do so for the next from now on."""
        if self._since is not None:
            self._since = now
        self._tries = self._absent = 0

    def left_s(self, now: float) -> float:
        """For how long those that wait go on waiting; without end while none wait."""
        return math.inf if self._since is None else self._since + self._repair_s - now

    def absent(self) -> bool:
        """REST says that it lacks a trade: whether it has said so often enough."""
        self._absent += 1
        return self._absent >= CONFIRMATIONS

    def delay_s(self) -> float:
        """How long to wait before asking again: exponential, with jitter."""
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return longest * random.uniform(0.5, 1.0)


class Unanswered(Exception):
    """REST gave no page. `kind`: `failed` may be asked again, `refused` would be again."""

    def __init__(self, kind: Literal["failed", "refused"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


async def fetch(
    rest: Any, symbol: str, ask: Ask, admission: Admission, left_out: LeftOut = lambda reason: None
) -> list[Trade]:
    """A page of trades in the exchange's order, from an opened exchange of ccxt's. Raises Unanswered.

    `left_out` is told of each trade that cannot be read, or whose time cannot be right.
    """
    take = _Take(symbol, admission, left_out)
    try:
        if ask.first_id is not None or ask.limit is not None:
            return await _page(rest, ask, ask.limit, _params(rest, symbol, ask), take)
        trades = await _largest(rest, ask, take)
        older = OLDER.get(getattr(rest, "id", ""))
        for _ in range(OLDER_PAGES if older is not None else 0):
            if older is None or not trades or ask.since is None or trades[0].timestamp <= ask.since:
                break
            before = await _page(rest, ask, None, older(trades[0]), take)
            if not before or _time_and_id(before[-1]) >= _time_and_id(trades[0]):
                break
            trades[:0] = before
    except errors.BaseError as error:
        kind: Literal["failed", "refused"] = "failed" if isinstance(error, errors.OperationFailed) else "refused"
        raise Unanswered(kind, f"{type(error).__name__}: {_without_secrets(rest, str(error))[:200]}") from error
    return trades


class _Take(NamedTuple):
    """What of the answers about a market is taken."""

    symbol: str
    admission: Admission
    left_out: LeftOut


async def _largest(rest: Any, ask: Ask, take: _Take) -> list[Trade]:
    market = (getattr(rest, "markets", None) or {}).get(take.symbol) or {}
    limit = page_limit(getattr(rest, "features", None), market, "fetchTrades") or PAGE
    try:
        return await _page(rest, ask, limit, {}, take)
    except errors.BadRequest:
        # It may be the number that is refused.
        return await _page(rest, ask, None, {}, take)


async def _page(rest: Any, ask: Ask, limit: int | None, params: dict[str, Any], take: _Take) -> list[Trade]:
    symbol, admission, left_out = take
    try:
        rows = list(await rest.fetch_trades(symbol, since=ask.since, limit=limit, params=params))
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        # ccxt's parsers trip like this over answers that are not what they should be.
        raise errors.BadResponse(f"the answer cannot be read: {error!r}") from error
    trades: list[Trade] = []
    bad: list[str] = []
    for row in rows:
        try:
            trades.append(trade_of(row, symbol))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            bad.append(f"{error!r} over {str(row)[:200]}")
    if bad and not trades:
        raise errors.BadResponse(f"the answer cannot be read: {bad[0]}")
    for reason in bad:
        # The others are good.
        left_out(reason)
    trades = list(admission.timed(trades, left_out))
    # ccxt sorts by time and then by id as a text: 10 before 9.
    trades.sort(key=_number if ask.first_id is not None else _time_and_id)
    return trades


def _params(rest: Any, symbol: str, ask: Ask) -> dict[str, Any]:
    if ask.first_id is None:
        return {}
    params: dict[str, Any] = {"fromId": ask.first_id}
    if (getattr(rest, "options", {}).get("watchTrades") or {}).get("name") == "trade":
        market = rest.market(symbol)
        kind = "spot" if market.get("spot") else "linear" if market.get("linear") else "inverse"
        params["fetchTradesMethod"] = _RAW[kind]
    return params


def _number(trade: Trade) -> int:
    try:
        return int(trade.id or 0)
    except ValueError:
        return 0


def _time_and_id(trade: Trade) -> tuple[int, int, str]:
    """Texts of one length are in the order of the numbers that they may be."""
    text = trade.id or ""
    return trade.timestamp, len(text), text


def _without_secrets(rest: Any, text: str) -> str:
    for name in ("apiKey", "secret", "password", "uid", "privateKey", "token"):
        if secret := getattr(rest, name, None):
            text = text.replace(str(secret), "***")
    return " ".join(text.split())
