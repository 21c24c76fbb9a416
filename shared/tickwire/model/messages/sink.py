"""The report of a sink, and how far it has written."""

from __future__ import annotations

from msgspec import Struct, field

from tickwire.model.subjects import Name
from tickwire.model.times import Count, Sequence, Time


class SinkRequest(Struct, frozen=True, kw_only=True):
    """`sink.report`."""


class SinkReport(Struct, frozen=True, kw_only=True):
    """The reply to `sink.report`: what this instance did since it started.

    Only the `active` one writes. `trades` were written and acknowledged, in `points`, which count the other
    measurements too; the database refused `rejected` of them. `failures` are writes that it did not take at once.
    `missed` counts where the tape let go of messages before they could be written.
    """

    instance: Name
    active: bool
    trades: Count = 0
    points: Count = 0
    rejected: Count = 0
    failures: Count = 0
    missed: Count = 0


class SinkTotals(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.trade.<exchange>.<token>`: a feed as the sink wrote it, up to the message at `sequence` of TRADES.

    `stream` is when that stream was made (ms): in another one, sequences begin anew. `count` trades were written; `cvd`
    is the cumulative volume delta by size class: quote currency bought less that sold by takers, since the sink first
    saw the feed. `measured` is true on contract markets whose contract sizes were taken into account; earlier versions
    did not, so `cvd` then began anew.
    """

    sequence: Sequence = 0
    stream: Time = 0
    count: Count = 0
    cvd: dict[str, float] = field(default_factory=dict)
    measured: bool = False


class SinkPosition(Struct, frozen=True, kw_only=True):
    """`$KV.SINK.stream.SINK`: books and candles up to the message at `sequence` of SINK, of `time` (ms), are written.

    Until a sink has been there, `sequence` is none. `stream` is when that stream was made (ms).
    """

    sequence: Sequence | None = None
    time: Time = 0
    stream: Time = 0
