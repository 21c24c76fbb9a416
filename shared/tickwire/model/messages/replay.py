"""Replays: past messages, published again on subjects of their own."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tickwire.model.subjects import JobId
from tickwire.model.times import Count, Time


class ReplayStatus(Struct, frozen=True, kw_only=True):
    """`replay.<name>.status`: a replay, at its beginning, each second, and at its end.

    `id` is that of the run: while one is `running`, another one of the name is refused. `feeds` are the public subjects
    of the feeds. The replay is of `[since, until)` (exchange time), `speed` times as fast as it happened; null is as
    fast as possible. `position` is the exchange time of the last message published. `messages`, `trades` and `gaps`
    count what was published, and gaps that no message of the kind can say. `stopped` before its end, `failed` for the
    reason in `message`.
    """

    name: JobId
    id: JobId
    state: Literal["starting", "running", "ended", "stopped", "failed"]
    feeds: list[str]
    since: Time
    until: Time | None = None
    speed: float | None = None
    position: Time | None = None
    messages: Count = 0
    trades: Count = 0
    gaps: Count = 0
    message: str = ""
