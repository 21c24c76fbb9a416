"""Protocol between the HTTP server and the REST endpoints of a venue. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tickwire.simulator.refusals import Query, Refused

Answer = tuple[Any, int] | None
"""(JSON value, request weight); None where there is no such endpoint."""
Holes = Callable[[str], list[range]]
"""Returns the ids of a symbol's trades to leave out (fault `rest_forgets`); the symbol is written `BTCUSDT`."""


class Endpoints(Protocol):
    """The REST endpoints of a venue."""

    refusal_status: int
    """HTTP status of an error answer."""

    def answer(self, path: str, query: Query, holes: Holes) -> Answer:
        """Answer a request. Raises Refused."""

    def body(self, value: Any) -> Any:
        """Return the body of an answer."""

    def refusal(self, refused: Refused) -> Any:
        """Return the body of an error answer."""

    def too_many_requests(self, limit: int) -> Refused:
        """Return the error for more than `limit` request weight in a minute."""
