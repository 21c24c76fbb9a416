"""What the subscribers of a feed request of it, combined."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Demand:
    """The combined demand of a feed's subscribers. `changed` is set and replaced by a new event with each change."""

    depth: int
    cadence_ms: int
    deltas: bool = False
    timeframes: frozenset[str] = frozenset()
    delta_subscribers: frozenset[str] = frozenset()
    """The subscribers that want deltas."""
    delta_joins: int = 0
    """How many delta subscribers have joined so far: each needs a snapshot."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def update(self, other: Demand) -> None:
        """Take over another demand, and set `changed` if that makes a difference."""
        joined = len(other.delta_subscribers - self.delta_subscribers)
        before = (self.depth, self.cadence_ms, self.deltas, self.timeframes)
        self.depth, self.cadence_ms, self.deltas = other.depth, other.cadence_ms, other.deltas
        self.timeframes, self.delta_subscribers = other.timeframes, other.delta_subscribers
        self.delta_joins += joined
        if joined or before != (self.depth, self.cadence_ms, self.deltas, self.timeframes):
            changed, self.changed = self.changed, asyncio.Event()
            changed.set()
