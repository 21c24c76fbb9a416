"""What requests on a socket and their answers have in common at most venues: an id, and a sign of refusal. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IDS = ("id", "req_id", "reqid", "reqId", "request_id", "requestId", "cid")
"""Names of the field for the id of a request."""


def id_field(message: object) -> str | None:
    """The name of the field that has the id of a message; None if it has none."""
    if not isinstance(message, dict):
        return None
    return next((name for name in IDS if message.get(name) not in (None, "")), None)


def request_id(sent: object) -> str | None:
    """The id of a request; None if it has none."""
    name = id_field(sent)
    return None if name is None else str(sent[name])  # type: ignore[index]


def refuses(frame: Mapping[str, Any]) -> bool:
    """Whether an answer, parsed from JSON, refuses what was requested."""
    is_error = "error" in (frame.get("event"), frame.get("status"))
    return is_error or bool(frame.get("error")) or frame.get("success") is False
