"""A venue's profile: the facts about an exchange that tickwire relies on.

A field that is None is unknown. Code that depends on an unknown fact derives it from the venue's responses, or reports
the range as missing; it never assumes it. A comment beside each declared fact names the source: the venue's
documentation (titles in quotes), a measurement, or ccxt 4.5.90.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct, field

MarketKind = Literal["spot", "linear", "inverse"]
"""Kinds of market that differ in units: contracts are linear (settled in quote) or inverse (settled in base)."""
AmountUnit = Literal["base", "contracts", "quote"]
"""The unit of an amount: base currency, contracts of the market's contract size, or quote currency."""

IN_BASE: Mapping[MarketKind, AmountUnit] = {"spot": "base"}
"""ccxt's manual, "Trade structure" and "OHLCV structure": amounts and volumes of spot markets are base currency."""


class Older(Struct, frozen=True, kw_only=True):
    """How to request the trades before a known one, if `fetch_trades` by itself returns only the newest."""

    before: str
    """The parameter that takes the id of the known trade."""
    page: int | None = None
    """The largest page of such a request, if it differs from `TradeFacts.page`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of `fetch_trades`."""
    by_time: Mapping[str, Any] | None = None
    """Further parameters with which `before` takes a time (ms, exclusive) instead of an id; None if it takes none."""


class TradeFacts(Struct, frozen=True, kw_only=True):
    """Trades: their ids, and how past trades are requested by REST."""

    ids: Literal["counting", "rising", "opaque", "of orders", "none"] | None = None
    """`counting`: integers that count up by one within a symbol, so that a gap is visible. `rising`: integers that rise
    within a symbol, and that order trades of one timestamp better than a REST page does. `of orders`: the trades of one
    order have one id, so that ids do not tell trades apart."""
    ids_shared: bool | None = None
    """Whether a trade has the same id live and by REST."""
    method: Literal["by_id", "by_time", "newest", "none"] | None = None
    """How past trades are requested by REST: from an id, from a time, only the newest, or not at all."""
    first_id: str | None = None
    """If `method` is `by_id`: the parameter for the id of the first trade."""
    raw: Mapping[MarketKind, Mapping[str, Any]] = field(default_factory=dict)
    """Further parameters of `fetch_trades` if the user's options select the stream `trade` instead of the default."""
    older: Older | None = None
    """If `method` is `newest`: how the trades before those are requested."""
    newest_first: bool | None = None
    """Whether a REST page lists the newest trade first. Decides where all trades of a page have one timestamp."""
    page: int | None = None
    """The largest page."""
    pages: Mapping[MarketKind, int] = field(default_factory=dict)
    """The largest page by kind of market, where it differs from `page`."""
    since_ns: str | None = None
    """If `method` is `by_time`: the parameter that takes the start of a range in nanoseconds, where ccxt cuts `since`
    to whole seconds. Without it, more trades than a page within a second cannot be requested."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """If `method` is `by_time`: further parameters of `fetch_trades`, such as the order that decides what is cut."""
    needs_until: bool | None = None
    """Whether a request by time needs both ends."""
    cut: Literal["oldest", "newest"] | None = None
    """Which trades a response contains if its range has more than fit."""
    resolution_ms: int | None = None
    """The resolution of a trade's timestamp by REST, ms."""
    reach_ms: int | None = None
    """How far back REST returns trades, ms."""
    amount: Mapping[MarketKind, AmountUnit] = field(default_factory=lambda: dict(IN_BASE))
    """The unit of a trade's amount, live and by REST, by kind of market."""
    side: Literal["taker", "maker"] = "taker"
    """Whose side ccxt's `fetch_trades` gives. ccxt's manual, "Trade structure", means the taker's; a few classes pass
    the maker's on."""
    sides: Mapping[MarketKind, Literal["taker", "maker"] | None] = field(default_factory=dict)
    """`side` by kind of market, where it differs. None: unknown, so that only trades that came live, too, show it."""
    live_side: Literal["taker", "maker"] = "taker"
    """The same of `watch_trades`. Trades that a dialect decodes have the taker's."""

    def page_of(self, kind: MarketKind) -> int | None:
        """The largest page of a kind of market; None if it is unknown."""
        return self.pages.get(kind, self.page)

    def side_of(self, kind: MarketKind) -> Literal["taker", "maker"] | None:
        """Whose side ccxt's `fetch_trades` gives of a kind of market; None if it is unknown."""
        return self.sides.get(kind, self.side)


