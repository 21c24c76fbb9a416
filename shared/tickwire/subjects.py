"""Names on the bus and on disk: symbol tokens, subjects, file stems.

A token is how a symbol is written in a subject, a KV key and a file name: `/` becomes `-`, and every
character outside `[A-Za-z0-9]` becomes `=XX`, the upper-case hex of its UTF-8 bytes. It is bijective.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tickwire.errors import BadRequest

_PLAIN = re.compile(r"[A-Za-z0-9]")
_TOKEN = re.compile(r"(?:[A-Za-z0-9-]|=[0-9A-F]{2})+\Z")
_ESCAPES = re.compile(r"(?:=[0-9A-F]{2})+")
_EXCHANGE = re.compile(r"[a-z0-9]+\Z")


class Key(NamedTuple):
    """(exchange, symbol, timeframe), the unit of caching."""

    exchange: str
    symbol: str
    timeframe: str

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe}"


def token(symbol: str) -> str:
    """`BTC/USDT:USDT-260327` -> `BTC-USDT=3AUSDT=2D260327`. Raises BadRequest for an empty symbol."""
    if not symbol:
        raise BadRequest("the symbol is empty", "write it as ccxt does, such as BTC/USDT")
    try:
        return "".join(_token_character(character) for character in symbol)
    except UnicodeEncodeError as error:
        raise BadRequest(f"the symbol {symbol!r} is not valid text") from error


def _token_character(character: str) -> str:
    if _PLAIN.match(character):
        return character
    if character == "/":
        return "-"
    return "".join(f"={byte:02X}" for byte in character.encode())


def symbol_of(token_: str) -> str:
    """The symbol a token stands for. Raises BadRequest when no symbol has this token."""
    if _TOKEN.match(token_):
        try:
            symbol = _ESCAPES.sub(lambda m: bytes.fromhex(m[0].replace("=", "")).decode(), token_.replace("-", "/"))
        except UnicodeDecodeError:
            symbol = ""
        # Only the canonical spelling counts: `=41` would be a second name for `A`.
        if symbol and token(symbol) == token_:
            return symbol
    raise BadRequest(f"{token_!r} is not a symbol token", "/ is written -, other signs =XX")


def exchange_name(exchange: str) -> str:
    """The exchange id itself, once it is safe in a subject and a file name. Raises BadRequest."""
    if not _EXCHANGE.match(exchange):
        raise BadRequest(f"{exchange!r} is not an exchange id", "write it as ccxt does, such as binance or okx")
    return exchange


def key_path(key: Key) -> str:
    """`binance.BTC-USDT.1m`: the last three tokens of every subject about a key."""
    return f"{exchange_name(key.exchange)}.{token(key.symbol)}.{timeframe_name(key.timeframe)}"


def key_of(path: str) -> Key:
    """The key of a subject's last three tokens; the inverse of `key_path`. Raises BadRequest."""
    exchange, token_, timeframe = _three(path, ".")
    return Key(exchange_name(exchange), symbol_of(token_), timeframe_name(timeframe))


def ohlcv(key: Key) -> str:
    """Where pages of closed candles are published to be cached."""
    return f"tape.ohlcv.{key_path(key)}"


def stored(key: Key) -> str:
    """Where the cache says what became durable."""
    return f"md.stored.{key_path(key)}"


def job(job_id: str) -> str:
    """Where a fetch job's progress and result are published."""
    return f"md.job.{job_id}"


def cancel(job_id: str) -> str:
    """Where it is said that a fetch job is not wanted any more."""
    return f"jobs.cancel.{job_id}"


def jobs(exchange: str) -> str:
    """Where fetch jobs of an exchange are queued."""
    return f"jobs.fetch.{exchange_name(exchange)}"


def file_stem(key: Key) -> str:
    """`binance_BTC-USDT_1m`: the name of a key's files without extension."""
    return f"{exchange_name(key.exchange)}_{token(key.symbol)}_{timeframe_name(key.timeframe)}"


def key_of_stem(stem: str) -> Key:
    """The inverse of `file_stem`. Raises BadRequest when no key has this name."""
    exchange, token_, timeframe = _three(stem, "_")
    return Key(exchange_name(exchange), symbol_of(token_), timeframe_name(timeframe))


def partition_of(key: Key, partitions: int) -> int:
    """The cache partition of a key, as nats-server computes `{{partition(P,1,2,3)}}`.

    Source: `getHashPartition` of nats-server's subject_transform.go, 32-bit FNV-1a over the tokens without
    separators, modulo P.
    """
    value = 0x811C9DC5
    for byte in key_path(key).replace(".", "").encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % partitions


def timeframe_name(timeframe: str) -> str:
    """The timeframe itself, once it is safe in a subject and a file name. Raises BadRequest."""
    if not re.fullmatch(r"[0-9]{1,4}[A-Za-z]", timeframe):
        raise BadRequest(f"{timeframe!r} is not a timeframe", "write a number and a unit, such as 1m or 4h")
    return timeframe


def _three(path: str, separator: str) -> tuple[str, str, str]:
    parts = path.split(separator)
    if len(parts) != 3:
        raise BadRequest(f"{path!r} does not name a key", f"it is exchange{separator}token{separator}timeframe")
    return parts[0], parts[1], parts[2]
