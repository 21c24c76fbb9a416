"""Subject `control.log`: changes the level of a logger in every service process."""

from __future__ import annotations

from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.bus.service import may_answer
from tickwire.model import messages
from tickwire.model.messages import LogLevel
from tickwire.observe import logs

CONTROL_LOG = "control.log"


async def follow_log_level(bus: Bus) -> None:
    """Subscribe to `control.log`: set the requested levels, and confirm requests that have a reply subject.

    A logger that this process does not have is left to the processes that have it.
    """

    async def take(message: Msg) -> None:
        wanted = messages.decode(message.data, LogLevel)
        if not logs.exists(wanted.logger):
            return
        logs.set_level(wanted.level, wanted.logger)
        if message.reply and may_answer(message):
            await bus.publish(message.reply, wanted)

    await bus.subscribe(CONTROL_LOG, take)