SETTLE_MS = 120_000
"""How long after its end a candle may be revised, ms, if unknown: revisions after a minute have been reported."""


class CandleFacts(Struct, frozen=True, kw_only=True):
    """Candles by REST."""

    since: Literal["honoured", "ignored"] | None = None
    """`honoured`: a response begins with the first candle at or after `since`, so a later beginning proves that nothing
    was traded before. `ignored`: a response has the newest candles, whatever `since` is."""
    windowed: bool | None = None
    """Whether a response ends the time of one page after `since`, even if it has fewer rows than a page.

    A full page that begins later was cut at its beginning: it contains the end of that time, too."""
    newest_rows: int | None = None
    """How many of the newest candles REST returns at most, whatever the request is."""
    quiet: Literal["rows", "none"] | None = None
    """Whether an interval without a trade is a row of volume 0 (at the close before it), or absent."""
    settle_ms: int | None = None
    """How long after its end a candle may still be revised, ms."""
    opens_at: Mapping[str, int] = field(default_factory=dict)
    """By timeframe, if its grid differs from `model.timeframes`: the open time (ms epoch) of any candle."""
    volume: Mapping[MarketKind, AmountUnit] = field(default_factory=lambda: dict(IN_BASE))
    """The unit of the volume that ccxt's `fetch_ohlcv` returns, by kind of market."""
    live_volume: Mapping[MarketKind, AmountUnit] = field(default_factory=dict)
    """The unit of the volume that ccxt's `watch_ohlcv` returns: it reads other messages than `fetch_ohlcv`."""
    of_trades: Mapping[MarketKind, bool] = field(default_factory=dict)
    """Whether a settled candle is made of exactly the public trades of its interval, by kind of market: the first, the
    highest, the lowest and the last price, and the sum of the amounts. False: of others, too, or not of all of them."""
    absent: Mapping[MarketKind, tuple[str, ...]] = field(default_factory=dict)
    """Timeframes that ccxt lists for the exchange, but that its markets of a kind do not have."""

    def offered(self, timeframes: Iterable[str], kind: MarketKind | None) -> list[str]:
        """Those of ccxt's timeframes that markets of a kind have."""
        absent = () if kind is None else self.absent.get(kind, ())
        return [each for each in timeframes if each not in absent]

    @property
    def settled_after_ms(self) -> int:
        """How long after its end a candle counts as final, ms: `settle_ms`, or SETTLE_MS if that is unknown."""
        return SETTLE_MS if self.settle_ms is None else self.settle_ms


class BookFacts(Struct, frozen=True, kw_only=True):
    """Live order books."""

    deltas: bool = False
    """Whether the dialect decodes books, so that tickwire keeps them itself and publishes their changes."""
    snapshot: Literal["rest", "socket", "every message"] = "rest"
    """How the whole book comes: requested by REST; as a `BookSnapshot` after each subscription; or every message is a
    `BookSnapshot`."""
    sequence: Literal["ranges", "chain", "steps", "rising"] | None = "ranges"
    """How a lost change shows: each has a range of numbers, `first` to `last`, that follows the one before (`ranges`,
    as Binance); each names the number before it, `previous` (`chain`); `last` rises by exactly one (`steps`), or by any
    number (`rising`: only disorder shows). None: there are no numbers, only a checksum or the socket can show it."""
    depth: int | None = None
    """Levels of each side that the socket keeps current: levels beyond are dropped. None: the whole book."""
    checksum_levels: int | None = None
    """Levels of each side that the checksum covers, where the dialect has a `checksum`."""
    request_levels: tuple[int, ...] = (500, 1000)
    """Levels of a side that a REST snapshot may be requested with, ascending. By default at most what binance's usd-m
    market gives (spot: 5,000). With fewer, a moving market leaves the snapshot behind every few seconds."""


