"""Repeats requests whose replies break off, because the service was killed while it answered."""

from __future__ import annotations

from types import TracebackType

from tickwire.errors import RequestTimeout
from tickwire.observe import logs

log = logs.get(__name__)

TRIES = 3
"""How often in a row a reply may break off."""


class Attempts:
    """Requests that are sent again where their reply breaks off: each is a block, which suppresses RequestTimeout.

    The last of TRIES in a row raises it.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._failures = 0

    def went_on(self) -> None:
        """Something came: failures before it do not count."""
        self._failures = 0

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, RequestTimeout):
            return False
        self._failures += 1
        log.debug("a reply broke off", subject=self._subject, error=str(error), failures=self._failures)
        return self._failures < TRIES
