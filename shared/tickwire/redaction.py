"""Redacts secrets in texts: one function for errors, statuses and logs; no I/O.

ccxt's errors contain the requested URL with its query, including signature and key. Which parameters are secret is not
known for all venues, so the whole query of a URL is removed, and any part of its path that is as long as a key
(Binance's `listenKey`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

GONE = "***"
SHOWN = 300
"""Most characters shown of an error's text."""
SHORTEST, SHORT = 4, 12
"""Characters of a secret: shorter ones are not redacted, short ones only as whole words: they occur in other texts."""

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
"""As in a query, or a form-encoded body."""
_HEADER = re.compile(r"(\bauthorization\s*[:=]\s*(?:basic|bearer|token)\s+)[^\s\"'<>\\,;)}\]]+", re.IGNORECASE)
"""As in a header, where the scheme precedes the secret (RFC 9110, 11.4)."""
_QUOTED = re.compile(rf"((\\?[\"']){_NAME}\2\s*:\s*(\\?[\"']))[^\"'\\]+(?=\3)", re.IGNORECASE)
"""As in JSON, in a JSON string that contains JSON, and in the `repr` of a dict."""

_hidden: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """Have `redacted` remove these from every text from now on: plain, URL-encoded, in JSON, and in a `repr`.

    A secret of several lines, such as a private key, is also removed line by line.
    """
    for secret in secrets:
        for text in {secret, *secret.splitlines()}:
            if len(text) >= SHORTEST:
                _hidden.update((text, quote(text, safe=""), json.dumps(text)[1:-1], repr(text)[1:-1]))


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without queries of URLs, without values whose names mark them as secret, and without `secrets`."""
    # The longest first: a secret may contain another.
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
    """The start of a text in one line, without secrets. They are removed first: part of one is not recognised."""
    return " ".join(redacted(text, secrets).split())[:length]


def described(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """An error in one line, without secrets."""
    text = excerpt(str(error), secrets=secrets)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
