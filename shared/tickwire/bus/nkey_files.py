"""Files of logins with NKeys: credentials (a user's JWT and its key), and seeds. Imported where they are configured."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nkeys

from tickwire.errors import ConfigError
from tickwire.observe import logs
from tickwire.redaction import hide

log = logs.get(__name__)

_BLOCK = re.compile(r"-{3,}BEGIN ([A-Z ]+)-{3,}\s+([\w.=-]+)\s+-{3,}END ")
"""A part of a credentials file, as `nsc` writes it: its name, and what it has."""
_JWT, _SEED = "NATS USER JWT", "USER NKEY SEED"
_USER_SEED = re.compile(r"(?m)^\s*(SU[A-Z2-7]{56})\s*$")
"""The seed of a user's NKey: a prefix of two bytes, 32 bytes and a checksum of two, in base32."""


@dataclass(frozen=True)
class Credentials:
    """A user's JWT and the seed of its key."""

    jwt: str
    seed: str


def read_credentials(path: Path) -> Credentials:
    """The JWT and the seed in a credentials file. Raises ConfigError."""
    parts = dict(_BLOCK.findall(_text("creds", path)))
    if _JWT not in parts or _SEED not in parts:
        missing = _SEED if _JWT in parts else _JWT
        raise ConfigError(f"nats.creds: {path} has no {missing}", "name a credentials file, as `nsc` makes it")
    _check("creds", path, parts[_SEED])
    return Credentials(parts[_JWT], parts[_SEED])


def read_seed(path: Path) -> str:
    """The seed in the file of a user's NKey. Raises ConfigError."""
    found = _USER_SEED.search(_text("nkey", path))
    if found is None:
        raise ConfigError(f"nats.nkey: {path} has no seed of a user", "name a file with a line that begins with SU")
    _check("nkey", path, found[1])
    return found[1]


def public_key(seed: str) -> str:
    """The public key of a seed, by which the broker knows the user: U…"""
    key: bytes = nkeys.from_seed(seed.encode()).public_key
    return key.decode()


def callbacks(path: Path) -> tuple[Callable[[], bytearray], Callable[[str], bytes]]:
    """nats-py's callbacks for the JWT and for the signature, which read the file at each connection.

    Whoever renews credentials replaces the file. nats-py's own `user_credentials` would read one without a JWT for
    ever. Raises ConfigError where the file cannot be used now; later the former credentials are used then.
    """
    newest = read_credentials(path)

    def signature(nonce: str) -> bytes:
        # Called before the other.
        nonlocal newest
        try:
            newest = read_credentials(path)
        except ConfigError as error:
            log.warning("the credentials cannot be read again; the former ones are used", error=str(error))
        return base64.b64encode(nkeys.from_seed(newest.seed.encode()).sign(nonce.encode()))

    return lambda: bytearray(newest.jwt.encode()), signature


def _text(setting: str, path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"nats.{setting}: cannot read {path}: {error.strerror}", "correct the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"nats.{setting}: {path} is no text", "name another file") from error


def _check(setting: str, path: Path, seed: str) -> None:
    """Raise ConfigError unless a seed is whole and a user's; redacted in all texts from now on."""
    hide([seed])
    try:
        prefix, raw = nkeys.decode_seed(seed.encode())
        # The library compares no checksum.
        whole = prefix == nkeys.PREFIX_BYTE_USER and nkeys.encode_seed(raw, prefix) == seed.encode()
    except nkeys.NkeysError:
        whole = False
    if not whole:
        raise ConfigError(f"nats.{setting}: the seed in {path} is not that of a user", "copy the file again")
