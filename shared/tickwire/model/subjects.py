"""Names on the bus and on disk: symbol tokens, subjects, file stems, and their maximum lengths.

A token is how a symbol is written in a subject, a KV key and a file name: `/` becomes `-`, and every
character outside `[A-Za-z0-9]` becomes `=XX`, the upper-case hex of its UTF-8 bytes. It is bijective.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from msgspec import Meta

from tickwire.errors import BadRequest

_PLAIN = re.compile(r"[A-Za-z0-9]")
_TOKEN = re.compile(r"(?:[A-Za-z0-9-]|=[0-9A-F]{2})+\Z")
_ESCAPES = re.compile(r"(?:=[0-9A-F]{2})+")
_EXCHANGE = re.compile(r"[a-z0-9]+\Z")
_INSTANCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}(?<!\.)\Z")
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


QUEUES = "jobs.fetch."
"""Before the name of an exchange: where its fetch jobs are queued."""

EXCHANGE_CHARACTERS = 32
SYMBOL_CHARACTERS = 64
TOKEN_CHARACTERS = 160
"""A file name, which contains a token and affixes (`tickwire.cache.cache_folder`), has 255 bytes at most."""
NAME_CHARACTERS = 200
"""The name of a subscriber or an instance."""
JOB_ID_CHARACTERS = 64
SUBJECT_BYTES = 512
"""The longest subject: nats-server closes a connection whose subject and reply subject together exceed 4,096 bytes."""

Exchange = Annotated[str, Meta(max_length=EXCHANGE_CHARACTERS)]
Symbol = Annotated[str, Meta(max_length=SYMBOL_CHARACTERS)]
Timeframe = Annotated[str, Meta(max_length=5)]
Name = Annotated[str, Meta(max_length=NAME_CHARACTERS)]
JobId = Annotated[str, Meta(max_length=JOB_ID_CHARACTERS)]
"""Bounded strings, checked when a message is decoded."""


class Key(NamedTuple):
    """(exchange, symbol, timeframe), the unit of caching."""

    exchange: str
    symbol: str
    timeframe: str

    def __str__(self) -> str:
        # Without a timeframe: trades.
        return f"{self.exchange} {self.symbol} {self.timeframe}".rstrip()


def token(symbol: str) -> str:
    """`BTC/USDT:USDT-260327` -> `BTC-USDT=3AUSDT=2D260327`.

    Raises BadRequest for a symbol that is empty, longer than 64 characters, or whose token is longer than 160.
    """
    if len(symbol) > SYMBOL_CHARACTERS:
        raise BadRequest(_too_long("symbol", symbol, SYMBOL_CHARACTERS), "write it as ccxt does, such as BTC/USDT")
    return _token(symbol, "symbol", TOKEN_CHARACTERS)


def name_token(name: str) -> str:
    """The token of a subscriber's name, of at most 200 characters."""
    if len(name) > NAME_CHARACTERS:
        raise BadRequest(_too_long("name", name, NAME_CHARACTERS), "choose a shorter one")
    return _token(name, "name", SUBJECT_BYTES)


def _token(text: str, what: str, most: int) -> str:
    if not text:
        raise BadRequest(f"the {what} is empty", "a symbol is written as ccxt does, such as BTC/USDT")
    try:
        token_ = "".join(_token_character(character) for character in text)
    except UnicodeEncodeError as error:
        raise BadRequest(f"the {what} {text!r} is not valid text") from error
    if len(token_) > most:
        raise BadRequest(f"the {what} {text[:40]!r} is too long for a subject", f"encoded, it has {most} bytes at most")
    return token_


def _too_long(what: str, text: str, most: int) -> str:
    return f"the {what} {text[:40]!r}… has {len(text)} characters, at most {most} are allowed"


def _token_character(character: str) -> str:
    if _PLAIN.match(character):
        return character
    if character == "/":
        return "-"
    return "".join(f"={byte:02X}" for byte in character.encode())


def symbol_of(token_: str) -> str:
    """The symbol of a token. Raises BadRequest when no symbol has this token."""
    if len(token_) <= TOKEN_CHARACTERS and _TOKEN.match(token_):
        try:
            symbol = _ESCAPES.sub(lambda m: bytes.fromhex(m[0].replace("=", "")).decode(), token_.replace("-", "/"))
        except UnicodeDecodeError:
            symbol = ""
        # Only the canonical form is valid: `=41` would be a second name for `A`.
        if 0 < len(symbol) <= SYMBOL_CHARACTERS and token(symbol) == token_:
            return symbol
    raise BadRequest(f"{token_[:80]!r} is not a symbol token", "/ is written -, other signs =XX")


def check_subject(subject: str) -> str:
    """Return the subject. Raises BadRequest if it exceeds 512 bytes."""
    # A character has 4 bytes at most.
    if len(subject) * 4 > SUBJECT_BYTES and len(subject.encode(errors="replace")) > SUBJECT_BYTES:
        raise BadRequest(f"the subject {subject[:40]}… is too long", f"use at most {SUBJECT_BYTES} bytes")
    return subject


def family_of(subject: str) -> str:
    """The kind of a subject: `md.job` of `md.job.1f`, `ohlcv` of `ohlcv.3.binance.BTC-USDT.1m`."""
    first, _, rest = subject.partition(".")
    second = rest.partition(".")[0]
    kind = first if first.startswith("_INBOX") or not second or second.isdigit() else f"{first}.{second}"
    return kind[:60]


