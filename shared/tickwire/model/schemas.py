"""JSON Schemas of all messages, generated from the Structs: `python -m tickwire.model.schemas docs/schemas`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from tickwire.model.feeds import control as streamer
from tickwire.model.feeds import tape
from tickwire.model.messages import (
    archive,
    archive_writing,
    archived_book,
    archived_trades,
    archiving,
    cache,
    control,
    errors,
    fetch,
    leases,
    markets,
    pages,
    replay,
    sink,
)

_MODULES = (
    errors,
    pages,
    fetch,
    markets,
    cache,
    control,
    sink,
    archive,
    archiving,
    archived_trades,
    archive_writing,
    archived_book,
    replay,
    leases,
    tape,
    streamer,
)
"""In the order of the generated documents."""


def structs() -> list[type[msgspec.Struct]]:
    """Every message, in the order of the generated documents."""
    return [
        item
        for module in _MODULES
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, msgspec.Struct) and item.__module__ == module.__name__
    ]


def schema(kind: type[msgspec.Struct]) -> str:
    """The JSON Schema (2020-12) of one message, as it is checked in."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
    return json.dumps(document, indent=2) + "\n"


def write(folder: Path) -> None:
    """Write `<Message>.json` for each message into `folder`, and remove the files of messages that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = structs()
    for stale in set(folder.glob("*.json")) - {folder / f"{kind.__name__}.json" for kind in kinds}:
        stale.unlink()
    for kind in kinds:
        (folder / f"{kind.__name__}.json").write_text(schema(kind))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
