"""Encodes and decodes messages, and checks both ways that they fit their Structs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from tickwire.errors import BadRequest, InternalError

M = TypeVar("M")
HEADER_DIGITS = 20
"""Digits of the largest sequence that a stream can have, 2^64 - 1."""
_encoder = msgspec.json.Encoder()
_known: set[Any] = set()
_learning = threading.Lock()


def encode(message: Struct, nulls: int = 0) -> bytes:
    """Encode a message as JSON. Raises InternalError if it could not be decoded again.

    msgspec writes NaN and Infinity as null, which does not decode where a number is required. `nulls`: how many fields
    are None and may be. If there is no other null, decoding, which costs several times as much, is not tried.
    """
    data = _encoder.encode(message)
    if data.count(b"null") > nulls:
        try:
            decoder(type(message))(data)
        except msgspec.MsgspecError as error:
            raise InternalError(f"a {type(message).__name__} message that cannot be read: {error}") from error
    return data


def encode_request(message: Struct) -> bytes:
    """Encode a request as JSON. Raises BadRequest, naming the field, if the service would reject it."""
    data = _encoder.encode(message)
    decode(data, type(message))
    return data


def decode(data: bytes, kind: type[M]) -> M:
    """Decode a message from JSON. Raises BadRequest, naming the field, when it does not fit or is nested too deeply."""
    if kind not in _known:
        decoder(kind)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        # The text quotes the value, then names the field.
        reason = str(error)
        reason = reason if len(reason) <= 200 else f"{reason[:80]} … {reason[-100:]}"
        raise BadRequest(f"the {kind.__name__} message does not fit: {reason}", "see docs/schemas") from error


def decoder(kind: type[M]) -> Callable[[bytes | bytearray | memoryview | str], M]:
    """A function that decodes JSON in any thread. It raises msgspec's errors.

    msgspec learns the fields of a Struct, and of those within it, when it is first decoded, and crashes the process if
    two threads do that at once (0.22.0; no issue found). So whatever threads decode is learned here.
    """
    with _learning:
        made = msgspec.json.Decoder(kind)
    _known.add(kind)
    return made.decode


def header_int(headers: Mapping[str, str] | None, name: str) -> int | None:
    """A header that is a count or a time (ms); None if it is absent. Raises BadRequest if it is not a number."""
    text = (headers or {}).get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= HEADER_DIGITS):
        raise BadRequest(f"the header {name} is not a number: {text[:30]!r}", "see docs/asyncapi.json")
    return int(text)
