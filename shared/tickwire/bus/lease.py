"""A lease as its holder sees it: its key, its epoch, and when to finish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Epoch(NamedTuple):
    """Orders the holders of a lease: `generation` is when the bucket was made (ms), `revision` its sequence.

    A wiped broker counts revisions from 1 again; its later generation keeps the order.
    """

    generation: int
    revision: int


@dataclass(frozen=True)
class Lease:
    """A lease that this instance holds since `since` (ms). When `stop` is set, finish: the lease is handed over."""

    key: str
    epoch: Epoch
    since: int
    fields: Mapping[str, object] = field(default_factory=dict)
    """Added to its log lines."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def logged(self) -> dict[str, object]:
        """Fields of its log lines."""
        return {"lease": self.key, "epoch": self.epoch.revision, **self.fields}


Work = Callable[[Lease], Awaitable[None]]
"""What the holder of a lease does; returns when `lease.stop` is set."""
