"""The error that a service answers with."""

from __future__ import annotations

from msgspec import Struct

from tickwire.errors import TickwireError


class ErrorReply(Struct, frozen=True, kw_only=True):
    """The reply of a service to a request that failed, with the header `Nats-Service-Error-Code`."""

    code: str
    message: str
    remedy: str = ""


def error_reply(error: TickwireError) -> ErrorReply:
    """The reply that carries an error."""
    return ErrorReply(code=error.code, message=error.message, remedy=error.remedy)
