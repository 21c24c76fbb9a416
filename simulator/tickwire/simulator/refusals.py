"""What every REST protocol here shares: the query of a request, and a refusal. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

Query = Mapping[str, str]


class Refused(Exception):
    """An error answer with the exchange's code and message (Binance: HTTP 400; OKX: HTTP 200)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