class TickerFacts(Struct, frozen=True, kw_only=True):
    """Tickers."""

    absent: tuple[str, ...] = ()
    """Fields of `feeds.Ticker` that the venue does not send, though ccxt fills them in by other prices."""


class Combining(Struct, frozen=True, kw_only=True):
    """How requests to subscribe, or to unsubscribe, are combined into one message."""

    field: str
    """The field that lists what is subscribed: the lists of all requests are joined in it."""
    items: int
    """Most items of the list."""
    size: int
    """Most bytes of the message."""
    answered: Literal["once", "by item"]
    """Whether the venue answers a message once, by its id, or each item of the list by itself, with its name."""


class SocketFacts(Struct, frozen=True, kw_only=True):
    """WebSocket connections."""

    acknowledges: bool | None = None
    """Whether the venue acknowledges each subscription."""
    subscriptions: int | None = None
    """Most subscriptions of one socket: further ones go to another socket. None where ccxt spreads them itself."""
    messages_per_s: float | None = None
    """Most messages a second that the venue takes on one socket; ccxt's own throttle where it is unknown."""
    combining: Combining | None = None
    """How requests to subscribe are combined into one message; None where each is sent by itself."""
    lifetime_ms: int | None = None
    """The age at which the venue closes a socket, ms. Its feeds are subscribed again, as after any cut."""
    opening: tuple[Mapping[str, Any], ...] = ()
    """Messages that are sent on each new socket: what keeps quiet subscriptions open, for example."""
    unsubscribes: bool | None = None
    """False where ccxt's unsubscription does not come to an end: a subscription then lasts as long as its socket."""
    url_option: str | None = None
    """The ccxt option in which its class keeps the URLs of its sockets for ever, where they contain a token that
    expires: a URL is dropped from there with its socket, so that the next socket has a new token."""


class Condition(Struct, frozen=True, kw_only=True):
    """A requirement of live feeds of some kinds: a key or a Python package. Without either, they are not available.

    Source: calls of ccxt's `watch_*` without a network, on every class of ccxt.pro, for a spot market and a contract.
    """

    kinds: tuple[str, ...] = ("trade", "book", "ticker", "candle")
    markets: tuple[Literal["spot", "contract"], ...] = ("spot", "contract")
    key: bool = False
    """Whether ccxt requires credentials."""
    package: str = ""
    """The module that ccxt imports."""
    install: str = ""
    """The requirement that pip installs it by."""
    instead: str = "ask for a market of the other kind"
    """The remedy if the feeds are not available."""


class Profile(Struct, frozen=True, kw_only=True):
    """The facts about the venues that share a ccxt class or an API."""

    exchanges: tuple[str, ...]
    """ccxt ids."""
    trades: TradeFacts = TradeFacts()
    candles: CandleFacts = CandleFacts()
    book: BookFacts = BookFacts()
    books: Mapping[MarketKind, BookFacts] = field(default_factory=dict)
    """Order books of the kinds of market that have another protocol than `book`."""
    tickers: TickerFacts = TickerFacts()
    sockets: SocketFacts = SocketFacts()
    conditions: tuple[Condition, ...] = ()
    """What live feeds need besides a symbol."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """ccxt options that the streamer sets unless the user's table sets them."""

    def book_of(self, kind: MarketKind | None) -> BookFacts:
        """Live order books of a kind of market."""
        return self.book if kind is None else self.books.get(kind, self.book)
