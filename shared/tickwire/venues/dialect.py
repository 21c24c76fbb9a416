"""What a venue's dialect decodes frames into, besides the messages of `tickwire.model.feeds`. Pure."""

from __future__ import annotations

from msgspec import Struct

from tickwire.model.feeds import Level


class Diff(Struct, frozen=True, kw_only=True):
    """A change of a book as the exchange sends it: updates `first` to `last`; `previous` is the `last` before it.

    `previous` is absent where the exchange numbers without gaps.
    """

    first: int
    last: int
    timestamp: int | None
    bids: list[Level]
    asks: list[Level]
    previous: int | None = None
