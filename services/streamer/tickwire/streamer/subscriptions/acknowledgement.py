"""Recognises frames that acknowledge a request to subscribe. No I/O.

Formats differ, but there are only two ways: the answer has the id of the request, or it says "subscribed" in some form
and names everything that was requested. A frame that does neither is no acknowledgement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from tickwire.exchange.requests import IDS, refuses, request_id

_MAY_BE = re.compile(rf'"(?:{"|".join(IDS)})"|subscri|subbed', re.IGNORECASE)
"""A text without a match is no acknowledgement: most frames need not be parsed twice."""
_VERB = re.compile(
    r"(?:.*[:./_-])?(?:un)?(?:subscri(?:be|bed|ptions|ption_?-?succeeded|ptionresponse)|subbed|sub)", re.IGNORECASE
)


class Request(NamedTuple):
    """A request to subscribe: its id, and the texts that name what is requested."""

    id: str | None
    names: frozenset[str]


class Answer(NamedTuple):
    """What a frame may acknowledge: requests with one of these ids, or of which it has all names."""

    ids: frozenset[str]
    names: frozenset[str]

    def acknowledges(self, request: Request) -> bool:
        """Whether it acknowledges a request."""
        return request.id in self.ids or (bool(request.names) and request.names <= self.names)


def request_of(sent: object) -> Request:
    """What is to be acknowledged of a message, given as it is before ccxt encodes it as JSON."""
    own = request_id(sent)
    texts = (text for text in _texts(sent, keys=False) if not _VERB.fullmatch(text) and text != own)
    return Request(own, frozenset(texts))


def answer_of(text: str | bytes) -> Answer | None:
    """What a frame may acknowledge; None for nothing. Read once, however many requests wait for an answer."""
    text = text if isinstance(text, str) else text.decode(errors="replace")
    if not _MAY_BE.search(text):
        return None
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    # An empty list of what was subscribed: the request was understood, but the venue has no such channel.
    if type(frame) is not dict or refuses(frame) or frame.get("result") == []:
        return None
    texts = frozenset(_texts(frame))
    confirms = any(_VERB.fullmatch(each) and not each.lower().startswith("un") for each in texts)
    ids = frozenset(str(frame[name]) for name in IDS if name in frame)
    return Answer(ids, texts if confirms else frozenset())


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
