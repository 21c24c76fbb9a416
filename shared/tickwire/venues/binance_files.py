"""Daily files of trades that Binance publishes for download: their names, and their rows. No I/O.

Source: github.com/binance/binance-public-data. The files are `BTCUSDT-aggTrades-2026-11-01.zip` and
`BTCUSDT-trades-2026-11-01.zip`, each with a `.CHECKSUM` beside it: the SHA-256 in hex, and the name. Inside is one CSV
file of the same name. Columns of aggregate trades: id, price, quantity, first and last trade id, time, whether the
buyer was the maker, and on spot markets whether it was the best price. Of single trades: id, price, quantity, quote
quantity, time, and the same. Times are ms, of spot markets since 2025 microseconds. Files of contracts begin with a row
of names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple

from tickwire.errors import BadRequest
from tickwire.model.feeds import Trade

EXCHANGE = "binance"
"""The ccxt id of the exchange that most files are of."""
CHECKSUM = ".CHECKSUM"
_NAME = re.compile(r"([A-Z0-9_]{1,40})-(aggTrades|trades)-(\d{4}-\d{2}-\d{2})\.zip\Z")
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*\Z")
_TIME_COLUMN = {"aggTrades": 5, "trades": 4}
_TAKERS: dict[str, Literal["buy", "sell"]] = {"true": "sell", "false": "buy"}
"""The taker's side by whether the buyer was the maker."""
_MICROSECONDS = 10**14
"""Times from here on are microseconds: as milliseconds they would be after the year 5000."""


class PublishedFile(NamedTuple):
    """A day of a market: the venue's id of it, and whether the trades are aggregate ones."""

    market: str
    content: Literal["aggTrades", "trades"]
    date: date

    @property
    def member(self) -> str:
        """The name of the file inside."""
        return f"{self.market}-{self.content}-{self.date.isoformat()}.csv"


def published_file(name: str) -> PublishedFile:
    """What a file is by its name. Raises BadRequest."""
    match = _NAME.match(name)
    if match is None:
        raise BadRequest("it is no daily file of trades", "such as BTCUSDT-aggTrades-2026-11-01.zip")
    try:
        day = date.fromisoformat(match[3])
    except ValueError as error:
        raise BadRequest(f"{match[3]} is not a day", "restore the name of the file") from error
    return PublishedFile(match[1], match[2], day)  # type: ignore[arg-type]


def checksum_of(text: str, name: str) -> str:
    """The SHA-256 (hex) that a checksum file has for a file. Raises BadRequest."""
    match = _CHECKSUM.match(text.strip())
    if match is None or match[2] != name:
        raise BadRequest(f"{name}{CHECKSUM} has no checksum of it", "download both again")
    return match[1].lower()


def is_header(row: Sequence[str]) -> bool:
    """Whether a row has names of columns."""
    return bool(row) and not row[0].isdecimal()


def published_trade(file: PublishedFile, row: Sequence[str]) -> Trade:
    """The trade of a row. Raises ValueError."""
    column = _TIME_COLUMN[file.content]
    if len(row) < column + 2 or not row[0].isdecimal():
        raise ValueError(f"{','.join(row)[:80]!r} is not a trade")
    time, price, amount = int(row[column]), float(row[1]), float(row[2])
    side = _TAKERS.get(row[column + 1].strip().lower())
    if side is None:
        raise ValueError(f"{','.join(row)[:80]!r} does not tell who the maker was")
    if not 0 < price < float("inf") or not 0 < amount < float("inf"):
        raise ValueError(f"{','.join(row)[:80]!r} has no price or amount")
    timestamp = time // 1000 if time >= _MICROSECONDS else time
    return Trade(id=row[0], timestamp=timestamp, side=side, price=price, amount=amount)
