"""One frame with one trade of each venue whose dialect decodes frames: `tests/venues/<exchange>/trade.json`.

`market` is ccxt's description of the market, as far as it differs from a spot market; `url` the socket's; `frame` the
text of the frame, as recorded or documented.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ccxt.pro

from tickwire.venues import registry

FOLDER = Path(__file__).parent


class Sample(NamedTuple):
    """A frame of `exchange` with one trade."""

    exchange: str
    market: dict[str, Any]
    url: str
    frame: str


def dialects() -> list[str]:
    """The exchanges whose dialect decodes frames, one of each dialect."""
    by_dialect = {id(venue.dialect): exchange for exchange, venue in reversed(list(registry.declared().items()))}
    return sorted(each for each in by_dialect.values() if registry.dialect_of(each).decode is not None)


def sample(exchange: str) -> Sample:
    """The sample of an exchange. Raises OSError if there is none."""
    found = json.loads((FOLDER / exchange / "trade.json").read_text())
    base, quote = found["market"]["symbol"].partition(":")[0].split("/")
    market = {
        "base": base, "quote": quote, "baseId": base, "quoteId": quote, "type": "spot", "spot": True, "margin": False,
        "swap": False, "future": False, "option": False, "contract": False, "linear": None, "inverse": None,
        "active": True, "precision": {"price": None, "amount": None}, "limits": {}, "info": {},
    } | found["market"]  # fmt: skip
    return Sample(exchange, market, found["url"], found["frame"])


class _Client:
    """As much of ccxt's Client as its handlers of messages use."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.subscriptions: dict[str, Any] = {}
        self.futures: dict[str, Any] = {}

    def resolve(self, result: Any, name: Any = None) -> Any:
        """Nobody waits."""
        return result

    def reject(self, error: Any, name: Any = None) -> None:
        """Raise it."""
        raise error


def by_ccxt(chosen: Sample) -> Callable[[], list[Any]]:
    """ccxt's own parse of the frame: returns the trades in its cache. ccxt needs a running event loop."""
    plain = getattr(ccxt.pro, chosen.exchange)()
    plain.set_markets([chosen.market])
    client = _Client(chosen.url)

    def parse() -> list[Any]:
        plain.handle_message(client, json.loads(chosen.frame))
        return list(plain.trades[chosen.market["symbol"]])

    return parse
