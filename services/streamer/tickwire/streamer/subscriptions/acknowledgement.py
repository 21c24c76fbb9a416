"""Recognises frames that acknowledge a request to subscribe. No I/O.

Formats differ, but there are only two ways: the answer has the id of the request, or it says "subscribed" in some form
and names everything that was requested. A frame that does neither is no acknowledgement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

IDS = ("id", "req_id", "reqid", "reqId", "request_id", "requestId", "cid")
"""Names of the field for the id of a request."""
_MAY_BE = re.compile(rf'"(?:{"|".join(IDS)})"|subscri|subbed', re.IGNORECASE)
"""A text without a match is no acknowledgement: most frames need not be parsed twice."""
_VERB = re.compile(
    r"(?:.*[:./_-])?(?:un)?(?:subscri(?:be|bed|ptions|ption_?-?succeeded|ptionresponse)|subbed|sub)", re.IGNORECASE
)


def request_id(sent: object) -> str | None:
    """The id of a request; None if it has none."""
    found = next((sent[name] for name in IDS if sent.get(name) not in (None, "")), None) if type(sent) is dict else None
    return None if found is None else str(found)


def acknowledges(sent: object, text: str | bytes) -> bool:
    """Whether a frame acknowledges a request to subscribe. `sent` is the request before ccxt encodes it as JSON."""
    text = text if isinstance(text, str) else text.decode(errors="replace")
    if not _MAY_BE.search(text):
        return False
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    # An empty list of what was subscribed: the request was understood, but the venue has no such channel.
    if type(frame) is not dict or _refuses(frame) or frame.get("result") == []:
        return False
    request = request_id(sent)
    if request is not None and any(str(frame[name]) == request for name in IDS if name in frame):
        return True
    texts = set(_texts(frame))
    requested = {text for text in _texts(sent, keys=False) if not _VERB.fullmatch(text) and text != request}
    confirms = any(_VERB.fullmatch(each) and not each.lower().startswith("un") for each in texts)
    return confirms and bool(requested) and requested <= texts


def _refuses(frame: dict[str, Any]) -> bool:
    is_error = "error" in (frame.get("event"), frame.get("status"))
    return is_error or bool(frame.get("error")) or frame.get("success") is False


def _texts(value: object, *, keys: bool = True) -> Iterator[str]:
    """The texts in a JSON value, including names of fields if `keys`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if keys:
                yield name
            yield from _texts(each, keys=keys)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, keys=keys)
