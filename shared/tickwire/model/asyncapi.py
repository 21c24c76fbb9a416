"""The public interface as an AsyncAPI 3 document, made from the Structs: `python -m tickwire.model.asyncapi FILE`.

Actions are tickwire's: it sends what it publishes and receives requests. AsyncAPI 3.0:
https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from tickwire import errors
from tickwire.model import schemas
from tickwire.model.asyncapi_subjects import (
    ASKED,
    DIRECT,
    DIRECT_GET,
    HEADERS,
    PARAMETERS,
    PUBLISHED,
    TAPES,
    Asked,
    Message,
    Published,
)
from tickwire.model.messages import ArchivedTrades, CandleColumns, ErrorReply

CONTRACT = "0.1.0"
"""The version of what is public: it changes with the subjects and messages, not with each release."""

_INFO = {
    "title": "tickwire",
    "version": CONTRACT,
    "description": "Exchange market data on NATS subjects. Times are integer milliseconds UTC. Replies larger "
    "than 512 KiB come in chunks: while `more` is true, another message follows on the same inbox. A request "
    "without a service is answered by the broker with status 503. `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` "
    "answer for every instance, as NATS micro services do.",
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
}
_SERVERS = {"nats": {"host": "127.0.0.1:4222", "protocol": "nats", "description": "See `tickwire url`."}}
_PACKED = (CandleColumns, ArchivedTrades)
"""Messages in MessagePack."""
_PRIVATE = {"tags": [{"name": "private", "description": "Between services; it may change."}]}


class _Channels:
    """Collects the channels and operations of the document, and the messages that they use."""

    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self._used: dict[str, tuple[Message, str]] = {}

    def publish(self, published: Published) -> None:
        """Add a subject on which tickwire publishes."""
        name = self._channel(published.address, published.text, (published.message, published.headers))
        self.operations[f"publish_{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": _references(name, published.message),
            **(_PRIVATE if published.private else {}),
        }

    def answer(self, asked: Asked) -> None:
        """Add a subject on which a service answers, and the channel of its replies."""
        name = self._channel(asked.address, asked.text, (asked.request, asked.headers))
        replies: list[tuple[Message, str]] = [*((kind, "") for kind in asked.replies), (ErrorReply, "Error")]
        reply = self._replies(asked.address, name, *replies)
        self.operations[f"answer_{name}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": _references(name, asked.request),
            "reply": {
                "channel": {"$ref": f"#/channels/{reply}"},
                "messages": _references(reply, *asked.replies, ErrorReply),
            },
            **(_PRIVATE if asked.private else {}),
        }

    def direct_get(self) -> None:
        """Add direct gets, which the broker answers: so without an operation of tickwire."""
        text = "Read a stream of the tape: one message, or with `batch` several and one that ends them."
        name = self._channel(DIRECT, text)
        self.channels[name]["messages"] = {"DirectGet": {"$ref": "#/components/messages/DirectGet"}}
        self._replies(DIRECT, name, *((message, "Stored") for _, _, message, _ in TAPES))

    def messages(self) -> dict[str, Any]:
        """The components of all messages that the channels use."""
        return {name: _message(*each) for name, each in sorted(self._used.items())} | {"DirectGet": DIRECT_GET}

    def _channel(self, address: str, text: str, *members: tuple[Message, str]) -> str:
        name = re.sub(r"\W+", "_", address).strip("_")
        for message, headers in members:
            self._used[message.__name__ + headers] = (message, headers)
        self.channels[name] = {
            "address": address,
            "description": text,
            "messages": {each.__name__: {"$ref": f"#/components/messages/{each.__name__}{h}"} for each, h in members},
        }
        if parameters := re.findall(r"{(\w+)}", address):
            self.channels[name]["parameters"] = {each: {"description": PARAMETERS[each]} for each in parameters}
        return name

    def _replies(self, address: str, name: str, *members: tuple[Message, str]) -> str:
        reply = self._channel(f"{name}_reply", f"Replies to {address}.", *members)
        # The asker's inbox, which NATS carries beside the message.
        self.channels[reply]["address"] = None
        return reply


def document() -> dict[str, Any]:
    """The whole document."""
    _, found = msgspec.json.schema_components(schemas.structs(), ref_template="#/components/schemas/{name}")
    collected = _Channels()
    for published in PUBLISHED:
        collected.publish(published)
    for asked in ASKED:
        collected.answer(asked)
    collected.direct_get()
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "servers": _SERVERS,
        "channels": collected.channels,
        "operations": collected.operations,
        "components": {
            "messages": collected.messages(),
            "schemas": found | {"ErrorReply": _error_schema(found["ErrorReply"])},
        },
    }


def _references(channel: str, *kinds: Message) -> list[dict[str, str]]:
    return [{"$ref": f"#/channels/{channel}/messages/{each.__name__}"} for each in kinds]


def _message(kind: Message, headers: str) -> dict[str, Any]:
    fields = HEADERS.get(headers, {})
    made: dict[str, Any] = {
        "name": kind.__name__,
        "summary": (kind.__doc__ or "").split("\n", 1)[0],
        "contentType": "application/msgpack" if kind in _PACKED else "application/json",
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }
    if fields:
        properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
        made["headers"] = {"type": "object", "properties": properties}
    return made


def _error_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of ErrorReply with every error code and its meaning."""
    kinds: list[type[errors.TickwireError]] = [errors.TickwireError, *errors.TickwireError.__subclasses__()]
    known = {kind.code: kind for kind in kinds if kind.__module__ == errors.__name__}
    text = "; ".join(f"{code} ({kind.status}): {(kind.__doc__ or '').splitlines()[0]}" for code, kind in known.items())
    code = {"type": "string", "description": text, "examples": list(known)}
    return schema | {"properties": schema["properties"] | {"code": code}}


def written() -> str:
    """The document as it is checked in."""
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(written())
