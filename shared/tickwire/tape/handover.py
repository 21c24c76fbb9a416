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


async def append(bus: Bus, subject: str, name: str, confirm: Confirm) -> int:
    """Append the hand-over of writer `name` to the stream of a subject; its sequence.

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
            ack = await bus.publisher.publish(subject, data, headers=headers, timeout_s=ACK_S)
        except nats.errors.Error as error:
            log.debug("the hand-over is not stored yet", subject=subject, error=repr(error))
            await asyncio.sleep(RETRY_S)
        else:
            break
    await confirm()
    return ack.seq
