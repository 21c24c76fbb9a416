"""Encodes and decodes messages, and checks both ways that they fit their Structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from tickwire.errors import BadRequest, InternalError

M = TypeVar("M")
HEADER_DIGITS = 20
"""Digits of the largest sequence that a stream can have, 2^64 - 1."""
_encoder = msgspec.json.Encoder()


def encode(message: Struct) -> bytes:
    """A message as JSON. Raises InternalError where nobody could decode it.

    msgspec writes NaN and Infinity as null: where a number is required, the message would be unreadable for good.
    """
    data = _encoder.encode(message)
    if b"null" in data:
        try:
            msgspec.json.decode(data, type=type(message))
        except msgspec.MsgspecError as error:
            raise InternalError(f"a {type(message).__name__} message that cannot be read: {error}") from error
    return data


def encode_request(message: Struct) -> bytes:
    """A request as JSON. Raises BadRequest, naming the field, when whoever is asked would refuse it."""
    data = _encoder.encode(message)
    decode(data, type(message))
    return data


def decode(data: bytes, kind: type[M]) -> M:
    """A message from JSON. Raises BadRequest, naming the field, when it does not fit, or is nested too deeply."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        # It quotes what was sent, and then says where.
        said = str(error)
        said = said if len(said) <= 200 else f"{said[:80]} … {said[-100:]}"
        raise BadRequest(f"the {kind.__name__} message does not fit: {said}", "see docs/schemas") from error


def header_int(headers: Mapping[str, str] | None, name: str) -> int | None:
    """A header that is a count or a time (ms); None where it is absent. Raises BadRequest where it is no number."""
    text = (headers or {}).get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= HEADER_DIGITS):
        raise BadRequest(f"the header {name} is not a number: {text[:30]!r}", "see docs/asyncapi.json")
    return int(text)
