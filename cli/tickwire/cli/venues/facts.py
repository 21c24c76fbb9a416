"""The facts about one exchange as short phrases: what its profile declares, and what follows for a user. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tickwire.venues.profile import CandleFacts, Condition, MarketKind, Profile, TradeFacts

_DAY_MS = 86_400_000
_UNKNOWN = "unknown"
_IDS = {
    "counting": "count up by one, so that a missing trade is seen by its number",
    "rising": "are integers that rise",
    "opaque": "are unique, without an order",
    "of orders": "are those of orders: trades are compared by content",
    "none": "trades have none",
    None: _UNKNOWN,
}


def repair(facts: TradeFacts) -> str:
    """How trades of an outage are fetched."""
    match facts.method:
        case "by_id":
            found = "by id, without limit"
        case "by_time":
            found = "by time"
        case "newest" if facts.older is not None:
            found = f"the newest {_count(facts.page)}, and older ones page by page"
        case "newest":
            found = f"the newest {_count(facts.page)}; what is older is named as a gap"
        case "none":
            return "not possible: the gap is named"
        case _:
            return f"{_UNKNOWN}: tried, and what is not proven complete is named as a gap"
    return found if facts.reach_ms is None else f"{found}, {_days(facts.reach_ms)} back"


def outage(facts: TradeFacts) -> str:
    """What becomes of the trades of an outage, in two or three words."""
    if facts.method is None:
        return "a gap unless proven"
    if facts.method == "newest" and facts.older is None:
        return f"the newest {_count(facts.page)}"
    return "a gap" if facts.method == "none" else "fetched"


def history(facts: CandleFacts) -> str:
    """How far back candles are fetched."""
    if facts.newest_rows is not None:
        return f"the newest {facts.newest_rows:,}"
    return {"honoured": "to the listing", "ignored": "the newest page", None: _UNKNOWN}[facts.since]


def quiet(facts: CandleFacts) -> str:
    """What stands for an interval without a trade."""
    return {"rows": "a row with volume 0", "none": "no row", None: _UNKNOWN}[facts.quiet]


def needs(condition: Condition) -> str:
    """What live feeds need besides a symbol."""
    kinds = "live feeds" if len(condition.kinds) == 4 else f"live {' and '.join(condition.kinds)}"
    where = "" if len(condition.markets) == 2 else f" of {condition.markets[0]} markets"
    if condition.key:
        return f"{kinds}{where}: an API key"
    return f"{kinds}{where}: " + (f"`pip install {condition.install}`" if condition.package else "not available")


def declared(profile: Profile) -> Iterator[tuple[str, str]]:
    """What a profile declares, as (topic, phrase)."""
    trades, candles = profile.trades, profile.candles
    yield "trade ids", _IDS[trades.ids]
    if trades.ids_shared is not None:
        yield "ids live and by REST", "the same" if trades.ids_shared else "differ: trades are compared by content"
    yield "trades of an outage", repair(trades)
    if trades.amount:
        yield "amount of a trade in", _by_kind(trades.amount)
    yield "candle history", history(candles)
    yield "minute without a trade", quiet(candles)
    if candles.settle_ms is not None:
        yield "a candle is final", "at its end" if not candles.settle_ms else f"{candles.settle_ms / 1000:g} s later"
    if candles.opens_at:
        yield "own grid", ", ".join(sorted(candles.opens_at))
    if profile.tickers.absent:
        yield "a ticker lacks", ", ".join(profile.tickers.absent)
    if candles.absent:
        yield "no candles of", "; ".join(f"{', '.join(each)} ({kind})" for kind, each in candles.absent.items())
    for condition in profile.conditions:
        yield "needs", needs(condition)


def _by_kind(units: Mapping[MarketKind, str]) -> str:
    return ", ".join(f"{unit} ({kind})" for kind, unit in sorted(units.items(), key=lambda each: each[0] != "spot"))


def _count(page: int | None) -> str:
    return "ones" if page is None else f"{page:,}"


def _days(ms: int) -> str:
    return f"{ms / _DAY_MS:g} days" if ms >= _DAY_MS else f"{ms / 3_600_000:g} hours"
