"""Which archive a root has: `archive.json`, which moves with its files. Blocks.

How far streams are archived is at the broker. There it belongs to one root: another folder has nothing of what came
before, though the broker says that it is archived.
"""

from __future__ import annotations

import secrets

from msgspec import Struct

from tickwire.archive_files.root import Absent, Root, read
from tickwire.errors import BadRequest, StorageError
from tickwire.model import messages
from tickwire.model.subjects import Name

NAME = "archive.json"


class Identity(Struct, frozen=True, kw_only=True):
    """The archive of a root: a name of its own."""

    id: Name


def identity_of(root: Root) -> str:
    """The id of the archive of a root, which gets one if it has none. Raises StorageError."""
    try:
        return _read(root)
    except Absent:
        root.create(NAME, messages.encode(Identity(id=secrets.token_hex(8))) + b"\n")
        # Another instance may have been first.
        return _read(root)


def _read(root: Root) -> str:
    try:
        return messages.decode(read(root, NAME), Identity).id
    except BadRequest as error:
        raise StorageError(
            f"{NAME}: {error.message}", "restore it, or remove it: feeds are then followed anew"
        ) from error
