"""Which of Binance's hosts and paths mean what. No I/O.

Source: the URLs of ccxt 4.5 (`binance.urls`), and Binance's documentation of spot and USD-M futures streams.
"""

from __future__ import annotations

from typing import Literal

Side = Literal["spot", "linear"]
"""The spot market, or USD-M futures."""


def plain(host: str) -> str:
    """A host without its port."""
    return host.partition(":")[0]


def side(host: str) -> Side:
    """The market that a host is for, by its first label: `fapi.` and `fstream.` are USD-M futures."""
    return "linear" if host.startswith(("fapi.", "fstream.")) else "spot"


def socket_path(host: str, path: str) -> tuple[str, str] | None:
    """(`ws` or `stream`, what comes after it) for a path that sockets are served on, else None.

    USD-M futures have them below `public/`, `market/` and `private/` too; every stream is served on each of these.
    """
    root, _, rest = path.partition("/")
    if side(host) == "linear" and root in ("public", "market", "private"):
        root, _, rest = rest.partition("/")
    return (root, rest) if root in ("ws", "stream") else None
