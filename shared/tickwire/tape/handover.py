"""The first message of a new owner of a stream: it takes the sequence that the former one's next message expects."""

from __future__ import annotations

import time

import nats.errors

from tickwire.bus.connection import Bus
from tickwire.bus.publisher import Ack
from tickwire.bus.requests import until_answered
from tickwire.model import messages
from tickwire.model.feeds import Handover
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.tape.writer import ACK_S, PUBLISH, SILENT_S, Confirm, message_at

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
    began, refused = time.monotonic(), Episode(log, "the stream does not store the hand-over", stream=stream)

    async def publish() -> Ack:
        try:
            return await bus.publisher.publish(subject_of(stream), data, headers=headers, timeout_s=ACK_S)
        except nats.errors.Error as error:
            if bus.client.is_connected and time.monotonic() - began > SILENT_S:
                # Until then it may elect a leader.
                refused.occurs(error=repr(error))
            raise

    await confirm()
    ack = await until_answered(publish, f"the hand-over of {stream}")
    refused.ends()
    await confirm()
    # What settles doubts later: where the broker denies it for this partition, that shows now and not amid a feed.
    await message_at(bus, stream, ack.seq)
    return ack.seq
