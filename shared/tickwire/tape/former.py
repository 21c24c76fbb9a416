"""The tape of versions without partitions: its writers are fenced when a feed begins in its partition."""

from __future__ import annotations

from tickwire.bus.connection import Bus
from tickwire.observe import logs
from tickwire.tape.stored import former_place
from tickwire.tape.writer import Confirm, open_writer

log = logs.get(__name__)


async def fence_former(bus: Bus, public: str, data: bytes, confirm: Confirm | None) -> None:
    """Append a last message where an earlier version has written a feed, so that it can write nothing more.

    Waits for the broker. Raises Fenced if this instance is not the owner, or the earlier version still writes.
    """
    former = await former_place(bus, public)
    if former is None:
        return
    writer, _ = await open_writer(bus, former.stream, former.subject, confirm)
    if not writer.sequence:
        return
    await writer.append(data)
    log.info("the feed goes on in its partition", subject=public)
