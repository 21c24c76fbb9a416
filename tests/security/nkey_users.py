"""Keys and JWTs as `nsc` makes them, and nats-servers that know users by these."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys

from support.brokers import Server
from support.ports import free_port

NO_LIMITS = dict.fromkeys(("subs", "data", "payload"), -1)
ACCOUNT_LIMITS = (
    NO_LIMITS
    | {"wildcards": True}
    | dict.fromkeys(("imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams", "consumer"), -1)
)


def new_seed(prefix: int = nkeys.PREFIX_BYTE_USER) -> str:
    """A new key."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
    return seed.decode()


def public(seed: str) -> str:
    """Its public half."""
    key: bytes = nkeys.from_seed(seed.encode()).public_key
    return key.decode()


def signed(issuer: str, subject: str, kind: str, claims: dict[str, Any]) -> str:
    """A JWT of nats-io: https://docs.nats.io/using-nats/developer/connecting/creds says what a user's has."""
    issued = int(time.time())
    body = {"jti": os.urandom(16).hex(), "iat": issued, "iss": public(issuer), "name": kind, "sub": public(subject)}
    if "exp" in claims:
        body["exp"] = claims.pop("exp")
    body["nats"] = {"type": kind, "version": 2, **claims}
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, body)
    text = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    return (text + b"." + _base64(nkeys.from_seed(issuer.encode()).sign(text))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass(frozen=True)
class Operator:
    """An operator with one account, which has JetStream, and with the account of the system."""

    seed: str = field(default_factory=lambda: new_seed(nkeys.PREFIX_BYTE_OPERATOR))
    account: str = field(default_factory=lambda: new_seed(nkeys.PREFIX_BYTE_ACCOUNT))
    system: str = field(default_factory=lambda: new_seed(nkeys.PREFIX_BYTE_ACCOUNT))

    def credentials(self, **claims: Any) -> str:
        """The text of the credentials file of a new user of the account."""
        user = new_seed()
        jwt = signed(self.account, user, "user", {"pub": {}, "sub": {}, **NO_LIMITS, **claims})
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n"
            "NKEYs are sensitive and should be treated as secrets.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user}\n------END USER NKEY SEED------\n\n"
            "*************************************************************\n"
        )

    def config(self) -> str:
        """What nats-server needs to know."""
        accounts = {
            public(each): signed(self.seed, each, "account", {"limits": limits})
            for each, limits in (
                (self.account, ACCOUNT_LIMITS),
                (self.system, ACCOUNT_LIMITS | {"mem_storage": 0, "disk_storage": 0}),
            )
        }
        preload = "\n".join(f"  {key}: {jwt}" for key, jwt in accounts.items())
        return (
            f"operator: {signed(self.seed, self.seed, 'operator', {})}\nsystem_account: {public(self.system)}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
        )


def write_config(folder: Path, port: int, users: str) -> Path:
    """The configuration of a server with these users."""
    folder.mkdir(exist_ok=True)
    path = folder / "server.conf"
    path.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}" }}\n{users}')
    return path


@asynccontextmanager
async def serving_users(folder: Path, users: str) -> AsyncIterator[Server]:
    """A nats-server with these users."""
    port = free_port()
    async with Server(folder, write_config(folder, port, users), port) as server:
        yield server
