"""Whether a process can do its work, and which part of that it cannot.

A check is asked when somebody wants to know; it returns None, or in one line why not and what to do. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Check = Callable[[], str | None]


class Readiness:
    """The checks of a process, by name: `broker`, `identity`, `session`, `consumers`, `storage`, `serving`."""

    def __init__(self) -> None:
        self._checks: dict[str, list[Check]] = {}

    @contextmanager
    def checked(self, name: str, check: Check) -> Iterator[None]:
        """While inside, readiness depends on this as well."""
        checks = self._checks.setdefault(name, [])
        checks.append(check)
        try:
            yield
        finally:
            checks.remove(check)

    def failing(self) -> dict[str, str]:
        """What is not as it should be, by the names of the checks; empty when the work can be done."""
        found: dict[str, str] = {}
        for name, checks in self._checks.items():
            reasons = [reason for check in checks if (reason := check()) is not None]
            if reasons:
                found[name] = "; ".join(dict.fromkeys(reasons))
        return found

    def reason(self) -> str | None:
        """Why the work cannot be done, in one line; None when it can. Without a broker nothing else can be told."""
        failing = self.failing()
        return failing.get("broker") or "; ".join(failing.values()) or None
