"""Whether what an exchange says acknowledges what it was sent. No I/O.

Each exchange has words of its own for it, but only two ways: the answer has the id of the request, or it says
"subscribed" in some form and names all that was asked for. What does neither is no acknowledgement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

IDS = ("id", "req_id", "reqid", "reqId", "request_id", "requestId", "cid")
"""Names that exchanges give to the id of a request."""
_MAY_BE = re.compile(rf'"(?:{"|".join(IDS)})"|subscri|subbed', re.IGNORECASE)
"""In a text that is no acknowledgement for lack of it: most frames need no second parsing."""
_VERB = re.compile(
    r"(?:.*[:./_-])?(?:un)?(?:subscri(?:be|bed|ptions|ption_?-?succeeded|ptionresponse)|subbed|sub)", re.IGNORECASE
)


def request_id(sent: Any) -> str | None:
    """The id of a request; None where it has none."""
    found = next((sent[name] for name in IDS if sent.get(name) not in (None, "")), None) if type(sent) is dict else None
    return None if found is None else str(found)


def acknowledges(sent: Any, text: str | bytes) -> bool:
    """Whether a frame acknowledges a request that subscribes: parsed JSON as ccxt sends it."""
    text = text if isinstance(text, str) else text.decode(errors="replace")
    if not _MAY_BE.search(text):
        return False
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    if type(said) is not dict or _refuses(said):
        return False
    request = request_id(sent)
    if request is not None and any(str(said[name]) == request for name in IDS if name in said):
        return True
    words = set(_words(said))
    wanted = {word for word in _words(sent, keys=False) if not _VERB.fullmatch(word) and word != request}
    says_so = any(_VERB.fullmatch(word) and not word.lower().startswith("un") for word in words)
    return says_so and bool(wanted) and wanted <= words


def _refuses(said: dict[str, Any]) -> bool:
    return bool(said.get("error")) or said.get("success") is False or "error" in (said.get("event"), said.get("status"))


def _words(value: Any, *, keys: bool = True) -> Iterator[str]:
    """The texts in a JSON value, names of fields among them where `keys`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if keys:
                yield name
            yield from _words(each, keys=keys)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _words(each, keys=keys)
