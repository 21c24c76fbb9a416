"""Readiness of a process: named checks, each of which passes or gives a reason.

Checks run when readiness is requested; each returns None, or the reason and the remedy in one line. No I/O.
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
        """Within the block, readiness includes this check."""
        checks = self._checks.setdefault(name, [])
        checks.append(check)
        try:
            yield
        finally:
            checks.remove(check)

    def failing(self) -> dict[str, str]:
        """The reasons of failing checks, by name; empty when the process is ready."""
        found: dict[str, str] = {}
        for name, checks in self._checks.items():
            reasons = [reason for check in checks if (reason := check()) is not None]
            if reasons:
                found[name] = "; ".join(dict.fromkeys(reasons))
        return found

    def reason(self) -> str | None:
        """Why the process is not ready, in one line; None when it is.

        Without a broker only that is reported, and `serving` only if no other check gives the cause.
        """
        failing = self.failing()
        causes = [reason for name, reason in failing.items() if name != "serving"] or list(failing.values())
        return failing.get("broker") or "; ".join(causes) or None
