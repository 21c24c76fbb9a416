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
from tickwire.model.messages import (
    CacheList,
    CancelRequest,
    CandleColumns,
    CandlePage,
    Candles,
    CandlesRequest,
    Coverage,
    FetchAccepted,
    FetchRequest,
    Instance,
    Job,
    KeyRequest,
    LeaseHolder,
    ListRequest,
    LogLevel,
    RejectedPage,
    Repair,
    SinkPosition,
    SinkReport,
    SinkRequest,
    SinkTotals,
    Stored,
    Verification,
)

Message = type[msgspec.Struct]

PARAMETERS = {
    "exchange": "The ccxt id of an exchange, such as binance.",
    "token": "A symbol: / becomes -, what is not a letter or digit becomes =XX of its UTF-8 bytes (BTC-USDT=3AUSDT).",
    "timeframe": "Such as 1m or 1h.",
    "kind": "trade, book, ticker or candle.",
    "id": "The id of a job.",
    "instance": "The name of a service process.",
    "service": "fetcher, streamer, cache or sink.",
    "lease": "What one process does alone.",
    "subscriber": "Whoever is interested in a feed, encoded as a token.",
    "partition": "A part of the cache's keys.",
    "stream": "TRADES, BOOKS, BOOK_DELTAS, TICKERS, CANDLES or STATUS.",
}

APPENDED_HEADERS = {
    "Nats-Expected-Last-Subject-Sequence": "What its one writer expected to come after; the stream refuses others.",
    "Tickwire-Publish": "Its writer's name for it, so that one whose confirmation was lost is known again.",
    "Tickwire-Last-Sequence": "Only where retention emptied the subject: the place of the message that its writer put "
    "there before, which then counts instead of Nats-Last-Sequence.",
    "Nats-TTL": "Only where it is to go by itself: how long the stream keeps it.",
}
REPUBLISHED_HEADERS = {
    "Nats-Stream": "The stream that accepted it.",
    "Nats-Subject": "The tape subject that it was published on.",
    "Nats-Sequence": "Its place in that stream.",
    "Nats-Last-Sequence": "The place of the message before it on the same subject, 0 for the first: if that is not the "
    "last one you saw, you missed something, and the stream has it (by direct get, `next_by_subj`).",
    "Nats-Time-Stamp": "When the stream accepted it, RFC 3339.",
}
DEDUPLICATED_HEADERS = {"Nats-Msg-Id": "Repeated messages with the same id are dropped for two minutes."}
JOB_HEADERS = DEDUPLICATED_HEADERS | {
    "Nats-Expected-Last-Subject-Sequence": "0 of a job that was just queued: kept only where it has not begun.",
}
ENTRY_HEADERS = {
    "Nats-Expected-Last-Subject-Sequence": "The revision that its writer read; absent where the last word counts.",
    "Nats-TTL": "When it expires by itself: seconds, such as 30s.",
    "KV-Operation": "DEL or PURGE of an entry that was deleted; it has no payload.",
    "Nats-Rollup": "sub, with a PURGE: earlier revisions are removed.",
    "Nats-Marker-Reason": "MaxAge, of an entry that expired, which the broker says in a message without payload.",
}
HANDED_HEADERS = {
    "Tickwire-Reply-To": "The inbox of who asked first, where the reply goes.",
    "Tickwire-Expires": "When nobody waits for it any more, ms.",
    "Tickwire-Confirms": "1 where whoever hands it on says, when asked, whether somebody still waits for it.",
}
DIRECT_HEADERS = {
    "Nats-Last-Sequence": "Of a batch: the place of the message before this one in it; what came before it on the "
    "subject is what its writer expected.",
    "Nats-Num-Pending": "Of a batch: how many more there are after this one.",
    "Status": "Of the last message, without payload: 204 at the end of a batch, 404 where there is nothing.",
    "Description": "What the status means.",
}
ERROR_HEADERS = {
    "Nats-Service-Error-Code": "HTTP's number for the kind of error.",
    "Nats-Service-Error": "What is wrong, in one line.",
}
HEADERS = {
    "Appended": APPENDED_HEADERS,
    "Tape": REPUBLISHED_HEADERS | APPENDED_HEADERS,
    "Append": DEDUPLICATED_HEADERS,
    "Said": JOB_HEADERS,
    "Entry": ENTRY_HEADERS,
    "Handed": HANDED_HEADERS,
    "Stored": REPUBLISHED_HEADERS | APPENDED_HEADERS | DIRECT_HEADERS,
    "Error": ERROR_HEADERS,
}
"""What the messages of a sort may carry, by the suffix of their names in the document."""


@dataclass(frozen=True)
class Published:
    """A subject on which tickwire publishes; `private` ones are for its own services."""

    address: str
    message: Message
    text: str
    headers: str = ""
    private: bool = False


@dataclass(frozen=True)
class Asked:
    """A subject on which a service answers requests. Of chunked replies each has `chunk` and `more`."""

    address: str
    request: Message
    replies: tuple[Message, ...]
    text: str
    headers: str = ""
    private: bool = False


