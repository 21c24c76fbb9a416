"""The points of many messages. Pure, so that it can be done in a thread.

A thousand trades take 20 ms or more, and a message may have ten thousand: on the event loop that is a lease's life.
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
from tickwire.tape.sequence import expected_of, has_gap

PIECE_BYTES = 256 << 10
"""Messages whose points are built, written and acknowledged together; one at least. About 2,000 trades."""


class Tape(NamedTuple):
    """The stream that messages are of: when it was made (ms), and its last sequence when it was last looked at."""

    made: int
    reached: int


class Unread(NamedTuple):
    """A message that cannot be read, and why. There is a point of `gaps` in its place."""

    message: Msg
    error: BadRequest


class Skipped(NamedTuple):
    """Messages of a subject that the tape let go of before they were read. There is a point of `gaps` for them."""

    subject: str
    after: int
    before: int


@dataclass(slots=True)
class Built:
    """What is to be written of some messages, and what is to be said and counted of them."""

    lines: list[str] = field(default_factory=list)
    totals: dict[str, SinkTotals] = field(default_factory=dict)
    """By the path of a feed, where it had messages."""
    trades: int = 0
    missed: int = 0
    """Points of `gaps` among the lines."""
    unread: list[Unread] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    anew: list[Feed] = field(default_factory=list)
    """Feeds whose volume deltas begin anew: an earlier version took contracts for base currency."""


def pieces(found: Sequence[Msg]) -> Iterator[Sequence[Msg]]:
    """Messages in order, in parts of PIECE_BYTES."""
    start, size = 0, 0
    for number, message in enumerate(found):
        if number > start and size + len(message.data) > PIECE_BYTES:
            yield found[start:number]
            start, size = number, 0
        size += len(message.data)
    if start < len(found):
        yield found[start:]


def feed_in(message: Msg) -> Feed:
    """The feed that a message of the tape is of. Raises BadRequest."""
    return feed_of(message.subject.removeprefix("tape."))


def of_trades(found: Sequence[Msg], tape: Tape, before: Mapping[str, SinkTotals], unknown: Collection[str]) -> Built:
    """The points of messages of trades, after the totals of their feeds; those written already are passed over.

    `unknown` are the paths whose totals could not be read.
    """
    built = Built()
    for message in found:
        sequence = message.metadata.sequence.stream
        try:
            feed = feed_in(message)
        except BadRequest as error:
            # No feed has this subject, so there is no place in one to speak of.
            _unread(built, message, error, {"stream": streams.TRADES})
            continue
        tags = {"exchange": feed.exchange, "symbol": feed.symbol}
        known = feed.path in built.totals
        last, hole = _begun(built.totals[feed.path] if known else before[feed.path], tape)
        if not known and feed.path in unknown:
            hole = hole or "what was written of it before is not known"
        if hole:
            _hole(built, message, hole, tags)
        built.totals[feed.path] = last
        if sequence <= last.sequence:
            # Written in an earlier life.
            continue
        try:
            said = messages.decode(message.data, Trades)
            if said.feed != feed:
                raise BadRequest(f"trades of {said.feed} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            _unread(built, message, error, tags)
            built.totals[feed.path] = msgspec.structs.replace(last, sequence=sequence)
            continue
        if has_gap(expected_of(message.headers), last.sequence):
            built.skipped.append(Skipped(message.subject, last.sequence, sequence))
            built.missed += 1
            until = said.trades[0].timestamp if said.trades else None
            lost = Gap(since=None, until=until, reason="no longer on the tape when it could be written")
            built.lines.append(points.of_gap(lost, tags, said.received, sequence))
        if totals.begins_anew(last, said):
            built.anew.append(feed)
        made, built.totals[feed.path] = points.of_trades(said, sequence, last)
        built.lines += made
        built.trades += len(said.trades)
    return built


def of_states(found: Sequence[Msg], kinds: Collection[str]) -> Built:
    """The points of books and candles; none of what is held from when more was wanted."""
    built = Built()
    for message in found:
        kind = message.subject.split(".")[1]
        if kind not in kinds:
            continue
        try:
            feed = feed_in(message)
            said: Candle | Book = (
                messages.decode(message.data, Candle) if kind == "candle" else messages.decode(message.data, Book)
            )
            if (said.exchange, said.symbol) != (feed.exchange, feed.symbol):
                raise BadRequest(f"{said.exchange} {said.symbol} on the subject of {feed}", "see docs/asyncapi.json")
        except BadRequest as error:
            _unread(built, message, error, {"stream": streams.SINK})
            continue
        sequence = message.metadata.sequence.stream
        line = points.of_candle(said) if isinstance(said, Candle) else points.of_book(said, sequence)
        if line is not None:
            built.lines.append(line)
    return built


def _begun(before: SinkTotals, tape: Tape) -> tuple[SinkTotals, str]:
    """Totals as far as they speak of the tape that is read, and else why a gap is before its next message."""
    if before.stream in (0, tape.made) and before.sequence <= tape.reached:
        return msgspec.structs.replace(before, stream=tape.made), ""
    return msgspec.structs.replace(before, stream=tape.made, sequence=0), "the tape was made anew"


def _unread(built: Built, message: Msg, error: BadRequest, tags: dict[str, str]) -> None:
    built.unread.append(Unread(message, error))
    _hole(built, message, "a message of the tape cannot be read", tags)


def _hole(built: Built, message: Msg, reason: str, tags: dict[str, str]) -> None:
    """A gap of unknown bounds, in place of a message or before it."""
    at = int(message.metadata.timestamp.timestamp() * 1000)
    lost = Gap(since=None, until=None, reason=reason)
    built.lines.append(points.of_gap(lost, tags, at, message.metadata.sequence.stream))
    built.missed += 1
