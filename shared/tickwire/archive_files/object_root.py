"""An archive in an object store that speaks S3, through pyarrow's file system.

A file is uploaded under a temporary name, then copied to its own by the store: an object appears at once and whole, and
what an upload that failed or was given up leaves behind is never under a name that readers know.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

import pyarrow.fs as pa_fs

from tickwire.archive_files.root import ABANDONED_S, PROBE, TEMPORARY, Absent, storage_errors, taken_away, write
from tickwire.errors import ConfigError

CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 30
SETTLE_S = 2.0
"""How long the store may take from the time that it gives an object until it lists the object. S3 has no upper bound in
writing; listings are consistent with answered requests, and times are of whole seconds."""
ATTEMPTS = 3
"""Of a request; whoever writes tries again after longer."""
_OPTIONS = ("endpoint_override", "region", "scheme")
_FORM = "write s3://bucket/prefix?region=… or ?endpoint_override=host:port&scheme=http"


def open_object_root(url: str) -> ObjectRoot:
    """The archive at `s3://bucket/prefix?endpoint_override=host:port&scheme=http&region=…`. Raises ConfigError.

    Credentials are those of the environment, as other tools for S3 read them: AWS_ACCESS_KEY_ID and others.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigError(
            "the root of the archive contains credentials", "set AWS_ACCESS_KEY_ID and its secret instead"
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if not parts.hostname or parts.fragment or not options.keys() <= set(_OPTIONS):
        raise ConfigError(f"the root of the archive, {url}, is not an URL of S3", _FORM)
    if options.get("scheme", "https") not in ("http", "https"):
        raise ConfigError(f"the scheme of the archive's root is {options['scheme']!r}", "it is http or https")
    system = pa_fs.S3FileSystem(
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=pa_fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )
    return ObjectRoot(url, system, f"{parts.netloc}{parts.path.rstrip('/')}")


class ObjectRoot:
    """An archive under a prefix of a bucket."""

    def __init__(self, url: str, system: Any, prefix: str) -> None:
        self._url = url
        self._system = system
        self._prefix = prefix

    @property
    def url(self) -> str:
        """The URL."""
        return self._url

    def check(self) -> None:
        """See `Root.check`."""
        write(self, PROBE, b"")
        self.remove(PROBE)

    def names(self, folder: str) -> list[str]:
        """See `Root.names`. Files that are still being written are left out."""
        return sorted(each.base_name for each in self._infos(folder) if not each.base_name.endswith(TEMPORARY))

    def _infos(self, folder: str, recursive: bool = False) -> list[Any]:
        where = f"{self._prefix}/{folder}"
        with storage_errors(f"list {where}"):
            wanted = pa_fs.FileSelector(where, allow_not_found=True, recursive=recursive)
            found: list[Any] = self._system.get_file_info(wanted)
            return found

    def opened(self, path: str) -> Any:
        """See `Root.opened`."""
        with storage_errors(f"read {self._prefix}/{path}"):
            return self._system.open_input_file(f"{self._prefix}/{path}")

    def version(self, path: str) -> object:
        """See `Root.version`: an open file reads whatever is there."""
        with storage_errors(f"read {self._prefix}/{path}"):
            info = self._system.get_file_info(f"{self._prefix}/{path}")
        if info.type == pa_fs.FileType.NotFound:
            raise Absent(f"cannot read {self._prefix}/{path}: it is not there", "")
        return info.mtime_ns, info.size

    @contextmanager
    def writing(self, path: str, check: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
        """See `Root.writing`."""
        target = f"{self._prefix}/{path}"
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(8)}{TEMPORARY}"
        with storage_errors(f"write {target}"):
            try:
                with self._system.open_output_stream(temporary) as stream:
                    yield stream
                if check is not None:
                    check()
                try:
                    self._system.copy_file(temporary, target)
                except OSError as error:
                    # Its type does not tell.
                    if self._system.get_file_info(temporary).type == pa_fs.FileType.NotFound:
                        raise taken_away(target) from error
                    raise
            finally:
                # What is left is swept.
                with suppress(OSError):
                    self._system.delete_file(temporary)

    def create(self, path: str, data: bytes) -> None:
        """See `Root.create`. pyarrow has no conditional request, so each writer adds a claim, and the oldest counts.

        The store gives the times of claims, so a slow writer is late and never first. A claim is removed once the file
        is there: a listing without the oldest claim has the file.
        """
        target = f"{self._prefix}/{path}"
        folder, _, name = path.rpartition("/")
        begin = f".{name}.claim."
        claim = f"{folder}/{begin}{secrets.token_hex(8)}{TEMPORARY}".lstrip("/")
        try:
            write(self, claim, data)
            time.sleep(SETTLE_S)
            with storage_errors(f"write {target}"):
                for _ in range(ATTEMPTS):
                    listed = self._infos(folder)
                    if any(each.base_name == name for each in listed):
                        return
                    oldest = min((each.mtime_ns, each.path) for each in listed if each.base_name.startswith(begin))[1]
                    try:
                        self._system.copy_file(oldest, target)
                        return
                    except OSError:
                        # Its writer may have removed the claim, as the file is there.
                        if self._system.get_file_info(oldest).type != pa_fs.FileType.NotFound:
                            raise
        finally:
            self.remove(claim)

    def remove(self, path: str) -> None:
        """See `Root.remove`."""
        with storage_errors(f"remove {self._prefix}/{path}"), suppress(FileNotFoundError):
            self._system.delete_file(f"{self._prefix}/{path}")

    def remove_folder(self, folder: str) -> None:
        """See `Root.remove_folder`. The store may keep an object in place of an empty folder, which is none."""

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """See `Root.sizes`. Files that are still being written are left out."""
        for each in self._infos(folder, recursive=True):
            if each.is_file and not each.base_name.endswith(TEMPORARY):
                yield each.path.removeprefix(f"{self._prefix}/"), each.size

    def sweep(self, folder: str, age_s: float = ABANDONED_S) -> None:
        """See `Root.sweep`. Parts of uploads that never ended are for the bucket's lifecycle rules."""
        for each in self._infos(folder):
            if each.base_name.endswith(TEMPORARY) and (not age_s or each.mtime_ns < (time.time() - age_s) * 1e9):
                self.remove(f"{folder}/{each.base_name}")
