"""The clock of one exchange as the streamer asks for it, and the admission of its items by their times."""

from __future__ import annotations

import asyncio
import time

from ccxt.base import errors

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_types import OpenedExchange
from tickwire.exchange.guarded_call import guarded_call
from tickwire.model import plausibility
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.redaction import described

log = logs.get(__name__)

MAX_AGE_S = 60.0
"""For how long a comparison of the clocks is trusted."""
ANSWER_S = 5.0
"""How long one comparison may take. ccxt's own timeout includes neither the rate limit nor a `Retry-After`."""
RETRY_S = 5.0
"""How long an exchange that failed to return its time is not asked again."""


class VenueClock:
    """Compares the exchange's clock when it is needed, once for all who ask at a time."""

    def __init__(self, exchange: OpenedExchange) -> None:
        self._exchange = exchange
        self._comparing = asyncio.Lock()
        self._retry_at = float("-inf")
        """Monotonic, s."""
        self._unknown = Episode(log, "the exchange's time is unknown", exchange=exchange.id)
        self._doubted = asyncio.Event()
        self.admission = Admission(self._latest, self._doubted.set)

    async def now(self) -> int | None:
        """The exchange's time, ms, from a comparison within the last minute; None while it is unknown.

        If the exchange does not answer within ANSWER_S, the last comparison counts. This machine's clock never does.
        """
        await self._compare(MAX_AGE_S)
        return self.known()

    def known(self) -> int | None:
        """The exchange's time, ms, as far as it is known without asking."""
        return self._exchange.clock.now()

    async def compare_when_doubted(self) -> None:
        """Compare the clocks when an item is later than is possible, until cancelled."""
        while True:
            await self._doubted.wait()
            await self._compare(0.0)
            # An item that is still too late after the comparison is wrong itself.
            await asyncio.sleep(RETRY_S)
            self._doubted.clear()

    def _latest(self) -> int:
        clock = self._exchange.clock.latest()
        # This is asked for each frame: our own clock is read only if it counts.
        return clock + plausibility.AHEAD_MS if clock is not None else plausibility.latest(None, now_ms())

    async def _compare(self, max_age_s: float) -> None:
        clock = self._exchange.clock
        async with self._comparing:
            if time.monotonic() < self._retry_at:
                return
            age_s = clock.age_s
            try:
                async with asyncio.timeout(ANSWER_S):
                    await guarded_call(lambda: clock.compare(max_age_s))
            except (errors.BaseError, TimeoutError) as error:
                self._unknown.occurs(error=described(error))
                self._retry_at = time.monotonic() + RETRY_S
            else:
                if clock.age_s < age_s:
                    self._unknown.ends()
