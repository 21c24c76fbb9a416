"""Requests the pages of a repair: each request ends at the repair's deadline, or when the feed stops."""

from __future__ import annotations

import asyncio
import time

from ccxt.base import errors

from tickwire.errors import ExchangeFailed
from tickwire.exchange.admission import LeftOut
from tickwire.exchange.past_trades import PageRequest, Unanswered
from tickwire.model.feeds import Trade
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades.repair_plan import RetryPolicy

CALL_S = 30.0
"""Limit of one REST call: ccxt's own timeout does not include the wait for the rate limit."""
TOO_SLOW = "the exchange's REST did not give them in time"


class RepairRequests:
    """The REST calls of one repair, within the time that `policy` leaves."""

    def __init__(self, context: FeedContext, policy: RetryPolicy) -> None:
        self._context = context
        self._policy = policy

    async def exchange_time(self) -> int | None:
        """The exchange's clock (ms); None if its time is unknown. Raises Unanswered."""
        try:
            async with asyncio.timeout(min(CALL_S, max(0.0, self._policy.left_s(time.monotonic())))):
                return await self._context.venue.now()
        except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
            raise Unanswered("failed", f"the exchange's time is not available: {type(error).__name__}") from error

    async def page(self, request: PageRequest, left_out: LeftOut) -> list[Trade]:
        """Fetch a page; `left_out` is called for each trade that cannot be used.

        Raises Unanswered, also if the feed is stopped first.
        """
        context = self._context
        left_s = self._policy.left_s(time.monotonic())
        pause_s = context.venue.rest.gate.remaining_s
        if pause_s > left_s:
            raise Unanswered("refused", f"the exchange demands a pause of {pause_s:.0f} s")
        past, admission = context.venue.past, context.venue.admission
        call = asyncio.ensure_future(past.fetch(context.feed.symbol, request, admission, left_out))
        stopped = asyncio.ensure_future(context.stop.wait())
        try:
            await asyncio.wait({call, stopped}, timeout=min(left_s, CALL_S), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise Unanswered("failed", TOO_SLOW)
            return call.result()
        finally:
            call.cancel()
            stopped.cancel()
            await asyncio.gather(call, stopped, return_exceptions=True)
