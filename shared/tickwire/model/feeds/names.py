"""The name of a feed: (kind, exchange, symbol) and, for candles, a timeframe; and the subjects made of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from tickwire.errors import BadRequest
from tickwire.model.subjects import exchange_name, symbol_of, timeframe_name, token

Kind = Literal["trade", "book", "ticker", "candle"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Feed(NamedTuple):
    """The name of a feed. Only candles have a `timeframe`."""

    kind: Kind
    exchange: str
    symbol: str
    timeframe: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def fields(self) -> dict[str, str]:
        """The feed as fields of a log line."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def path(self) -> str:
        """`trade.binance.BTC-USDT`, `candle.binance.BTC-USDT.1m`. Raises BadRequest."""
        path = f"{self.kind}.{exchange_name(self.exchange)}.{token(self.symbol)}"
        return path if self.timeframe is None else f"{path}.{timeframe_name(self.timeframe)}"

    @property
    def tape(self) -> str:
        """The subject that the feed's one writer publishes to; trades have a partition (`TapeLayout.place_of`)."""
        if self.kind == "trade":
            raise ValueError(f"the subject of {self} depends on the layout of the tape")
        return f"tape.{self.path}"

    @property
    def public(self) -> str:
        """The subject that consumers subscribe to."""
        return f"md.{self.path}"

    @property
    def market(self) -> Feed:
        """The feed without timeframe: all candles of a symbol have one owner and one status."""
        return self._replace(timeframe=None)

    @property
    def status(self) -> str:
        """The tape subject of the feed's status; public as `md.status.<kind>.<exchange>.<token>`."""
        return f"tape.status.{self.market.path}"


def feed(kind: str, exchange: str, symbol: str, timeframe: str | None = None) -> Feed:
    """A feed, checked for form. Raises BadRequest with the remedy."""
    if kind not in KINDS:
        raise BadRequest(f"{kind!r} is not a kind of feed", f"it is one of {', '.join(KINDS)}")
    if kind == "candle" and timeframe is None:
        raise BadRequest("a candle feed needs a timeframe", "name it, such as 1m")
    if kind != "candle" and timeframe is not None:
        raise BadRequest(f"a {kind} feed has no timeframe", "leave it out")
    named = Feed(kind, exchange, symbol, timeframe)
    # Checks the names now rather than at first use.
    _ = named.path
    return named


def feed_of(path: str) -> Feed:
    """The inverse of `Feed.path`. Raises BadRequest."""
    parts = path.split(".")
    if len(parts) not in (3, 4):
        raise BadRequest(f"{path[:80]!r} is not a feed", "it is kind.exchange.token and, for candles, .timeframe")
    return feed(parts[0], parts[1], symbol_of(parts[2]), parts[3] if len(parts) == 4 else None)
