"""Messages of trades that need no decoding: made of archived rows, or none at all."""

from __future__ import annotations

from dataclasses import dataclass

from tickwire.model import messages
from tickwire.model.feeds import Trades
from tickwire.tape.sequence import TapeMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMessage(TapeMessage):
    """A message whose content is `message`; its `data` is empty."""

    message: Trades


@dataclass(frozen=True, slots=True)
class Remade(TapeMessage):
    """In place of a message: the next ones are of a stream that was made anew. What it had before is not known."""


REMADE = Remade(0, b"", read_back=True)


def trades_of(taped: TapeMessage) -> Trades:
    """The content of a message of trades. Raises BadRequest if it cannot be decoded."""
    return taped.message if isinstance(taped, DecodedMessage) else messages.decode(taped.data, Trades)


def payload_of(taped: TapeMessage) -> bytes:
    """The payload of a message of trades."""
    return messages.encode(taped.message) if isinstance(taped, DecodedMessage) else taped.data
