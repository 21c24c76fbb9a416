"""Compares the exchange's own rows with those in the cache, and names the differences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import count

from tickwire.errors import BadRequest
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model import messages
from tickwire.model.messages import Candles, CandlesRequest, Coverage, Difference, DifferentField, Row
from tickwire.observe import logs

log = logs.get(__name__)

LISTED = 100
"""Differences that the job's message lists; all are counted."""
LOGGED = 10
"""Differences of a page that are logged."""
VOLUME_TOLERANCE = 1e-9
"""Relative: volumes that were converted to base currency on two ways differ by roundings of floats."""
_FIELDS: tuple[DifferentField, ...] = ("open", "high", "low", "close", "volume")
_TIMEOUT_S = 30.0


def differences(cached: Iterable[Row], exchange: Iterable[Row]) -> list[Difference]:
    """The differences of two lists of rows, ascending; a row that only one of them has differs in each field."""
    ours, theirs = {row[0]: row for row in cached}, {row[0]: row for row in exchange}
    found = []
    for date in sorted(ours.keys() | theirs.keys()):
        for index, name in enumerate(_FIELDS, 1):
            one = float(ours[date][index]) if date in ours else None
            other = float(theirs[date][index]) if date in theirs else None
            if not _equal(name, one, other):
                found.append(Difference(timestamp=date, field=name, cached=one, exchange=other))
    return found


def _equal(name: DifferentField, one: float | None, other: float | None) -> bool:
    if one is None or other is None or name != "volume":
        return one == other
    return math.isclose(one, other, rel_tol=VOLUME_TOLERANCE)


class RowAudit:
    """The comparison of one job. What it finds is on the job's report."""

    def __init__(self, context: JobContext, report: JobReport) -> None:
        self._bus = context.bus
        self._metrics = context.metrics
        self._report = report
        self._key = report.request.key
        self._unit: str | None = None

    def begin(self, coverage: Coverage) -> None:
        """Note what the cache has."""
        self._unit = coverage.volume_unit

    async def compare(self, page: ProvenPage) -> None:
        """Compare a page with what the cache has of its range, before the page replaces it.

        Raises BadRequest when the volumes are in another unit than those in the cache, NoSuchService, RequestTimeout.
        """
        if page.volume_unit != self._unit:
            raise BadRequest(
                f"the volumes of {self._key} are in {self._unit or 'an unknown unit'} in the cache, and those of the "
                f"exchange in {page.volume_unit or 'an unknown unit'}",
                "fetch the range again with --refresh, then audit it",
            )
        found = differences(await self._cached(page), page.rows)
        job = self._report.job
        # A page that an earlier run of the job compared, and that was not durable, is compared again.
        known = {(each.timestamp, each.field) for each in job.differences}
        new = [each for each in found if (each.timestamp, each.field) not in known]
        self._report.update(
            rows_compared=job.rows_compared + len(page.rows),
            differences=[*job.differences, *new][:LISTED],
            difference_count=job.difference_count + len(new),
        )
        self._metrics.audited.labels(self._key.exchange).inc(len(page.rows))
        self._metrics.differences.labels(self._key.exchange).inc(len(new))
        for number, each in zip(count(1), new, strict=False):
            if number > LOGGED:
                log.warning("more candles differ from the exchange's", **self._key._asdict(), more=len(new) - LOGGED)
                break
            log.warning(
                "a candle differs from the exchange's and is replaced",
                **self._key._asdict(),
                timestamp=each.timestamp,
                field=each.field,
                cached=each.cached,
                exchange_has=each.exchange,
            )
        if new:
            # Durable before the page replaces what it differs from: afterwards nobody could name it.
            await self._report.checkpoint()

    async def _cached(self, page: ProvenPage) -> list[Row]:
        request = CandlesRequest(**self._key._asdict(), since=page.since, until=page.until)
        rows: list[Row] = []
        chunks = self._bus.request_chunks(
            "cache.get", request, lambda data: messages.decode(data, Candles), timeout_s=_TIMEOUT_S
        )
        async for chunk in chunks:
            rows += chunk.rows
        return rows