def instance_name(instance: str) -> str:
    """The name of a service process itself, once it is safe in a subject. Raises BadRequest."""
    if not _INSTANCE.match(instance):
        raise BadRequest(f"{instance[:80]!r} is no name of an instance", "use 1 to 64 of A-Z, a-z, 0-9, _, - and .")
    return instance


def exchange_name(exchange: str) -> str:
    """Return the exchange id if it is safe in a subject and a file name. Raises BadRequest."""
    if len(exchange) > EXCHANGE_CHARACTERS or not _EXCHANGE.match(exchange):
        raise BadRequest(f"{exchange[:40]!r} is not an exchange id", "write it as ccxt does, such as binance or okx")
    return exchange


def key_path(key: Key) -> str:
    """`binance.BTC-USDT.1m`: the last three tokens of every subject about a key."""
    return f"{exchange_name(key.exchange)}.{token(key.symbol)}.{timeframe_name(key.timeframe)}"


def key_of(path: str) -> Key:
    """The key of a subject's last three tokens; the inverse of `key_path`. Raises BadRequest."""
    exchange, token_, timeframe = _three(path, ".")
    return Key(exchange_name(exchange), symbol_of(token_), timeframe_name(timeframe))


def ohlcv(key: Key) -> str:
    """The subject of pages of closed candles for the cache."""
    return f"tape.ohlcv.{key_path(key)}"


def stored(key: Key) -> str:
    """The subject of pages that the cache made durable."""
    return f"md.stored.{key_path(key)}"


def rejected(key: Key) -> str:
    """The subject of pages that the cache rejected."""
    return f"md.rejected.{key_path(key)}"


def archived(kind: str, exchange: str, symbol: str) -> str:
    """The subject of days of a feed that are certified."""
    return f"md.archived.{kind}.{exchange_name(exchange)}.{token(symbol)}"


def archive_write(partition: object) -> str:
    """The subject on which the owner of a partition of the archive takes pages that are not of the tape."""
    return f"archive.write.{partition}"


def archive_close(partition: object) -> str:
    """The subject on which the owner of a partition of the archive closes a day at once."""
    return f"archive.close.{partition}"


def job(job_id: str) -> str:
    """The subject of a fetch job's progress and result."""
    return f"md.job.{job_name(job_id)}"


def job_name(job_id: str) -> str:
    """Return the id of a job if it is safe in a subject. Raises BadRequest."""
    if not _JOB_ID.match(job_id):
        raise BadRequest(f"{job_id[:80]!r} is not a job id", "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return job_id


def cancel(job_id: str) -> str:
    """The subject of a fetch job's cancellation."""
    return f"jobs.cancel.{job_name(job_id)}"


def jobs(exchange: str) -> str:
    """The subject of the queued fetch jobs of an exchange."""
    return f"{QUEUES}{exchange_name(exchange)}"


def replay_name(name: str) -> str:
    """Return the name of a replay if it is safe in a subject. Raises BadRequest."""
    if not _JOB_ID.match(name):
        raise BadRequest(f"{name[:80]!r} is not a name of a replay", "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return name


def replay_status(name: str) -> str:
    """The subject of a replay's status."""
    return f"replay.{replay_name(name)}.status"


def replayed(name: str, public: str) -> str:
    """The subject of what a replay publishes of a feed with a public subject."""
    return f"replay.{replay_name(name)}.{public}"


def file_stem(key: Key) -> str:
    """`binance_BTC-USDT_1m`: the name of a key's files without extension."""
    return f"{exchange_name(key.exchange)}_{token(key.symbol)}_{timeframe_name(key.timeframe)}"


def key_of_stem(stem: str) -> Key:
    """The inverse of `file_stem`. Raises BadRequest when no key has this name."""
    exchange, token_, timeframe = _three(stem, "_")
    return Key(exchange_name(exchange), symbol_of(token_), timeframe_name(timeframe))


def partition_of(key: Key, partitions: int) -> int:
    """The cache partition of a key, as nats-server computes `{{partition(P,1,2,3)}}` of its path."""
    return _partition(key_path(key), partitions)


def tape_partition_of(exchange: str, symbol: str, partitions: int) -> int:
    """The tape partition of a market, as nats-server computes `{{partition(P,1,2)}}` of its exchange and token."""
    return tape_partition_of_path(f"{exchange_name(exchange)}.{token(symbol)}", partitions)


def tape_partition_of_path(path: str, partitions: int) -> int:
    """The tape partition of a market's path, such as `binance.BTC-USDT`."""
    return _partition(path, partitions)


def _partition(path: str, partitions: int) -> int:
    """Source: `getHashPartition` of nats-server's subject_transform.go, 32-bit FNV-1a of the tokens, modulo P."""
    value = 0x811C9DC5
    for byte in path.replace(".", "").encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % partitions


def timeframe_name(timeframe: str) -> str:
    """Return the timeframe if it is safe in a subject and a file name. Raises BadRequest."""
    if not re.fullmatch(r"[0-9]{1,4}[A-Za-z]", timeframe):
        raise BadRequest(f"{timeframe[:20]!r} is not a timeframe", "write a number and a unit, such as 1m or 4h")
    return timeframe


def _three(path: str, separator: str) -> tuple[str, str, str]:
    parts = path.split(separator)
    if len(parts) != 3:
        raise BadRequest(f"{path[:80]!r} does not name a key", f"it is exchange{separator}token{separator}timeframe")
    return parts[0], parts[1], parts[2]
