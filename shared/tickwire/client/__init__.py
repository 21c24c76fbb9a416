"""The Python client: market data in DataFrames and iterators.

    from tickwire.client import connect

    async with connect() as client:
        frame = await client.candles("binance", "BTC/USDT", "1h", since="30d")
        async for trade in client.trades("binance", "BTC/USDT"):
            print(trade.price, trade.amount)

`connect_sync` does the same for notebooks and scripts without an event loop. Expected failures raise a TickwireError.
"""

from tickwire.client.archived_frames import IncompleteTrades
from tickwire.client.connecting import Connecting, connect
from tickwire.client.connection import Client
from tickwire.client.history import CandlesFailed, IncompleteCandles
from tickwire.client.items import Batch, Gap, Trade, frame
from tickwire.client.live import Subscription
from tickwire.client.replay import Replayed
from tickwire.client.stream import Forked, Released, Stream
from tickwire.client.sync import SyncClient, connect_sync
from tickwire.errors import (
    BadRequest,
    BookUnknown,
    BrokerUnavailable,
    ConfigError,
    ExchangeFailed,
    NoSuchService,
    NotArchived,
    NotCached,
    RequestTimeout,
    StorageError,
    TickwireError,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedKind,
    UnsupportedTimeframe,
)
from tickwire.model.feeds import Book, Candle, Ticker, Trades
from tickwire.model.messages import Job
from tickwire.model.subjects import Key

__all__ = [
    "BadRequest",
    "Batch",
    "Book",
    "BookUnknown",
    "BrokerUnavailable",
    "Candle",
    "CandlesFailed",
    "Client",
    "ConfigError",
    "Connecting",
    "ExchangeFailed",
    "Forked",
    "Gap",
    "IncompleteCandles",
    "IncompleteTrades",
    "Job",
    "Key",
    "NoSuchService",
    "NotArchived",
    "NotCached",
    "Released",
    "Replayed",
    "RequestTimeout",
    "StorageError",
    "Stream",
    "Subscription",
    "SyncClient",
    "Ticker",
    "TickwireError",
    "Trade",
    "Trades",
    "UnknownExchange",
    "UnknownSymbol",
    "UnsupportedKind",
    "UnsupportedTimeframe",
    "connect",
    "connect_sync",
    "frame",
]
