"""Where the messages of a feed are stored: the stream, and the tape subject. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tickwire.errors import BadRequest
from tickwire.model.feeds.names import Feed
from tickwire.model.subjects import tape_partition_of_path

PartitionedKind = Literal["trade", "book_delta"]
ArchivedKind = Literal["trade", "book_delta", "candle", "ticker"]
_KINDS: dict[str, PartitionedKind] = {"TRADES": "trade", "BOOK_DELTAS": "book_delta"}
PARTITIONED: dict[str, str] = {kind: name for name, kind in _KINDS.items()}
"""The kinds of messages whose streams are partitioned, and what the streams' names begin with."""
WHOLE = {"book": "BOOKS", "ticker": "TICKERS", "candle": "CANDLES", "status": "STATUS"}
"""The kinds of messages that have one stream each."""
_HELD_KINDS: dict[str, ArchivedKind] = {"ARCHIVE_CANDLES": "candle", "ARCHIVE_TICKERS": "ticker"}
HELD: dict[str, str] = {kind: name for name, kind in _HELD_KINDS.items()}
"""The kinds of which the archive has a stream of its own, because no other keeps every message for a while."""
METADATA = "tickwire-partitions"
"""In the metadata of stream TRADES-0: the number of partitions of the tape."""
FORMER_METADATA = "tickwire-former"
"""In the metadata of stream TRADES-0, if the broker has the tape of a version without partitions, too."""


def kind_of_stream(stream: str) -> PartitionedKind:
    """The kind of messages of a partition, such as trade of TRADES-3. Raises KeyError for another stream."""
    return _KINDS[stream.rpartition("-")[0]]


def archived_streams(kind: str, partitions: int) -> list[str]:
    """The streams from which a kind is archived, of a tape with so many partitions. Raises KeyError."""
    return [HELD[kind]] if kind in HELD else [f"{PARTITIONED[kind]}-{number}" for number in range(partitions)]


def archived_kind(stream: str) -> ArchivedKind:
    """The kind that is archived from a stream. Raises KeyError if that is none."""
    return _HELD_KINDS.get(stream) or kind_of_stream(stream)


class Place(NamedTuple):
    """A stream, and the subject on which it has the messages of a feed."""

    stream: str
    subject: str


@dataclass(frozen=True)
class TapeLayout:
    """How many partitions the tape has. 0: none, as before tickwire had partitions.

    `former`: the streams of a version without partitions are there, too.
    """

    partitions: int
    former: bool = False

    def place(self, public: str) -> Place:
        """The place of the messages that are public on a subject, such as `md.trade.binance.BTC-USDT`.

        Raises BadRequest if that is not the public subject of one feed.
        """
        begin, _, path = public.partition(".")
        kind, _, market = path.partition(".")
        known = kind in PARTITIONED or kind in WHOLE
        if begin != "md" or not known or not market or "*" in public or ">" in public:
            raise BadRequest(f"{public!r} is not the public subject of one feed", "such as md.trade.binance.BTC-USDT")
        if kind in WHOLE:
            return Place(WHOLE[kind], f"tape.{path}")
        if not self.partitions:
            return Place(PARTITIONED[kind], f"tape.{path}")
        number = tape_partition_of_path(market, self.partitions)
        return Place(f"{PARTITIONED[kind]}-{number}", f"tape.{kind}.{number}.{market}")

    def archived(self, public: str) -> Place:
        """The place from which the messages that are public on a subject are archived. Raises BadRequest."""
        place = self.place(public)
        kind = public.split(".", 2)[1]
        return place._replace(stream=HELD[kind]) if kind in HELD else place

    def place_of(self, feed: Feed) -> Place:
        """The place of a feed's messages. Raises BadRequest."""
        return self.place(feed.public)


UNPARTITIONED = TapeLayout(0)
"""The tape of earlier versions."""


def is_partitioned(public: str) -> bool:
    """Whether the place of what is public on a subject depends on the number of partitions."""
    return public.split(".", 2)[1:2] in ([kind] for kind in PARTITIONED)
