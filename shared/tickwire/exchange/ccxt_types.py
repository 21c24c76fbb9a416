"""The part of ccxt that tickwire uses, as Protocols: ccxt itself has no usable types."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, TypedDict

from tickwire.exchange.clock import ExchangeClock
from tickwire.exchange.gate import Gate
from tickwire.process.loop_yield import StepPerTurn

Market = Mapping[str, Any]
"""ccxt's manual, "Market structure"."""
Params = Mapping[str, Any]
"""Further parameters of a request: ccxt's manual, "Overriding Unified API Params"."""
Levels = Sequence[Sequence[Any]]
"""Levels of one side of a book, best first: price and amount, and with some venues more. ccxt does not check them."""


class CcxtOrderBook(TypedDict):
    """ccxt's manual, "Order Book Structure": the fields that are read. Venues differ in which ones are None."""

    bids: Levels
    asks: Levels
    timestamp: int | None
    nonce: int | None


class CcxtClient(Protocol):
    """A WebSocket connection: `ccxt.async_support.base.ws.client.Client`. Times are ms of the monotonic clock.

    The methods that `ccxt_patches` replaces on an instance are typed as attributes.
    """

    url: str
    error: Any
    """Why it was given up; None while it is in use."""
    isConnected: bool
    connection: Any
    connectionEstablished: int | None
    last_message_at: int | None
    lastPong: int | None
    asyncio_loop: asyncio.AbstractEventLoop
    subscriptions: MutableMapping[Any, Any]
    """The subscriptions made, by ccxt's name."""
    futures: Mapping[Any, Any]
    """What is awaited, by ccxt's name."""
    ping: Callable[[CcxtClient], Any] | None
    gunzip: bool
    inflate: bool
    throttle: Callable[..., Awaitable[Any]]
    open: Callable[..., Awaitable[None]]
    send: Callable[[Any], Awaitable[Any]]
    future: Callable[[Any], Any]
    resolve: Callable[[Any, Any], Any]
    reject: Callable[..., Any]
    reset: Callable[[Any], None]
    receive_loop: Callable[[], None]
    aiohttp_close: Callable[[], Awaitable[None]]
    handle_message: Callable[[Any], None]
    handle_text_or_binary_message: Callable[[str | bytes], None]

    def closed(self) -> bool:
        """Whether the connection is closed."""

    async def close(self) -> None:
        """Close the connection."""

    def on_error(self, error: Exception) -> None:
        """Give the connection up: every await on it raises the error."""


class TradePages(Protocol):
    """The part of an exchange that past trades are requested from."""

    id: str

    @property
    def has(self) -> Mapping[str, Any]:
        """ccxt's manual, "Exchange capabilities"."""

    @property
    def options(self) -> Mapping[str, Any]:
        """ccxt's options, as the user's table and the venue's profile set them."""

    @property
    def features(self) -> Mapping[str, Any] | None:
        """ccxt's manual, "Features"."""

    @property
    def markets(self) -> Mapping[str, Market] | None:
        """Markets by symbol; None until they are loaded."""

    def milliseconds(self) -> int:
        """The exchange's time as far as it is known, else the wall clock, ms."""

    async def fetch_trades(
        self, symbol: str, since: int | None = None, limit: int | None = None, params: Any = ...
    ) -> Sequence[Any]:
        """A page of trades."""


class CcxtExchange(TradePages, Protocol):
    """An exchange of `ccxt.async_support` or `ccxt.pro`. Methods raise ccxt's errors."""

    hostname: str
    has: dict[str, Any]
    options: dict[str, Any]
    features: Mapping[str, Any] | None
    markets: dict[str, Market] | None
    timeframes: Mapping[str, Any] | None
    requiredCredentials: Mapping[str, bool]
    precisionMode: int
    tokenBucket: dict[str, Any]
    timeout_on_exit: float
    clients: dict[str, CcxtClient]
    """Open connections by URL."""
    trades: dict[str, Any]
    tickers: dict[str, Any]
    bidsasks: dict[str, Any]
    orderbooks: dict[str, Any]
    ohlcvs: dict[str, Any]

    def client(self, url: str) -> CcxtClient:
        """The connection to a URL; a new one if there is none."""

    def market(self, symbol: str) -> Market:
        """A loaded market. Raises BadSymbol."""

    def check_required_credentials(self, error: bool = True) -> bool:
        """Whether all required credentials are set."""

    def set_markets(self, markets: Sequence[Market]) -> object:
        """Set the markets without asking the exchange."""

    async def throttle(self, cost: float | None = None) -> None:
        """Wait until a request of this cost may be sent."""

    async def load_markets(self, reload: bool = False) -> Mapping[str, Market]:
        """Load the markets."""

    async def fetch_time(self) -> Any:
        """The exchange's time, ms."""

    async def fetch_ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int | None, params: Params = ...
    ) -> Sequence[Any]:
        """A page of candles."""

    async def fetch_order_book(self, symbol: str, limit: int | None = None) -> CcxtOrderBook:
        """A snapshot of a book."""

    async def watch_trades(self, symbol: str, *, params: Params) -> object:
        """Subscribe to trades, and wait for the next."""

    async def un_watch_trades(self, symbol: str, params: Params) -> object:
        """Unsubscribe from trades."""

    async def watch_order_book(self, symbol: str, *, params: Params) -> object:
        """Subscribe to a book, and wait for its next change."""

    async def un_watch_order_book(self, symbol: str, params: Params) -> object:
        """Unsubscribe from a book."""

    async def watch_ticker(self, symbol: str, params: Params) -> object:
        """Subscribe to a ticker, and wait for its next change."""

    async def un_watch_ticker(self, symbol: str, params: Params) -> object:
        """Unsubscribe from a ticker."""

    async def watch_bids_asks(self, symbols: Sequence[str], *, params: Params) -> object:
        """Subscribe to best prices, and wait for their next change."""

    async def un_watch_bids_asks(self, symbols: Sequence[str], params: Params) -> object:
        """Unsubscribe from best prices."""

    async def watch_ohlcv(self, symbol: str, timeframe: str | None, *, params: Params) -> object:
        """Subscribe to candles, and wait for their next change."""

    async def un_watch_ohlcv(self, symbol: str, timeframe: str | None, params: Params) -> object:
        """Unsubscribe from candles."""


class OpenedExchange(CcxtExchange, Protocol):
    """An exchange of `opening.open_exchange`: with `ccxt_patches.rest_traps`."""

    gate: Gate
    clock: ExchangeClock
    steps: StepPerTurn
    """One answer is parsed in each turn of the loop. May be replaced by one that is shared with other work."""

    async def fetch_whole_page(
        self, symbol: str, timeframe: str, since: int | None, limit: int, until: int | None = None
    ) -> Any:
        """See `RestTraps.fetch_whole_page`."""
