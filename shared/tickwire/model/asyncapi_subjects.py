"""Every subject of the public interface, with its message, for the AsyncAPI document (`tickwire.model.asyncapi`)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tickwire.model import feeds
from tickwire.model.feeds import (
    FeedList,
    FeedReport,
    FeedsRequest,
    MarketReport,
    MarketRequest,
    StartRequest,
    StopRequest,
)
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.model.messages import (
    ArchiveCheckpoint,
    ArchivedBars,
    ArchivedBarsRequest,
    ArchivedBook,
    ArchivedBookRequest,
    ArchivedDays,
    ArchivedRowsRequest,
    ArchivedTrades,
    ArchivedTradesRequest,
    CacheList,
    CancelRequest,
    CandleColumns,
    CandlePage,
    Candles,
    CandlesRequest,
    Certificate,
    Comparison,
    Coverage,
    DaysRequest,
    FetchAccepted,
    FetchRequest,
    Instance,
    Job,
    KeyRequest,
    LeaseHolder,
    ListRequest,
    LogLevel,
    MarketList,
    MarketsRequest,
    RejectedPage,
    Repair,
    ReplayStatus,
    SinkPosition,
    SinkReport,
    SinkRequest,
    SinkTotals,
    Stored,
    Verification,
)
from tickwire.model.messages.archive_writing import CloseRequest, PageWritten, TradePage

Message = type[msgspec.Struct]

PARAMETERS = {
    "exchange": "The ccxt id of an exchange, such as binance.",
    "token": "A symbol: / becomes -, what is not a letter or digit becomes =XX of its UTF-8 bytes (BTC-USDT=3AUSDT).",
    "timeframe": "Such as 1m or 1h.",
    "kind": "trade, book, ticker or candle.",
    "id": "The id of a job.",
    "name": "The name of a replay: 1 to 64 of A-Z, a-z, 0-9, _ and -.",
    "instance": "The name of a service process.",
    "service": "fetcher, streamer, cache, sink or archive.",
    "lease": "The name of work that one process does alone.",
    "subscriber": "The name of a subscriber of a feed, encoded as a token.",
    "partition": "A partition of the cache's keys.",
    "stream": "TRADES-<p> or BOOK_DELTAS-<p> of a partition; BOOKS, TICKERS, CANDLES or STATUS. In the metadata of "
    "TRADES-0, `tickwire-partitions` is the number of partitions. That of a market is the 32-bit FNV-1a hash of its "
    "exchange and token, without the dot between them, modulo that number.",
    "p": "The partition of the market; see `stream`.",
}

APPENDED_HEADERS = {
    "Nats-Expected-Last-Subject-Sequence": "The last sequence of the subject by its one writer's knowledge; else "
    "the stream refuses the message.",
    "Tickwire-Publish": "The writer's id of the message, to recognise one whose acknowledgement was lost.",
    "Tickwire-Last-Sequence": "The sequence of the previous message on the subject, 0 for the first: also where "
    "retention has removed that message.",
    "Nats-TTL": "Only if it expires: how long the stream keeps it.",
}
PIPELINED_HEADERS = {
    "Nats-Expected-Last-Sequence": "The last sequence of the stream by its one writer's knowledge; else the stream "
    "refuses the message.",
    "Tickwire-Publish": "The writer's id, to recognise its messages whose acknowledgement was lost.",
    "Tickwire-Last-Sequence": "The sequence of the previous message on the subject, 0 for the first.",
}
REPUBLISHED_HEADERS = {
    "Nats-Stream": "The stream that accepted it.",
    "Nats-Subject": "The tape subject that it was published on.",
    "Nats-Sequence": "Its sequence in that stream.",
    "Nats-Last-Sequence": "The sequence of the previous message on the same subject, 0 for the first: if that is not "
    "the last one you received, you missed messages, and the stream has them (by direct get, `next_by_subj`).",
    "Nats-Time-Stamp": "When the stream accepted it, RFC 3339.",
}
DEDUPLICATED_HEADERS = {"Nats-Msg-Id": "Repeated messages with the same id are dropped for two minutes."}
JOB_HEADERS = DEDUPLICATED_HEADERS | {
    "Nats-Expected-Last-Subject-Sequence": "0 for a job that was just queued: accepted only if it has not begun.",
}
ENTRY_HEADERS = {
    "Nats-Expected-Last-Subject-Sequence": "The revision that its writer read; absent if the last write wins.",
    "Nats-TTL": "When it expires by itself: seconds, such as 30s.",
    "KV-Operation": "DEL or PURGE of an entry that was deleted; it has no payload.",
    "Nats-Rollup": "sub, with a PURGE: earlier revisions are removed.",
    "Nats-Marker-Reason": "MaxAge for an entry that expired, in a message of the broker without payload.",
}
CHUNKED_HEADERS = {
    "Tickwire-Working": "1 asks for an empty message with this header every 2 s while the reply is being made.",
}
FORWARDED_HEADERS = {
    "Tickwire-Reply-To": "The inbox of the client, which gets the reply.",
    "Tickwire-Expires": "When the client stops waiting, ms.",
    "Tickwire-Confirms": "1 if the forwarding instance confirms to the owner that it still waits.",
    **CHUNKED_HEADERS,
}
DIRECT_HEADERS = {
    "Nats-Last-Sequence": "In a batch: the sequence of the previous message of the batch; the previous message on the "
    "subject is the one that the writer expected.",
    "Nats-Num-Pending": "In a batch: how many messages follow this one.",
    "Status": "Of the last message, without payload: 204 at the end of a batch, 404 if there is no message.",
    "Description": "The meaning of the status.",
}
ERROR_HEADERS = {
    "Nats-Service-Error-Code": "The HTTP status of the error.",
    "Nats-Service-Error": "The error in one line.",
}
REPLAYED_HEADERS = {
    "Tickwire-Number": "The number of the message in the replay, from 1: you missed those that you have not received.",
    "Tickwire-Sequence": "Of trades, its sequence in the stream of the tape; 0 for other kinds.",
}
HEADERS = {
    "Appended": APPENDED_HEADERS,
    "Tape": REPUBLISHED_HEADERS | APPENDED_HEADERS,
    "Pipelined": PIPELINED_HEADERS,
    "Partition": REPUBLISHED_HEADERS | PIPELINED_HEADERS,
    "Append": DEDUPLICATED_HEADERS,
    "Republished": REPUBLISHED_HEADERS | DEDUPLICATED_HEADERS,
    "Update": JOB_HEADERS,
    "Entry": ENTRY_HEADERS,
    "Replayed": REPLAYED_HEADERS,
    "Chunked": CHUNKED_HEADERS,
    "Forwarded": FORWARDED_HEADERS,
    "Stored": REPUBLISHED_HEADERS | APPENDED_HEADERS | PIPELINED_HEADERS | DIRECT_HEADERS,
    "Error": ERROR_HEADERS,
}
"""The headers of a group of messages, by the suffix of their names in the document."""


@dataclass(frozen=True)
class Published:
    """A subject on which tickwire publishes; `private` subjects are for its own services."""

    address: str
    message: Message
    text: str
    headers: str = ""
    private: bool = False


@dataclass(frozen=True)
class Asked:
    """A subject on which a service answers requests. Chunked replies have `chunk` and `more`."""

    address: str
    request: Message
    replies: tuple[Message, ...]
    text: str
    headers: str = ""
    private: bool = False


_KEY = "{exchange}.{token}.{timeframe}"
_FEED = "{exchange}.{token}"
TAPES: tuple[tuple[str, str, Message, str], ...] = (
    ("trade", _FEED, feeds.Trades, "Every trade once, in the exchange's order, several in a message."),
    ("book", _FEED, feeds.Book, "The order book; the newest is the last message of stream BOOKS."),
    ("book_delta", _FEED, feeds.BookDeltas, "Every change of the order book, if an interest has `deltas`."),
    ("ticker", _FEED, feeds.Ticker, "The ticker; the newest is the last message of stream TICKERS."),
    ("candle", _KEY, feeds.Candle, "The open candle as it changes, and each closed one; the newest is in CANDLES."),
    ("status", "{kind}.{exchange}.{token}", feeds.Status, "Events of a feed; the last one is in STATUS."),
)

_PAST = "What was on the subject after `replay.{name}.`, published by `tickwire replay` (docs/archive.md)."
PUBLISHED: tuple[Published, ...] = (
    *(
        Published(f"md.{kind}.{path}", message, text, "Partition" if kind in PARTITIONED else "Tape")
        for kind, path, message, text in TAPES
    ),
    Published(f"md.stored.{_KEY}", Stored, "A page of candles that the cache made durable."),
    Published(f"md.rejected.{_KEY}", RejectedPage, "A page of candles that the cache rejected for good."),
    Published(f"md.archived.{{kind}}.{_FEED}", Certificate, "A day of a feed that the archive has certified."),
    Published("md.job.{id}", Job, "Progress and result of a fetch job; kept for an hour in JOB_RESULTS.", "Update"),
    *(
        Published(f"replay.{{name}}.md.{kind}.{path}", message, _PAST, "Replayed")
        for kind, path, message, _ in TAPES
        if kind in feeds.KINDS
    ),
    Published("replay.{name}.status", ReplayStatus, "A replay: at its beginning, each second, and at its end."),
    *(
        Published(
            f"tape.{kind}.{'{p}.' if kind in PARTITIONED else ''}{path}",
            message,
            f"Once accepted, public as md.{kind}.",
            "Pipelined" if kind in PARTITIONED else "Appended",
            private=True,
        )
        for kind, path, message, _ in TAPES
    ),
    Published("tape.handover.{stream}", feeds.Handover, "A new owner of a partition.", private=True),
    Published(f"tape.ohlcv.{_KEY}", CandlePage, "Closed candles on their way to the cache.", "Append", private=True),
    Published(
        f"ohlcv.held.{_KEY}",
        CandlePage,
        "Each page that stream OHLCV has accepted, for the archive; republished by the broker.",
        "Republished",
        private=True,
    ),
    Published("jobs.fetch.{exchange}", FetchRequest, "Jobs that wait for a fetcher.", "Append", private=True),
    Published("jobs.cancel.{id}", CancelRequest, "A job that was cancelled.", "Append", private=True),
    Published(
        "$KV.LEASES.{service}.lease.{lease}",
        LeaseHolder,
        "The holder of a lease, and its session.",
        "Entry",
        private=True,
    ),
    Published(
        "$KV.LEASES.{service}.instance.{instance}",
        Instance,
        "A live instance's session; expires.",
        "Entry",
        private=True,
    ),
    Published(
        f"$KV.INTEREST.{{kind}}.{_FEED}.{{subscriber}}", StartRequest, "An interest in a feed.", "Entry", private=True
    ),
    Published(f"$KV.SINK.trade.{_FEED}", SinkTotals, "How far the sink has written a feed.", "Entry", private=True),
    Published("$KV.ARCHIVE.{stream}", ArchiveCheckpoint, "How far a stream is archived.", "Entry", private=True),
    Published(
        "$KV.SINK.stream.SINK", SinkPosition, "How far the sink has written books and candles.", "Entry", private=True
    ),
)

ASKED: tuple[Asked, ...] = (
    Asked("fetcher.fetch", FetchRequest, (FetchAccepted,), "Fetch candles into the cache; subscribe to md.job.<id>."),
    Asked("fetcher.cancel", CancelRequest, (Job,), "End a fetch job; stored candles are kept."),
    Asked("fetcher.markets", MarketsRequest, (MarketList,), "Markets that an exchange lists, found by words."),
    Asked(
        "cache.get",
        CandlesRequest,
        (Candles, CandleColumns),
        "Candles of a key, in chunks of at most 512 KiB.",
        "Chunked",
    ),
    Asked("cache.coverage", KeyRequest, (Coverage,), "The coverage of a key."),
    Asked("cache.list", ListRequest, (CacheList,), "Every key, in chunks.", "Chunked"),
    Asked(
        "cache.compare",
        KeyRequest,
        (Comparison,),
        "Compare rows of a key with candles rebuilt from archived trades, in chunks.",
        "Chunked",
    ),
    Asked("cache.verify", KeyRequest, (Verification,), "Check a key's files."),
    Asked("cache.repair", KeyRequest, (Repair,), "Move damaged files aside, and keep what is sound."),
    Asked("streamer.start", StartRequest, (FeedReport,), "Register an interest in a feed, or renew it."),
    Asked("streamer.stop", StopRequest, (FeedReport,), "Withdraw an interest."),
    Asked("streamer.list", FeedsRequest, (FeedList,), "Every feed with an interest, in chunks.", "Chunked"),
    Asked("streamer.market", MarketRequest, (MarketReport,), "The kind of a market, and the units of its numbers."),
    Asked("sink.report", SinkRequest, (SinkReport,), "Counts of a sink; each instance answers."),
    Asked(
        "archive.trades", ArchivedTradesRequest, (ArchivedTrades,), "Trades of a feed as Arrow, in pages.", "Chunked"
    ),
    Asked(
        "archive.rows",
        ArchivedRowsRequest,
        (ArchivedTrades,),
        "Rows of a feed of any archived kind as Arrow, a page at a time.",
        "Chunked",
    ),
    Asked(
        "archive.bars",
        ArchivedBarsRequest,
        (ArchivedBars,),
        "Candles rebuilt from the trades of days that are certified as complete, in chunks.",
        "Chunked",
    ),
    Asked(
        "archive.book", ArchivedBookRequest, (ArchivedBook,), "The book of a feed at a moment, in chunks.", "Chunked"
    ),
    Asked(
        "archive.days", DaysRequest, (ArchivedDays,), "Days of a feed with their certificates, in chunks.", "Chunked"
    ),
    Asked("archive.write.{partition}", TradePage, (PageWritten,), "Add trades that are not of the tape.", private=True),
    Asked("archive.close.{partition}", CloseRequest, (Certificate,), "Close a day that has ended.", private=True),
    Asked("control.log", LogLevel, (LogLevel,), "Set the level of a logger in every process; each answers."),
    Asked(
        "streamer.reports.{instance}", FeedsRequest, (FeedList,), "The feeds of one streamer.", "Chunked", private=True
    ),
    Asked(
        "cache.partition.{partition}.get",
        CandlesRequest,
        (Candles, CandleColumns),
        "A forwarded request.",
        "Forwarded",
        private=True,
    ),
    *(
        Asked(
            f"cache.partition.{{partition}}.{name}",
            KeyRequest,
            (reply,),
            "A forwarded request.",
            "Forwarded",
            private=True,
        )
        for name, reply in (("coverage", Coverage), ("verify", Verification), ("repair", Repair))
    ),
    Asked(
        "cache.partition.{partition}.list", ListRequest, (CacheList,), "A forwarded request.", "Chunked", private=True
    ),
)

DIRECT = "$JS.API.DIRECT.GET.{stream}"
DIRECT_GET = {
    "name": "DirectGet",
    "summary": "Which messages to read: by sequence, by time, or the newest; https://docs.nats.io (Direct Get).",
    "contentType": "application/json",
    "payload": {
        "type": "object",
        "properties": {
            "seq": {"type": "integer", "description": "The sequence, or the first one to look at."},
            "next_by_subj": {"type": "string", "description": "A tape subject: its next message from there on."},
            "last_by_subj": {"type": "string", "description": "A tape subject: its newest message."},
            "start_time": {"type": "string", "description": "RFC 3339, in place of `seq`."},
            "batch": {"type": "integer", "description": "Most messages in the batch."},
            "max_bytes": {"type": "integer", "description": "Most bytes in the batch."},
        },
    },
}
