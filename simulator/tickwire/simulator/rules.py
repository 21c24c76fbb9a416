"""Limits of a venue's sockets: documented by the venue, enforced when the configuration or an order says so. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from tickwire.errors import BadRequest


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one client's sockets. None: no limit."""

    lifetime_s: float | None = None
    """A socket is closed at this age (s)."""
    idle_s: float | None = None
    """A socket is closed when the client has sent nothing for so long (s)."""
    subscriptions: int | None = None
    """Most subscriptions of one socket; further ones are refused."""
    messages: int | None = None
    """Most messages of a client within `messages_s`; with more the dialect answers an error, or the socket closes."""
    messages_s: float = 1.0
    message_bytes: int | None = None
    """A longer message of a client is neither carried out nor answered."""
    ban_s: float = 0.0
    """After too many messages, requests and sockets are refused for so long (s)."""
    token_s: float = 86_400.0
    """The lifetime of a token (s)."""

    def changed(self, changes: Mapping[str, Any]) -> Rules:
        """Return these rules with some fields changed. Raises BadRequest."""
        try:
            changed = msgspec.convert(msgspec.to_builtins(self) | dict(changes), Rules)
        except msgspec.ValidationError as error:
            raise BadRequest(f"not the rules of a venue: {error}") from error
        numbers = [value for value in msgspec.to_builtins(changed).values() if value is not None]
        if min(numbers) < 0:
            raise BadRequest("not the rules of a venue: a number is below zero")
        return changed


class RulesInForce:
    """The rules of each venue that are in force."""

    def __init__(self, declared: Mapping[str, Rules], changes: Mapping[str, Mapping[str, Any]], enforced: bool) -> None:
        """Begin with the documented rules if `enforced`, else with none; then apply `changes`. Raises BadRequest."""
        start = declared if enforced else dict.fromkeys(declared, Rules())
        self._of_venue = {name: rules.changed({"token_s": declared[name].token_s}) for name, rules in start.items()}
        for name, fields in changes.items():
            self.change([name], fields)

    def of(self, venue: str) -> Rules:
        """Return the rules in force for a venue."""
        return self._of_venue[venue]

    def change(self, venues: Iterable[str], fields: Mapping[str, Any]) -> None:
        """Change fields of the rules of some venues. Raises BadRequest for an unknown venue or field."""
        for name in venues:
            if name not in self._of_venue:
                raise BadRequest(f"no venue {name!r} is simulated", f"there are {', '.join(sorted(self._of_venue))}")
            self._of_venue[name] = self._of_venue[name].changed(fields)

    def listed(self) -> dict[str, Any]:
        """Return the rules of each venue."""
        return {name: msgspec.to_builtins(rules) for name, rules in self._of_venue.items()}
