"""Instants that timers of a process share, so that what they start is done in one turn of the event loop. No I/O."""

from __future__ import annotations


def next_instant(now: float, step_ms: int) -> float:
    """The next multiple of `step_ms` after `now` by the clock of an event loop (s, as for `call_at`).

    In whole milliseconds, because uvloop's timers have them: two timers for one instant end in the same turn.
    """
    return (round(now * 1000) // step_ms + 1) * step_ms / 1000
