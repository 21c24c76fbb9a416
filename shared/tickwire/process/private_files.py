"""Files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

from tickwire.errors import StorageError

UMASK = 0o077
"""Files that a process creates with it are accessible to its user only."""


def write(path: Path, data: bytes) -> None:
    """Replace a file; it has mode 0600 from the start. Raises StorageError."""
    temporary = path.with_name(f"{path.name}.new")
    try:
        # An existing file may be readable by others.
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", "check its permissions and its disk") from error
