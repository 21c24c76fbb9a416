"""Which venue a host stands for, and which paths serve sockets. No I/O.

Source: the URLs of ccxt 4.5 (`urls` of binance and okx), Binance's documentation of spot and USD-M futures streams,
and OKX's of its API v5, "WebSocket, Connect".
"""

from __future__ import annotations

from typing import Literal

Venue = Literal["spot", "linear", "inverse", "okx"]
"""Binance's spot market, its USD-M futures, its COIN-M futures, or OKX."""


def plain(host: str) -> str:
    """Return a host without its port."""
    return host.partition(":")[0]


def venue_of(host: str) -> Venue:
    """Return the venue of a host; of Binance's, `fapi.` and `fstream.` are USD-M, `dapi.` and `dstream.` COIN-M."""
    if plain(host).endswith("okx.com"):
        return "okx"
    if host.startswith(("dapi.", "dstream.")):
        return "inverse"
    return "linear" if host.startswith(("fapi.", "fstream.")) else "spot"


def socket_path(host: str, path: str) -> tuple[str, str] | None:
    """Return (`ws` or `stream`, the rest of the path) for a path that serves sockets, else None.

    USD-M futures have them below `public/`, `market/` and `private/` too; every stream is served on each of these.
    """
    root, _, rest = path.partition("/")
    if venue_of(host) == "okx":
        return (root, rest) if path in ("ws/v5/public", "ws/v5/business") else None
    if venue_of(host) == "linear" and root in ("public", "market", "private"):
        root, _, rest = rest.partition("/")
    return (root, rest) if root in ("ws", "stream") else None
