"""The error that a service answers with."""

from __future__ import annotations

from msgspec import Struct

from tickwire.errors import TickwireError


class ErrorReply(Struct, frozen=True, kw_only=True):
    """What a service answers instead of a reply, with the header `Nats-Service-Error-Code`."""

    code: str
    message: str
    remedy: str = ""


def error_reply(error: TickwireError) -> ErrorReply:
    """An error as it travels."""
    return ErrorReply(code=error.code, message=error.message, remedy=error.remedy)