_KEY = "{exchange}.{token}.{timeframe}"
_FEED = "{exchange}.{token}"
TAPES: tuple[tuple[str, str, Message, str], ...] = (
    ("trade", _FEED, feeds.Trades, "Every trade once, in the exchange's order, some at a time."),
    ("book", _FEED, feeds.Book, "The order book; the newest is the last message of stream BOOKS."),
    ("book_delta", _FEED, feeds.BookDeltas, "Every change of the order book, for those who asked for `deltas`."),
    ("ticker", _FEED, feeds.Ticker, "The ticker; the newest is the last message of stream TICKERS."),
    ("candle", _KEY, feeds.Candle, "The open candle as it changes, and each closed one; the newest is in CANDLES."),
    ("status", "{kind}.{exchange}.{token}", feeds.Status, "What happens to a feed; the last one is in STATUS."),
)

PUBLISHED: tuple[Published, ...] = (
    *(Published(f"md.{kind}.{path}", message, text, "Tape") for kind, path, message, text in TAPES),
    Published(f"md.stored.{_KEY}", Stored, "What the cache made durable."),
    Published(f"md.rejected.{_KEY}", RejectedPage, "A page of candles that the cache passed over for good."),
    Published("md.job.{id}", Job, "Progress and result of a fetch job; kept for an hour in JOB_RESULTS.", "Said"),
    *(
        Published(f"tape.{kind}.{path}", message, f"Accepted, it is public as md.{kind}.", "Appended", private=True)
        for kind, path, message, _ in TAPES
    ),
    Published(f"tape.ohlcv.{_KEY}", CandlePage, "Closed candles on their way to the cache.", "Append", private=True),
    Published("jobs.fetch.{exchange}", FetchRequest, "Jobs that wait for a fetcher.", "Append", private=True),
    Published("jobs.cancel.{id}", CancelRequest, "A job that is not wanted any more.", "Append", private=True),
    Published(
        "$KV.LEASES.{service}.lease.{lease}", LeaseHolder, "Who does alone what; expires.", "Entry", private=True
    ),
    Published("$KV.LEASES.{service}.instance.{instance}", Instance, "Who is there; expires.", "Entry", private=True),
    Published(
        f"$KV.INTEREST.{{kind}}.{_FEED}.{{subscriber}}", StartRequest, "Who wants a feed.", "Entry", private=True
    ),
    Published(f"$KV.SINK.trade.{_FEED}", SinkTotals, "How far a sink wrote a feed.", "Entry", private=True),
    Published("$KV.SINK.stream.SINK", SinkPosition, "How far a sink wrote books and candles.", "Entry", private=True),
)

ASKED: tuple[Asked, ...] = (
    Asked("fetcher.fetch", FetchRequest, (FetchAccepted,), "Have candles fetched into the cache; follow md.job.<id>."),
    Asked("fetcher.cancel", CancelRequest, (Job,), "End a fetch job; what it stored is kept."),
    Asked("cache.get", CandlesRequest, (Candles, CandleColumns), "Candles of a key, in chunks of at most 512 KiB."),
    Asked("cache.coverage", KeyRequest, (Coverage,), "What is known of a key."),
    Asked("cache.list", ListRequest, (CacheList,), "Every key, in chunks."),
    Asked("cache.verify", KeyRequest, (Verification,), "Check a key's files."),
    Asked("cache.repair", KeyRequest, (Repair,), "Move damaged files aside, and keep what is sound."),
    Asked("streamer.start", StartRequest, (FeedReport,), "Register an interest in a feed, or renew it."),
    Asked("streamer.stop", StopRequest, (FeedReport,), "Withdraw an interest."),
    Asked("streamer.list", FeedsRequest, (FeedList,), "Every feed that somebody is interested in, in chunks."),
    Asked("streamer.market", MarketRequest, (MarketReport,), "What a market is, and the units of its numbers."),
    Asked("sink.report", SinkRequest, (SinkReport,), "What a sink wrote; each instance answers."),
    Asked("control.log", LogLevel, (LogLevel,), "Set the level of a logger in every process; each confirms."),
    Asked("streamer.reports.{instance}", FeedsRequest, (FeedList,), "The feeds of one streamer.", private=True),
    Asked(
        "cache.partition.{partition}.get",
        CandlesRequest,
        (Candles, CandleColumns),
        "Handed on.",
        "Handed",
        private=True,
    ),
    *(
        Asked(f"cache.partition.{{partition}}.{name}", KeyRequest, (reply,), "Handed on.", "Handed", private=True)
        for name, reply in (("coverage", Coverage), ("verify", Verification), ("repair", Repair))
    ),
    Asked("cache.partition.{partition}.list", ListRequest, (CacheList,), "Handed on.", private=True),
)

DIRECT = "$JS.API.DIRECT.GET.{stream}"
DIRECT_GET = {
    "name": "DirectGet",
    "summary": "Which messages are wanted: by place, by time, or the newest; https://docs.nats.io (Direct Get).",
    "contentType": "application/json",
    "payload": {
        "type": "object",
        "properties": {
            "seq": {"type": "integer", "description": "The place, or the first one to look at."},
            "next_by_subj": {"type": "string", "description": "A tape subject: its next message from there on."},
            "last_by_subj": {"type": "string", "description": "A tape subject: its newest message."},
            "start_time": {"type": "string", "description": "RFC 3339, in place of `seq`."},
            "batch": {"type": "integer", "description": "So many messages at most."},
            "max_bytes": {"type": "integer", "description": "So many bytes at most."},
        },
    },
}
