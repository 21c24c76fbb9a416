"""Fast-ingest batches (ADR-50, nats-server 2.14 or newer): many messages on one acknowledgement. No I/O.

The reply subject of each message says which batch it belongs to: `<inbox>.<batch>.<flow>.fail.<n>.<operation>.$FI`.
The stream stores each message as it comes and acknowledges about every `flow` of them. In gap mode `fail` the first
message that is refused or missing ends the batch: everything later is refused, whatever sequence it expects. Measured
with nats-server 2.15.1: an ended batch is acknowledged at once, a ping only repeats the last acknowledgement, and after
10 s without a message the stream forgets the batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

START, APPEND, END = 0, 1, 3
"""Operations: a batch's first message, a later one, and its end, which stores nothing."""
FLOW = 200
"""Messages for each acknowledgement; the server takes 500 at most, and fewer if several batches are open."""
NEEDS = (2, 14)
"""The first nats-server that knows them, and refuses `allow_batched` before."""


class _Reply(Struct):
    """What a stream answers: a flow acknowledgement, an error within a batch, or the acknowledgement of its end."""

    type: str = ""
    seq: int = 0
    batch: str = ""
    count: int = 0
    error: dict[str, Any] | None = None


class BatchAnswer(NamedTuple):
    """`stored` messages from the batch's first are stored. `ended`: it is over. `refused` is an error, with `code`."""

    stored: int
    ended: bool = False
    refused: str = ""
    code: int = 0


_decode = msgspec.json.Decoder(_Reply).decode


def reply_to(prefix: str, n: int, operation: int) -> str:
    """The reply subject of a batch's `n`th message; `prefix` is that of the batch."""
    return f"{prefix}{n}.{operation}.$FI"


def batch_prefix(inbox: str, batch: str) -> str:
    """What the reply subjects of one batch begin with. `batch` must be new each time."""
    return f"{inbox}.{batch}.{FLOW}.fail."


def answer_of(data: bytes) -> BatchAnswer:
    """Read an answer of the stream; one that cannot be read counts as a refusal."""
    try:
        reply = _decode(data)
    except (msgspec.MsgspecError, ValueError):
        return BatchAnswer(0, refused=f"not an acknowledgement: {data[:60]!r}")
    if reply.error is not None:
        return BatchAnswer(0, refused=str(reply.error.get("description")), code=int(reply.error.get("err_code") or 0))
    if reply.type == "ack":
        return BatchAnswer(reply.seq)
    if reply.type:
        return BatchAnswer(0, refused=f"a message of the batch was lost on its way ({reply.type})")
    return BatchAnswer(reply.count, ended=True)
