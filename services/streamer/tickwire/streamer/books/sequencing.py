"""The rules by which a change of a book continues the one before, for each way that venues number them. No I/O.

Sources: `ranges`: Binance, "How to manage a local order book correctly" (see `orderbook.py`); `chain`: OKX,
"Order book channel" (`prevSeqId`, `seqId`), and Deribit, "book" channel (`prev_change_id`, `change_id`).
"""

from __future__ import annotations

from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.venues.dialect import Diff
from tickwire.venues.profile import BookFacts

REPEATS = 10
"""Up to this many deltas in a row that the book already has are repetitions; more mean that the numbering went back."""


class Sequencing:
    """The number of a book's last update, and the rule for the next one."""

    __slots__ = ("_before", "_continued", "_repeats", "_rule", "last")

    def __init__(self, facts: BookFacts, last: int) -> None:
        self.last = last
        """The number of the last update; a count where the venue has no numbers."""
        self._rule = facts.sequence
        self._before: int | None = None
        """What the last change named as the update before it."""
        self._continued = False
        """Whether a change was applied since the snapshot."""
        self._repeats = 0

    def advance(self, diff: Diff) -> bool:
        """Go on to the last update of a change; False if the book already has it.

        Raises OutOfStep if a change before it is missing.
        """
        if self._rule is None:
            self.last += 1
            return True
        if diff.last is None:
            raise OutOfStep("a change without a number")
        match self._rule:
            case "ranges":
                is_new = self._in_range(diff, diff.last)
            case "chain":
                is_new = self._in_chain(diff, diff.last)
            case _:
                is_new = self._rising(diff.last)
        if is_new:
            self.last = diff.last
            self._continued, self._repeats = True, 0
        return is_new

    def _in_range(self, diff: Diff, last: int) -> bool:
        if last <= self.last:
            self._repeats += self._continued
            if self._repeats > REPEATS:
                raise OutOfStep(f"updates went back from {self.last} to {last}")
            return False
        # usd-m events skip the numbers of other symbols: they continue `pu`, not `U - 1`.
        # An event that begins before the snapshot repeats levels that the snapshot has.
        before = last - 1 if diff.first is None else diff.first - 1
        before = before if diff.previous is None else diff.previous
        if before != self.last and (self._continued or before > self.last):
            raise OutOfStep(f"update {last if diff.first is None else diff.first} follows {before}, not {self.last}")
        return True

    def _in_chain(self, diff: Diff, last: int) -> bool:
        if diff.previous != self.last:
            if self._continued and (diff.previous, last) == (self._before, self.last):
                return False
            raise OutOfStep(f"update {last} follows {diff.previous}, not {self.last}")
        if last == self.last and not diff.bids and not diff.asks:
            # Sent in quiet times to show that the channel is alive.
            return False
        self._before = diff.previous
        return True

    def _rising(self, last: int) -> bool:
        if last == self.last:
            return False
        if last < self.last:
            raise OutOfStep(f"updates went back from {self.last} to {last}")
        if self._rule == "steps" and last != self.last + 1:
            raise OutOfStep(f"update {last} follows {last - 1}, not {self.last}")
        return True
