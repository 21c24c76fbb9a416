"""The archive's requests, and the entries that store how far it has written."""

from __future__ import annotations

from msgspec import Struct, field

from tickwire.model.messages.archive import Certificate
from tickwire.model.subjects import Exchange, Name, Symbol
from tickwire.model.times import Count, Sequence, Time


class DaysRequest(Struct, frozen=True, kw_only=True):
    """`archive.days`: the days of a feed between `since` and `until` (ms, half-open); all that there are by default.

    With `sequence`, of the stream that was created at `stream` (ms; both as in ArchivedTrades), parts of later messages
    are left out: the days are as they were when rows up to that message were read.
    """

    kind: str = "trade"
    exchange: Exchange
    symbol: Symbol
    since: Time | None = None
    until: Time | None = None
    sequence: Sequence | None = None
    stream: Time = 0


class ArchivedDays(Struct, frozen=True, kw_only=True):
    """One chunk of the reply to `archive.days`: days in order, those without files and open ones too.

    `chunk` counts from 0; `more` is false in the last one.
    """

    days: list[Certificate] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False


class ArchiveCheckpoint(Struct, frozen=True, kw_only=True):
    """`$KV.ARCHIVE.<stream>`: how far a stream of the tape is archived.

    Messages up to `done` are in files; those up to `writing` may be: they are written again with the same content.
    `stream` is when the stream was created (ms); `generation` is in the names of its parts, and is the same unless the
    stream has lost messages at its end. `begin` is the first message that was read; `holes` are first and last sequence
    of messages behind it that expired unread. `owner` is who saved last, `<instance> <epoch>`. `root` is the id of the
    archive that has the files (its `archive.json`); empty in entries of earlier versions.
    """

    stream: Time = 0
    generation: Time = 0
    done: Sequence = 0
    writing: Sequence = 0
    begin: Sequence = 0
    holes: list[tuple[Sequence, Sequence]] = field(default_factory=list)
    owner: Name = ""
    root: Name = ""
