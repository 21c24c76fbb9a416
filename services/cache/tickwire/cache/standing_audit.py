"""Requests audits of what was built from the tape, of the keys whose partitions this instance owns.

| subject | here | what |
|---|---|---|
| `fetcher.fetch` | requested | audits: one job for each key and day, which gives way to other jobs |

The owner of a key is the one that knows what its rows come from, and the fetcher owns the exchange's rate budget.
Nothing is kept of a request: the audited page that comes back changes the ranges, and until then it is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tickwire.bus.connection import Bus
from tickwire.cache import audit_windows
from tickwire.cache.audit_index import AuditIndexes
from tickwire.cache.metrics import CacheMetrics
from tickwire.cache.partition import Partition
from tickwire.errors import BrokerUnavailable, Busy, NoSuchService, RequestTimeout, StorageError, TickwireError
from tickwire.model.messages import FetchAccepted, FetchRequest
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import QUIET_S, Episode
from tickwire.process import lifecycle
from tickwire.venues.registry import profile_of

log = logs.get(__name__)

SCAN_S = 300.0
"""How often the keys are looked through."""
PACE_S = 1.0
"""Between two requests, so that the end of a day does not fill the queue of jobs."""

_PASSING = (NoSuchService, RequestTimeout, BrokerUnavailable, Busy, StorageError)
"""Errors of a request that may be accepted with the next scan."""


class StandingAudit:
    """The audits of one instance. `run` until `stop` is set."""

    def __init__(
        self,
        bus: Bus,
        partitions: Sequence[Partition],
        indexes: AuditIndexes,
        metrics: CacheMetrics,
        stop: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._partitions = partitions
        self._indexes = indexes
        self._metrics = metrics
        self._stop = stop
        self._requested: set[str] = set()
        """Ids of requests that were accepted and are still due."""
        self._refused = Episode(log, "no fetcher accepts audits", quiet_s=QUIET_S)

    async def run(self) -> None:
        """Look through the keys again and again."""
        while not self._stop.is_set():
            due: set[str] = set()
            for partition in self._partitions:
                if not await self._audit(partition, due):
                    break
            else:
                self._requested &= due
            await lifecycle.pause(self._stop, SCAN_S)

    async def _audit(self, partition: Partition, due: set[str]) -> bool:
        """Request what is due of a partition. Returns whether fetchers accept requests."""
        try:
            index = await self._indexes.of(partition)
        except StorageError as error:
            log.debug("a partition cannot be looked through", partition=partition.number, error=str(error))
            return True
        if index is None:
            return True
        for key, (facts, _, _) in index.due(now_ms()):
            tape = facts.provenance.tape
            for request in audit_windows.due(key, facts.grid(key), tape, profile_of(key.exchange).candles, now_ms()):
                assert request.id is not None
                due.add(request.id)
                if request.id in self._requested:
                    continue
                # A new owner of the partition audits what is left.
                if self._stop.is_set() or partition.store is not index.store:
                    return True
                if not await self._order(request):
                    return False
                await lifecycle.pause(self._stop, PACE_S)
        return True

    async def _order(self, request: FetchRequest) -> bool:
        """Request an audit. Returns whether fetchers accept requests."""
        assert request.id is not None
        try:
            await self._bus.request("fetcher.fetch", request, FetchAccepted)
        except TickwireError as error:
            self._refused.occurs(**request.key._asdict(), reason=str(error))
            if isinstance(error, _PASSING):
                return False
            # It is about this key, such as a symbol that is not listed any more: the next attempt is due later.
        else:
            self._refused.ends()
            self._metrics.audits.inc()
        self._requested.add(request.id)
        return True
