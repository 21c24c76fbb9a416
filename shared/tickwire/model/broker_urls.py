"""Broker URLs such as nats://host:4222; those of a cluster are separated by commas."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

REMEDY = (
    "write it as nats://host:port, with commas between those of a cluster, and a password with special characters into "
    "TICKWIRE_NATS_PASSWORD"
)
_WEBSOCKETS = ("ws", "wss")
_HOST_AND_PORT = re.compile(r"([^\s:/?#@\[\]]+|\[[0-9A-Fa-f:.]+\]):\d+\Z")
"""Without a user: what follows a comma in a password may look like a host."""


def split(urls: str) -> list[str]:
    """The single URLs: one, or those of a cluster; `localhost:4222` is nats://localhost:4222."""
    found = [url.strip() for url in urls.split(",") if url.strip()]
    return [f"nats://{url}" if _HOST_AND_PORT.match(url) else url for url in found]


def are_valid(urls: str) -> bool:
    """Whether the URLs are valid: each has a host, and all use TCP or all use WebSockets.

    Not if a password contains a character that ends the host of a URL: the rest would be parsed as a path, and shown.
    """
    found = split(urls)
    kinds = {url.split(":", 1)[0] in _WEBSOCKETS for url in found}
    return len(kinds) == 1 and all(map(_is_whole, found))


def without_credentials(urls: str) -> str:
    """The URLs without users and passwords."""
    return ",".join(_without_user(urlsplit(url)) for url in split(urls))


def user_of(urls: str) -> str | None:
    """The user of the first URL that has one. A name without a password is a token, and secret."""
    named = (parts.username for url in split(urls) if (parts := urlsplit(url)).password is not None)
    return next(named, None)


def with_token(url: str, token: str | None) -> str:
    """The URL with a token, which NATS writes as a user without a password."""
    parts = urlsplit(url)
    return url if token is None else parts._replace(netloc=f"{token}@{parts.netloc}").geturl()


def token_of(urls: str) -> str | None:
    """The token of the first URL that has one."""
    named = (parts.username for parts in map(urlsplit, split(urls)) if parts.username and parts.password is None)
    return next(named, None)


def _is_whole(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    beyond = parts.path + parts.query + parts.fragment
    return parts.scheme in ("nats", "tls", *_WEBSOCKETS) and bool(parts.hostname) and "@" not in beyond


def _without_user(parts: SplitResult) -> str:
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
