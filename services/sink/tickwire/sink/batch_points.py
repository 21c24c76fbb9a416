"""Builds the points of many messages. Pure, so that it can run in a thread.

A thousand trades take 20 ms or more, and a message may have ten thousand: on the event loop a lease would expire.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Feed, Gap, Trades, feed_of
from tickwire.model.messages import SinkTotals
from tickwire.sink import points, totals
from tickwire.tape.sequence import has_gap, previous_of

HANDOVER = "tape.handover."
"""Messages of owners of a partition, which are of no feed."""
PIECE_BYTES = 256 << 10
"""Bytes of the messages that are built, written and acknowledged together; at least one message. About 2,000 trades."""


class Tape(NamedTuple):
    """The stream of the messages: when it was created (ms), the last sequence seen of it, and its name.

    `former` is when the stream of an earlier version was created, which has been read to its end; 0 without one.
    """

    created: int
    last_sequence: int
    stream: str
    former: int = 0


class Unreadable(NamedTuple):
    """A message that cannot be decoded, and why. A point of `gaps` is written in its place."""

    message: Msg
    error: BadRequest


class Expired(NamedTuple):
    """Messages of a subject that expired on the tape before they were read. A point of `gaps` is written for them."""

    subject: str
    after: int
    before: int


@dataclass(slots=True)
class BatchPoints:
    """The lines to write for some messages, and what to log and count."""

    lines: list[str] = field(default_factory=list)
    totals: dict[str, SinkTotals] = field(default_factory=dict)
    """By path, of the feeds that had messages."""
    trades: int = 0
    missed: int = 0
    """Points of `gaps` among the lines."""
    unreadable: list[Unreadable] = field(default_factory=list)
    expired: list[Expired] = field(default_factory=list)
    cvd_restarted: list[Feed] = field(default_factory=list)
    """Feeds whose volume deltas restart: an earlier version counted contracts as base currency."""


def pieces(found: Sequence[Msg]) -> Iterator[Sequence[Msg]]:
    """Split messages, in order, into parts of PIECE_BYTES."""
    start, size = 0, 0
    for number, message in enumerate(found):
        if number > start and size + len(message.data) > PIECE_BYTES:
            yield found[start:number]
            start, size = number, 0
        size += len(message.data)
    if start < len(found):
        yield found[start:]


def feed_of_message(message: Msg) -> Feed:
    """The feed of a message of the tape. Raises BadRequest."""
    kind, _, market = message.subject.removeprefix("tape.").partition(".")
    # Trades have a partition, but for those of an earlier version.
    partition, _, rest = market.partition(".")
    return feed_of(f"{kind}.{rest if partition.isdecimal() and rest.count('.') == 1 else market}")


def of_trades(
    found: Sequence[Msg], tape: Tape, before: Mapping[str, SinkTotals], unknown: Collection[str]
) -> BatchPoints:
    """Build the points of messages of trades; skips those that are written already by the totals `before`.

    `unknown` are the paths whose totals could not be decoded.
    """
    built = BatchPoints()
    for message in found:
        if message.subject.startswith(HANDOVER):
            continue
        sequence = message.metadata.sequence.stream
        try:
            feed = feed_of_message(message)
        except BadRequest as error:
            # No feed has this subject, so the gap is tagged with the stream.
            _add_unreadable(built, message, error, {"stream": tape.stream})
            continue
        tags = {"exchange": feed.exchange, "symbol": feed.symbol}
        known = feed.path in built.totals
        last, hole = _begun(built.totals[feed.path] if known else before[feed.path], tape)
        if not known and feed.path in unknown:
            hole = hole or "what was written of it before is not known"
        if hole:
            _add_gap(built, message, hole, tags)
        built.totals[feed.path] = last
        if sequence <= last.sequence:
            # Written before a restart.
            continue
        try:
            trades = messages.decode(message.data, Trades)
            if trades.feed != feed:
                raise BadRequest(f"trades of {trades.feed} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            _add_unreadable(built, message, error, tags)
            built.totals[feed.path] = msgspec.structs.replace(last, sequence=sequence)
            continue
        if has_gap(previous_of(message.headers), last.sequence):
            built.expired.append(Expired(message.subject, last.sequence, sequence))
            built.missed += 1
            until = trades.trades[0].timestamp if trades.trades else None
            lost = Gap(since=None, until=until, reason="no longer on the tape when it could be written")
            built.lines.append(points.of_gap(lost, tags, trades.received, sequence))
        if totals.restarts_cvd(last, trades):
            built.cvd_restarted.append(feed)
        made, built.totals[feed.path] = points.of_trades(trades, sequence, last)
        built.lines += made
        built.trades += len(trades.trades)
    return built


def of_states(found: Sequence[Msg], kinds: Collection[str]) -> BatchPoints:
    """Build the points of books and candles; skips other kinds, which an earlier configuration retained."""
    built = BatchPoints()
    for message in found:
        kind = message.subject.split(".")[1]
        if kind not in kinds:
            continue
        try:
            feed = feed_of_message(message)
            state: Candle | Book = (
                messages.decode(message.data, Candle) if kind == "candle" else messages.decode(message.data, Book)
            )
            if (state.exchange, state.symbol) != (feed.exchange, feed.symbol):
                raise BadRequest(f"{state.exchange} {state.symbol} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            _add_unreadable(built, message, error, {"stream": streams.SINK})
            continue
        sequence = message.metadata.sequence.stream
        line = points.of_candle(state) if isinstance(state, Candle) else points.of_book(state, sequence)
        if line is not None:
            built.lines.append(line)
    return built


def _begun(before: SinkTotals, tape: Tape) -> tuple[SinkTotals, str]:
    """The totals to go on from, and why there is a gap before the next message; no reason if they are of this tape."""
    if before.stream in (0, tape.created) and before.sequence <= tape.last_sequence:
        return msgspec.structs.replace(before, stream=tape.created), ""
    begun = msgspec.structs.replace(before, stream=tape.created, sequence=0)
    went_on = tape.former and before.stream == tape.former
    return begun, "" if went_on else "the tape was recreated"


def _add_unreadable(built: BatchPoints, message: Msg, error: BadRequest, tags: dict[str, str]) -> None:
    built.unreadable.append(Unreadable(message, error))
    _add_gap(built, message, "a message of the tape cannot be read", tags)


def _add_gap(built: BatchPoints, message: Msg, reason: str, tags: dict[str, str]) -> None:
    """Add a gap of unknown bounds, in place of a message or before it."""
    at = int(message.metadata.timestamp.timestamp() * 1000)
    lost = Gap(since=None, until=None, reason=reason)
    built.lines.append(points.of_gap(lost, tags, at, message.metadata.sequence.stream))
    built.missed += 1
