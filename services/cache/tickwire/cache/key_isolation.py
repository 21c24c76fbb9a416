"""A key's files fail alone: what is wrong with them refuses the pages of that key, and of no other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tickwire.cache.cache_folder import CacheFolder
from tickwire.errors import CacheFileError, TickwireError
from tickwire.model.subjects import Key
from tickwire.observe import logs

log = logs.get(__name__)


@contextmanager
def isolated(folder: CacheFolder, key: Key) -> Iterator[None]:
    """Work on one key's files within the block. Raises CacheFileError for what is wrong with these files alone.

    That is a file that cannot be opened in a folder that can be written, and a bug over one key's content, which is
    logged. What concerns the disk (no room, an I/O error, a folder that cannot be written) is raised as the OSError
    that it is: it concerns every key, and is tried again.
    """
    path = folder.data(key)
    try:
        yield
    except TickwireError:
        raise
    except OSError as error:
        its_own = isinstance(error, PermissionError | IsADirectoryError | NotADirectoryError)
        if not its_own or not os.access(folder.directory, os.W_OK | os.X_OK):
            raise
        remedy = "make it a file that the cache may write, or move it away"
        raise CacheFileError(f"{error.filename or path}: {error.strerror}", remedy, path=path) from error
    except Exception as error:
        # Raised here, it would end the process with each delivery of the page, and every other key with it.
        log.exception("a key's files met a bug", **key._asdict())
        raise CacheFileError(f"{key}: the cache met a bug: {error!r}", "see the cache's log", path=path) from error
