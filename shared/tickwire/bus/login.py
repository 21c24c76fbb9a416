"""The login at a broker, with a user, a token, credentials or an NKey: nats-py's options, and how errors call it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from tickwire.errors import ConfigError
from tickwire.model import broker_urls
from tickwire.settings import NatsSettings

INBOX = "_INBOX."


def options(settings: NatsSettings, url: str) -> dict[str, Any]:
    """Options of nats-py's `connect`. Raises ConfigError for a name or a file that cannot be used."""
    found: dict[str, Any] = {}
    if settings.inbox_prefix is not None:
        found["inbox_prefix"] = settings.inbox_prefix
    # A broker with a token in its URL has no users; nats-py would send the user alone.
    if broker_urls.token_of(url) is not None:
        return found
    if settings.token is not None:
        found["token"] = settings.token.get_secret_value()
    if settings.creds is not None or settings.nkey is not None:
        return found | _of_files(settings)
    if settings.user is not None:
        found["user"] = settings.user
        # Permissions can keep a user from the replies to another.
        found.setdefault("inbox_prefix", inbox_of(settings.user))
    if settings.password is not None:
        found["password"] = settings.password.get_secret_value()
    return found


def inbox_of(user: str) -> str:
    """Prefix of the reply subjects of a user. Raises ConfigError for a name that cannot be part of a subject."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", user):
        raise ConfigError(f"nats.user: {user!r} cannot be part of a subject", "use letters, digits, - and _")
    return f"{INBOX}{user}"


def _of_files(settings: NatsSettings) -> dict[str, Any]:
    from tickwire.bus import nkey_files

    if settings.creds is not None:
        jwt, signature = nkey_files.callbacks(settings.creds)
        return {"user_jwt_cb": jwt, "signature_cb": signature}
    assert settings.nkey is not None
    return {"nkeys_seed_str": nkey_files.read_seed(settings.nkey)}


def named(settings: NatsSettings, url: str) -> str:
    """Who we are at the broker: `user desk`, `NKey U…`, `the user of <credentials>`."""
    if settings.creds is not None:
        return f"the user of {settings.creds}"
    if settings.nkey is not None:
        from tickwire.bus import nkey_files

        with suppress(ConfigError):
            return f"NKey {nkey_files.public_key(nkey_files.read_seed(settings.nkey))}"
        return f"the NKey in {settings.nkey}"
    return f"user {settings.user or broker_urls.user_of(url) or '(none)'}"


def refused(settings: NatsSettings, url: str) -> tuple[str, str]:
    """What of us the broker refuses, and the remedy."""
    where = "" if settings.context is None else f", and the NATS context {settings.context}"
    if broker_urls.token_of(url) is not None:
        return "our token", "use the URL that `tickwire url` prints there"
    if settings.creds is not None:
        return named(settings, url), f"check nats.creds: is it for this broker, and not expired?{where[1:]}"
    if settings.nkey is not None:
        return named(settings, url), f"check nats.nkey, and which keys the broker knows{where}"
    if settings.user is not None or broker_urls.user_of(url) is not None:
        return named(settings, url), f"check nats.user and TICKWIRE_NATS_PASSWORD{where}"
    if settings.token is not None:
        return "our token", f"check TICKWIRE_NATS_TOKEN{where}"
    return (
        "us without a user or a token",
        f"use the URL that `tickwire url` prints, or check nats.user and TICKWIRE_NATS_PASSWORD{where}",
    )
