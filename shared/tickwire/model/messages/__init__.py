"""Every message on the bus, as a frozen Struct. Payloads are JSON; `docs/schemas/` has a schema for each.

Times are integer milliseconds UTC. `since`/`until` are half-open. A row is
`[open time, open, high, low, close, volume]`. Unknown fields are ignored, so that fields can be added.
"""

from tickwire.model.messages.archive import Certificate
from tickwire.model.messages.archived_book import ArchivedBook, ArchivedBookRequest
from tickwire.model.messages.archived_trades import (
    ArchivedBars,
    ArchivedBarsRequest,
    ArchivedRowsRequest,
    ArchivedTrades,
    ArchivedTradesRequest,
)
from tickwire.model.messages.archiving import ArchiveCheckpoint, ArchivedDays, DaysRequest
from tickwire.model.messages.cache import (
    CacheList,
    CandleColumns,
    Candles,
    CandlesRequest,
    Comparison,
    Coverage,
    KeyRequest,
    ListRequest,
    Problem,
    Provenance,
    ProvenanceRows,
    RebuiltDifference,
    Repair,
    Verification,
)
from tickwire.model.messages.codec import HEADER_DIGITS, decode, decoder, encode, encode_request, header_int
from tickwire.model.messages.control import LogLevel
from tickwire.model.messages.errors import ErrorReply, error_reply
from tickwire.model.messages.fetch import (
    CancelRequest,
    Difference,
    DifferentField,
    FetchAccepted,
    FetchRequest,
    Job,
    Refused,
)
from tickwire.model.messages.leases import Instance, LeaseHolder
from tickwire.model.messages.markets import ListedMarket, MarketList, MarketsRequest
from tickwire.model.messages.pages import CandlePage, Origin, RejectedPage, Row, Stored, VolumeUnit
from tickwire.model.messages.replay import ReplayStatus
from tickwire.model.messages.sink import SinkPosition, SinkReport, SinkRequest, SinkTotals

__all__ = [
    "HEADER_DIGITS",
    "ArchiveCheckpoint",
    "ArchivedBars",
    "ArchivedBarsRequest",
    "ArchivedBook",
    "ArchivedBookRequest",
    "ArchivedDays",
    "ArchivedRowsRequest",
    "ArchivedTrades",
    "ArchivedTradesRequest",
    "CacheList",
    "CancelRequest",
    "CandleColumns",
    "CandlePage",
    "Candles",
    "CandlesRequest",
    "Certificate",
    "Comparison",
    "Coverage",
    "DaysRequest",
    "Difference",
    "DifferentField",
    "ErrorReply",
    "FetchAccepted",
    "FetchRequest",
    "Instance",
    "Job",
    "KeyRequest",
    "LeaseHolder",
    "ListRequest",
    "ListedMarket",
    "LogLevel",
    "MarketList",
    "MarketsRequest",
    "Origin",
    "Problem",
    "Provenance",
    "ProvenanceRows",
    "RebuiltDifference",
    "Refused",
    "RejectedPage",
    "Repair",
    "ReplayStatus",
    "Row",
    "SinkPosition",
    "SinkReport",
    "SinkRequest",
    "SinkTotals",
    "Stored",
    "Verification",
    "VolumeUnit",
    "decode",
    "decoder",
    "encode",
    "encode_request",
    "error_reply",
    "header_int",
]
