"""The first message of a new owner of a stream: it takes the sequence that the former one's next message expects."""

from __future__ import annotations

import asyncio

import nats.errors

from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Handover
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.tape.writer import ACK_S, PUBLISH, RETRY_S, Confirm

log = logs.get(__name__)


def subject_of(stream: str) -> str:
    """The subject of a stream for the messages of its owners, which no reader follows and no broker republishes."""
    return f"tape.handover.{stream}"


async def append(bus: Bus, stream: str, name: str, confirm: Confirm) -> int:
    """Append the hand-over of writer `name` to a stream; its sequence.

    It expects no sequence, so that a former owner that writes fast cannot keep it out. Retries while the broker is
    away, until cancelled. Raises Fenced if this instance is not the owner: one that was paused before its hand-over
    fences the owner with it, which then begins anew, but writes nothing itself.
    """
    data = messages.encode(Handover(owner=bus.name, at=now_ms()))
    # A repeated one is not stored again.
    headers = {"Nats-Msg-Id": name, PUBLISH: name}
    await confirm()
    while True:
        try:
            ack = await bus.publisher.publish(subject_of(stream), data, headers=headers, timeout_s=ACK_S)
        except nats.errors.Error as error:
            log.debug("the hand-over is not stored yet", stream=stream, error=repr(error))
            await asyncio.sleep(RETRY_S)
        else:
            break
    await confirm()
    return ack.seq
