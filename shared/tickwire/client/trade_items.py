"""Trades and gaps of a feed's messages, in order. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.client.decoded import Remade, trades_of
from tickwire.client.items import named_gap, named_trades
from tickwire.errors import BadRequest
from tickwire.model.feeds import Feed, Gap, Trade, Trades
from tickwire.observe import logs
from tickwire.tape.sequence import TapeMessage

log = logs.get(__name__)

CLOCKS_MS = 60_000
"""How much earlier than its timestamp a trade may have been stored: clocks differ."""
NOTHING_LATER = "nothing is known of the feed from then on"
EXPIRED = "no longer on the tape when it was read"
MADE_ANEW = "the stream of the tape was made anew after the archive read it"


class TradeItems:
    """Trades and gaps of a feed's messages, from `since` (ms) on. `gaps` collects gaps; `yielded` yields them too.

    With `live` it begins with the first live message: trades fetched for the time before, and gaps in it, are skipped.
    Those that are `named` have their market (`tickwire.client.items`).
    """

    def __init__(
        self, feed: Feed, since: int | None, *, yielded: bool, live: bool = False, named: bool = False
    ) -> None:
        self.gaps: list[Any] = []
        self._named = named
        self._feed = feed
        self._since = since
        self._yielded = yielded
        self._last: Trade | None = None
        self._reached = since is None
        self._awaited = live
        self.begins_late = ""
        """Why nothing is known from `since` on until the first trade."""
        self._known = since or 0
        """Up to here (ms) the messages say what happened."""
        self._begins_anew = False
        """Whether the next trades are of a stream that was made anew."""

    def __call__(self, taped: TapeMessage) -> list[Trade | Gap]:
        """The items of one message."""
        if isinstance(taped, Remade):
            self.begin_anew()
            return []
        try:
            message = trades_of(taped)
        except BadRequest as error:
            return self.unread(error)
        return self.of(message, skipped=taped.skipped)

    def passed(self, items: list[Trade | Gap]) -> list[Trade | Gap]:
        """Items from `since` on that were read elsewhere, before the messages: those to yield."""
        last = next((each for each in reversed(items) if isinstance(each, Trade)), None)
        if last is not None:
            self._last, self._reached = last, True
            self.known_until(last.timestamp + 1)
        for gap in [each for each in items if isinstance(each, Gap)]:
            self.known_until(gap.until or 0)
            self._gap(gap)
        return items if self._yielded else [each for each in items if isinstance(each, Trade)]

    def begin_anew(self) -> None:
        """The next messages are of a stream that was made anew: trades before its first one may be missing."""
        self._begins_anew = True

    def unread(self, error: BadRequest) -> list[Trade | Gap]:
        """The items in place of a message that cannot be decoded."""
        return [*self._gap(self._unread(error))]

    def of(self, message: Trades, *, skipped: bool) -> list[Trade | Gap]:
        """The items of a decoded message; `skipped`: messages before it are missing."""
        trades = message.trades
        if self._begins_anew and self._last is not None:
            # What the former stream had may be there again.
            trades = [each for each in trades if each.timestamp > self._last.timestamp]
        missing = EXPIRED if skipped else ""
        if self._begins_anew and trades:
            self._begins_anew, missing = False, MADE_ANEW
        known = self._known
        self._note(message)
        if self._awaited:
            if message.source == "rest" or not trades:
                return []
            self._awaited = False
            self._last = trades[-1]
            return self._out(trades)
        found: list[Trade | Gap] = []
        if missing:
            found += self._gap(self._after_last(trades[0] if trades else None, missing, known))
        if message.gap is not None and (message.gap.until is None or message.gap.until > (self._since or 0)):
            found += self._gap(message.gap)
        if self.begins_late and trades:
            reason, self.begins_late = self.begins_late, ""
            # The first trade may be earlier than `since`: then nothing is missing.
            if self._since is not None and trades[0].timestamp > self._since:
                found[:0] = self._gap(Gap(since=self._since, until=trades[0].timestamp, reason=reason))
        if trades:
            self._last = trades[-1]
            if not self._reached:
                trades = self._from(trades)
        return [*found, *self._out(trades)] if found else self._out(trades)

    def _out(self, trades: list[Trade]) -> list[Trade | Gap]:
        return [*named_trades(self._feed, trades)] if self._named else list(trades)

    def known_until(self, time: int) -> None:
        """What happened before a time (ms) is known."""
        self._known = max(self._known, time)

    def rest(self, until: int | None) -> list[Gap]:
        """At the end of all messages: a gap up to `until` (ms) if they say nothing of what happened from `since` on."""
        if self._begins_anew:
            self._begins_anew = False
            return self._gap(msgspec.structs.replace(self._after_last(None, MADE_ANEW, self._known), until=until))
        if self._since is None or (self._known > self._since and not self.begins_late):
            return []
        reason = self.begins_late or NOTHING_LATER
        return self._gap(Gap(since=self._since, until=until, reason=reason))

    def _note(self, message: Trades) -> None:
        """Note up to which time a message says what happened."""
        ends = [message.trades[-1].timestamp + 1] if message.trades else []
        ends += [each for each in (message.until, message.gap.until if message.gap else None) if each is not None]
        self.known_until(max(ends, default=0))

    def _after_last(self, first: Trade | None, reason: str, known: int) -> Gap:
        """The gap between the last trade and the next one; what happened before `known` (ms) is known."""
        last = self._last
        since = known - 1 if reason == MADE_ANEW and known else None
        return Gap(
            since=last.timestamp if last else since,
            until=first.timestamp if first else None,
            after_id=last.id if last else None,
            before_id=first.id if first else None,
            reason=reason,
        )

    def _unread(self, error: BadRequest) -> Gap:
        """The gap in place of a message that cannot be decoded."""
        last = self._last
        return Gap(
            since=last.timestamp if last else None,
            until=None,
            after_id=last.id if last else None,
            reason=f"a message of the tape cannot be read: {error.message[:200]}",
        )

    def _from(self, trades: list[Trade]) -> list[Trade]:
        """The trades from `since` on; the tape is in the exchange's order."""
        assert self._since is not None
        kept = [trade for trade in trades if trade.timestamp >= self._since]
        self._reached = len(kept) == len(trades)
        return kept

    def _gap(self, gap: Gap) -> list[Gap]:
        if self._named:
            gap = named_gap(self._feed, gap)
        self.gaps.append(gap)
        log.warning(f"{self._feed}: trades are missing: {gap.reason}", since=gap.since, until=gap.until)
        return [gap] if self._yielded else []
