"""Isolates failures of one key's files: they reject the pages of that key, and of no other."""

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
    """Work on one key's files within the block. Raises CacheFileError for failures of these files alone.

    These are a file that cannot be opened although the folder is writable, and a bug that one key's content causes,
    which is logged. Failures of the disk (full, I/O error, a folder that is not writable) are raised as OSError: they
    concern every key, and are retried.
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
        # Not raised: it would end the process, and so all other keys, with each delivery of the page.
        log.exception("a bug in handling a key's files", **key._asdict())
        raise CacheFileError(f"{key}: a bug in the cache: {error!r}", "see the cache's log", path=path) from error
