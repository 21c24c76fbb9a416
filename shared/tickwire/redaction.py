"""Texts without what nobody may read: one function for errors, statuses and logs; no I/O.

ccxt's errors carry the URL that was asked, with its query: signature, key and all. Which of a venue's parameters are
secret nobody knows for all venues, so of a URL the whole query is left out, and whatever in its path is as long as a
key (Binance's `listenKey`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

GONE = "***"
SHOWN = 300
"""Characters of an error's text that are shown."""
SHORTEST, SHORT = 4, 12
"""Characters of a secret: shorter ones are not looked for, short ones only as whole words. They are in many a text."""

_URL = r"\b(?:https?|wss?)://"
_QUERY = re.compile(rf"({_URL}[^\s?\"'<>\\]*)\?[^\s\"'<>\\]+", re.IGNORECASE)
_KEY_IN_PATH = re.compile(rf"({_URL}[^\s\"'<>\\]*?/)[A-Za-z0-9_-]{{40,}}", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"(://[^\s/@:\"']*:)[^\s/@\"']+(?=@)")
_NAME = (
    r"(?:[\w-]*[-_.])?(?:signature|sign|sig|api[-_]?key|access[-_]?key(?:[-_]?id)?|listen[-_]?key|"
    r"(?:access|connect|refresh|session|id)?[-_]?token|(?:api|client)?[-_]?secret(?:[-_]?key)?|"
    r"(?:api)?[-_]?passphrase|password|private[-_]?key|authorization)"
)
_ASSIGNED = re.compile(rf"(\b{_NAME}=)[^\s&\"'<>\\,;)}}\]]+", re.IGNORECASE)
"""As in a query, or a body that is written like one."""
_HEADER = re.compile(r"(\bauthorization\s*[:=]\s*(?:basic|bearer|token)\s+)[^\s\"'<>\\,;)}\]]+", re.IGNORECASE)
"""As in a header, where the scheme stands before the secret (RFC 9110, 11.4)."""
_QUOTED = re.compile(rf"((\\?[\"']){_NAME}\2\s*:\s*(\\?[\"']))[^\"'\\]+(?=\3)", re.IGNORECASE)
"""As in JSON, also inside of a text of JSON, and as Python shows a dict."""

_hidden: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """Have `redacted` leave these out of every text from now on: as they are, in a URL, in JSON, and in a `repr`.

    A secret of several lines, such as a private key, is left out line by line, too.
    """
    for secret in secrets:
        for text in {secret, *secret.splitlines()}:
            if len(text) >= SHORTEST:
                _hidden.update((text, quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]))


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without queries of URLs, without values whose names say that they are secret, and without `secrets`."""
    # The longest first: one may be part of another.
    for secret in sorted({*_hidden, *filter(None, secrets)}, key=len, reverse=True):
        if secret in text:
            word = len(secret) < SHORT
            text = re.sub(rf"\b{re.escape(secret)}\b" if word else re.escape(secret), GONE, text)
    if "://" in text:
        text = _QUERY.sub(rf"\1?{GONE}", text)
        text = _KEY_IN_PATH.sub(rf"\1{GONE}", text)
        text = _PASSWORD_IN_URL.sub(rf"\1{GONE}", text)
    text = _HEADER.sub(rf"\1{GONE}", text)
    text = _ASSIGNED.sub(rf"\1{GONE}", text)
    return _QUOTED.sub(rf"\1{GONE}", text)


def excerpt(text: str, length: int = SHOWN, secrets: Iterable[str] = ()) -> str:
    """The beginning of a text in one line, without secrets. They are taken out first: of a part nobody knows it."""
    return " ".join(redacted(text, secrets).split())[:length]


def described(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """An error in one line, without secrets."""
    text = excerpt(str(error), secrets=secrets)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
