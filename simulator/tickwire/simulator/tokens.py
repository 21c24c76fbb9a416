"""Tokens that a venue issues for its sockets, and that expire."""

from __future__ import annotations

import secrets
import time


class Tokens:
    """The tokens that one venue issued, with their times."""

    def __init__(self) -> None:
        self._issued: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new token."""
        token = secrets.token_urlsafe(24)
        self._issued[token] = time.monotonic()
        return token

    def valid(self, token: str, lifetime_s: float) -> bool:
        """Return whether the token was issued here within the last `lifetime_s` seconds."""
        issued = self._issued.get(token)
        return issued is not None and time.monotonic() - issued < lifetime_s
