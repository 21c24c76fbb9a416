"""ccxt parses JSON with every digit of integers.

ccxt depends on orjson, which turns an integer beyond 64 bits into a float: trade ids of 27 digits (htx) become
`1.0500517034273195e+22`, the same for many trades. msgspec keeps the digits, and takes about as long.

Upstream: no issue found for Python; https://github.com/ccxt/ccxt/pull/26557 is about the same in ccxt's Go version.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode


def loads(text: str | bytes) -> Any:
    """Parse a JSON text. Raises ValueError if it is not JSON or is nested too deeply."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def install() -> None:
    """Have the sockets of ccxt.pro parse JSON by `loads`. Idempotent."""
    client: Any = importlib.import_module("ccxt.async_support.base.ws.client")
    if client.json_parser.loads is not loads:
        client.json_parser = SimpleNamespace(loads=loads, dumps=client.json_parser.dumps)
