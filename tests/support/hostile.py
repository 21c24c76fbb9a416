"""Malformed payloads, derived from the message types themselves: new messages and fields are included automatically."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import inspect

GARBAGE: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"no json",
    b"\xff\xfe\xfd",
    b'{"exchange": "\xff\xfe"}',
    b"{",
    b'{"exchange": "binance", "sym',
    b"[]",
    b"[[[]]]",
    b"null",
    b"true",
    b"0",
    b'""',
    b"NaN",
    b"Infinity",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b"[" * 2_000 + b"]" * 2_000,
    b"[" * 100_000,
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    b'{"a":' * 100_000,
    b'{"a": "' + b"x" * 200_000 + b'"}',
)
"""What is a message of no kind."""

NUMBERS: tuple[Any, ...] = (-1, -(2**63), 10**18, 2**63 - 1, 2**63, 2**64, 10**40, 1.5, 1e300, "1", None, True, [], {})
TEXTS: tuple[Any, ...] = (
    "",
    "x" * 4_096,
    "\u5e01" * 64,
    "*",
    ">",
    "a.b",
    "a b\r\n",
    "\x00",
    "../../etc/passwd",
    7,
    None,
)
OTHERS: tuple[Any, ...] = (None, 7, "x", [], {}, [[]], [None], [1], {"a": {}})


def honest(kind: Any, /, **named: Any) -> Any:
    """A value of a type as JSON has it, with such fields (`named`, at the top) as are given."""
    return _value(inspect.type_info(kind), named)


def variants(kind: type[msgspec.Struct], /, **named: Any) -> Iterator[bytes]:
    """Messages of a kind, each with one field that is wrong; cut short; with a part that is nested too deeply."""
    whole = honest(kind, **named)
    text = json.dumps(whole).encode()
    yield text[: len(text) // 2]
    yield text[:-1]
    yield text[:-1] + b', "unknown": ' + b"[" * 2_000 + b"]" * 2_000 + b"}"
    yield text[:-1] + b', "unknown": ' + b'{"a":' * 100_000
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        for wrong in _wrong(field.type):
            yield json.dumps({**whole, field.encode_name: wrong}).encode()
        for literal in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\xff\xfe"', b"[" * 2_000 + b"]" * 2_000):
            marked = json.dumps({**whole, field.encode_name: "@@@"}).encode()
            yield marked.replace(b'"@@@"', literal)
        yield json.dumps({name: value for name, value in whole.items() if name != field.encode_name}).encode()


def _wrong(kind: inspect.Type) -> Iterator[Any]:
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for each in kinds:
        if isinstance(each, inspect.IntType | inspect.FloatType):
            yield from NUMBERS
        elif isinstance(each, inspect.StrType | inspect.LiteralType):
            yield from TEXTS
        elif isinstance(each, inspect.StructType):
            yield from OTHERS
            for field in each.fields:
                whole = _value(each, {})
                for wrong in _wrong(field.type):
                    yield {**whole, field.encode_name: wrong}
        elif isinstance(each, inspect.ListType):
            yield from OTHERS
            yield from ([wrong] for wrong in _wrong(each.item_type))
        elif isinstance(each, inspect.TupleType | inspect.NamedTupleType):
            yield from OTHERS
            whole = _value(each, {})
            places = each.item_types if isinstance(each, inspect.TupleType) else [f.type for f in each.fields]
            for place, item in enumerate(places):
                for wrong in _wrong(item):
                    yield [*whole[:place], wrong, *whole[place + 1 :]]
        else:
            yield from OTHERS


def _value(kind: inspect.Type, named: dict[str, Any]) -> Any:
    if isinstance(kind, inspect.StructType):
        return {
            field.encode_name: named[field.encode_name] if field.encode_name in named else _value(field.type, {})
            for field in kind.fields
        }
    if isinstance(kind, inspect.UnionType):
        return _value(next(each for each in kind.types if not isinstance(each, inspect.NoneType)), {})
    if isinstance(kind, inspect.ListType):
        return [_value(kind.item_type, {})]
    if isinstance(kind, inspect.TupleType):
        return [_value(each, {}) for each in kind.item_types]
    if isinstance(kind, inspect.NamedTupleType):
        return [_value(field.type, {}) for field in kind.fields]
    if isinstance(kind, inspect.DictType):
        return {}
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    if isinstance(kind, inspect.BoolType):
        return False
    if isinstance(kind, inspect.IntType):
        return 1
    if isinstance(kind, inspect.FloatType):
        return 1.0
    if isinstance(kind, inspect.StrType):
        return "x"
    raise AssertionError(f"no value of {kind} is known")


class Raw:
    """A connection to a broker that says what no client would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, subject: bytes, data: bytes, *, headers: bytes | None = None, reply: bytes = b"") -> None:
        """Publish; `headers` are the whole block, as it stands."""
        names = subject + (b" " + reply if reply else b"")
        if headers is None:
            self._writer.write(b"PUB %b %d\r\n%b\r\n" % (names, len(data), data))
        else:
            sizes = (len(headers), len(headers) + len(data))
            self._writer.write(b"HPUB %b %d %d\r\n%b%b\r\n" % (names, *sizes, headers, data))
        await self.reached()

    async def reached(self) -> None:
        """Return when the broker has dealt with all of it. Raises ConnectionError where it has hung up."""
        self._writer.write(b"PING\r\n")
        await self._writer.drain()
        while (line := await self._reader.readline()) != b"PONG\r\n":
            if not line or line.startswith(b"-ERR"):
                raise ConnectionError(line)


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    """Connect to a broker on loopback."""
    host, _, port = url.rpartition("/")[2].rpartition("@")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await reader.readline()
        writer.write(b'CONNECT {"verbose":false,"headers":true,"protocol":1}\r\n')
        yield Raw(reader, writer)
    finally:
        writer.close()


BAD_HEADERS: tuple[bytes, ...] = (
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
    b"NATS/1.0 100 FlowControl Request\r\n\r\n",
    b"NATS/1.0 \xff\xff \xff\r\nNats-Sequence: 3\r\n\r\n",
    b"NATS/1.0\r\nStatus: 100\r\nDescription: Idle Heartbeat\r\n\r\n",
    b"NATS/1.0\r\nStatus: 409\r\nDescription: Consumer Deleted\r\n\r\n",
    b"NATS/1.0\r\nStatus: 503\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\xff\xff: \xff\r\n: empty\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: abc\r\nNats-Last-Sequence: -1\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: 9223372036854775808\r\nNats-Last-Sequence: 99999999999999999999999999\r\n\r\n",
    b"NATS/1.0\r\nNats-Sequence: \xc2\xb2\r\nNats-Time-Stamp: never\r\n\r\n",
    b"NATS/1.0\r\nTickwire-Last-Sequence: abc\r\n\r\n",
    b"NATS/1.0\r\nTickwire-Reply-To: _INBOX.x\r\nTickwire-Expires: soon\r\n\r\n",
    b"NATS/1.0\r\nTickwire-Reply-To: " + b"x" * 4_000 + b"\r\nTickwire-Expires: 99999999999999\r\n\r\n",
    b"NATS/1.0\r\nTickwire-Reply-To: a b\r\nTickwire-Expires: 99999999999999999\r\n\r\n",
    b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n",
    b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n",
    b"NATS/1.0\r\nNats-Service-Error-Code: x\r\n\r\n",
)
"""Blocks of headers, well-formed for the broker or not."""
