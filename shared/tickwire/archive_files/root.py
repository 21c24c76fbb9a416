"""Where the archive's files are: a folder or an object store. A file is written whole, or is not to be seen.

Paths are relative to the root, with `/`. All methods block, and raise StorageError; Absent if a file is not there.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from tickwire.errors import ConfigError, StorageError

PROBE = ".tickwire"
"""A file that is written to find out whether the root is writable."""
TEMPORARY = ".writing"
"""The end of the name of a file that is being written."""
ABANDONED_S = 3600.0
"""A file that nobody wrote to for so long is not being written any more."""
_REMEDIES = {
    errno.ENOSPC: "free some space; nothing is lost, the write is retried",
    errno.EDQUOT: "free some space; nothing is lost, the write is retried",
    errno.EACCES: "make the archive's root writable for this user",
    errno.EPERM: "make the archive's root writable for this user",
    errno.EROFS: "make the archive's root writable for this user",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
}
_OF_STORES = {
    "NETWORK_CONNECTION": "start the store, or correct the URL; nothing is lost, the write is retried",
    "ACCESS_DENIED": "let the archive's user list, read, write and delete in the bucket",
    "INVALID_ACCESS_KEY_ID": "correct AWS_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH": "correct AWS_SECRET_ACCESS_KEY",
    "NO_SUCH_BUCKET": "make the bucket, or correct the URL",
}
"""Remedies by the name of an error in the text of pyarrow's, which has no other type than OSError."""


class Absent(StorageError):
    """There is no such file."""


class Root(Protocol):
    """The root of an archive."""

    @property
    def url(self) -> str:
        """Its folder or URL, without secrets."""

    def check(self) -> None:
        """Write and remove a small file. Raises StorageError if that is not possible."""

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders in a folder, sorted; none if there is no such folder."""

    def opened(self, path: str) -> Any:
        """A file for `pyarrow.parquet.ParquetFile`; the caller closes it."""

    def version(self, path: str) -> object:
        """What changes when a file is replaced, if an open file then reads the new one; else None."""

    def writing(self, path: str, check: Callable[[], None] | None = None) -> AbstractContextManager[BinaryIO]:
        """A file that replaces `path`, durably and at once, when the block ends; not if the block raises.

        `check` is called right before that, when all has been written; if it raises, `path` stays as it was.
        """

    def create(self, path: str, data: bytes) -> None:
        """Write a small file unless it is there: whoever reads it after this call reads the same."""

    def remove(self, path: str) -> None:
        """Remove a file, durably; one that is not there is no error."""

    def remove_folder(self, folder: str) -> None:
        """Remove a folder if it is empty; where folders are only names of files, do nothing."""

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """Paths and bytes of all files below a folder."""

    def sweep(self, folder: str, age_s: float = ABANDONED_S) -> None:
        """Remove unfinished files in a folder to which nobody wrote for `age_s`.

        With 0 all of them: whoever is still writing one, such as a former owner that was suspended, then cannot put it
        in its place, also if its check has passed (docs/decisions/0044).
        """


def open_root(url: str) -> Root:
    """The archive at a folder or an URL. Raises ConfigError; that it can be reached is for `check` to find out."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        return FolderRoot(Path(url))
    if scheme == "s3":
        # pyarrow's S3 client is loaded only where it is used.
        from tickwire.archive_files.object_root import open_object_root

        return open_object_root(url)
    raise ConfigError(f"the root of the archive is {scheme}://…, which is not supported", "name a folder or s3://…")


def read(root: Root, path: str) -> bytes:
    """The bytes of a small file."""
    try:
        with storage_errors(f"read {path}"), root.opened(path) as file:
            data = file.read()
            assert isinstance(data, bytes)
            return data
    except Absent:
        raise
    except StorageError:
        # If it has vanished since it was opened, a store gives any error.
        root.version(path)
        raise


def write(root: Root, path: str, data: bytes, check: Callable[[], None] | None = None) -> None:
    """Replace a small file; `check` as in `Root.writing`."""
    with root.writing(path, check) as file:
        file.write(data)


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names the failed operation and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise Absent(f"cannot {what}: it is not there", "") from error
    except OSError as error:
        if error.errno:
            raise StorageError(f"cannot {what}: {os.strerror(error.errno)}", _REMEDIES.get(error.errno, "")) from error
        text = str(error)
        remedy = next((remedy for name, remedy in _OF_STORES.items() if f"AWS Error {name} " in text), "")
        raise StorageError(f"cannot {what}: {text}", remedy) from error


def taken_away(target: str) -> StorageError:
    """The error for a file that was written, and is not there any more when it is to be put in its place."""
    return StorageError(
        f"cannot write {target}: what was written has been removed",
        "another instance has taken over, or another program removes files of the archive",
    )


class FolderRoot:
    """An archive in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._folder

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._folder)

    def check(self) -> None:
        """See `Root.check`."""
        write(self, PROBE, b"")
        self.remove(PROBE)

    def names(self, folder: str) -> list[str]:
        """See `Root.names`. Files that are still being written are left out."""
        try:
            with storage_errors(f"list {self._folder / folder}"):
                names = [each.name for each in (self._folder / folder).iterdir()]
                return sorted(name for name in names if not name.endswith(TEMPORARY))
        except Absent:
            return []

    def opened(self, path: str) -> BinaryIO:
        """See `Root.opened`. A file that is replaced can still be read."""
        with storage_errors(f"read {self._folder / path}"):
            return open(self._folder / path, "rb")

    def version(self, path: str) -> object:
        """See `Root.version`."""
        return None

    @contextmanager
    def writing(self, path: str, check: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
        """See `Root.writing`."""
        target = self._folder / path
        temporary = _temporary(target)
        with storage_errors(f"write {target}"):
            _make_folders(target.parent)
            try:
                with open(temporary, "xb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                if check is not None:
                    check()
                try:
                    temporary.replace(target)
                except FileNotFoundError as error:
                    raise taken_away(str(target)) from error
                _sync_folder(target.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def create(self, path: str, data: bytes) -> None:
        """See `Root.create`."""
        target = self._folder / path
        temporary = _temporary(target)
        with storage_errors(f"write {target}"):
            _make_folders(target.parent)
            try:
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    pass
                except OSError:
                    # A file system without hard links.
                    temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)

    def remove(self, path: str) -> None:
        """See `Root.remove`."""
        target = self._folder / path
        with storage_errors(f"remove {target}"):
            try:
                target.unlink()
            except FileNotFoundError:
                return
            _sync_folder(target.parent)

    def remove_folder(self, folder: str) -> None:
        """See `Root.remove_folder`."""
        target = self._folder / folder
        with storage_errors(f"remove {target}"):
            try:
                target.rmdir()
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return
            _sync_folder(target.parent)

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Root.sizes`. Files that are still being written, and those that vanish meanwhile, are left out."""
        with storage_errors(f"list {self._folder / folder}"):
            for where, _, names in os.walk(self._folder / folder, onerror=_unless_absent):
                for name in names:
                    path = Path(where, name)
                    if not name.endswith(TEMPORARY):
                        with suppress(FileNotFoundError):
                            yield path.relative_to(self._folder).as_posix(), path.stat().st_size

    def sweep(self, folder: str, age_s: float = ABANDONED_S) -> None:
        """See `Root.sweep`."""
        where = self._folder / folder
        with storage_errors(f"sweep {where}"):
            for each in where.glob(f".*{TEMPORARY}"):
                with suppress(FileNotFoundError):
                    if not age_s or each.stat().st_mtime < time.time() - age_s:
                        each.unlink()


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}{TEMPORARY}")


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
