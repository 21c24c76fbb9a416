"""The tape of versions without partitions: its writers are fenced when a feed begins in its partition."""

from __future__ import annotations

from tickwire.bus.connection import Bus
from tickwire.observe import logs
from tickwire.tape.stored import former_tape
from tickwire.tape.writer import Confirm, open_writer

log = logs.get(__name__)


async def fence_former(bus: Bus, public: str, data: bytes, confirm: Confirm | None) -> None:
    """Append a last message where an earlier version has written a feed, so that it can write nothing more."""
    former = await former_tape(bus, public)
    if former is None:
        return
    writer, _ = await open_writer(bus, former.place.stream, former.place.subject, confirm)
    await writer.append(data)
    log.info("the feed goes on in its partition", subject=public)
