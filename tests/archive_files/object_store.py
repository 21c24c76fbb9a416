"""A real object store that speaks S3 (SeaweedFS) of a test's own: started and killed as often as it likes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.fs
import pytest

from support.forked import Running
from support.ports import free_port
from support.processes import Program

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests"}
"""The environment of whoever uses it."""
BUCKET = "archive"
WEED = Path(sys.executable).with_name("weed")


class ObjectStore(Program):
    """The store, with an empty bucket once it has started first."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._identities = config = folder / "identities.json"
        self._is_started = False
        self.permit("Admin")
        ports = {f"{name}.port{kind}": free_port() for name in ("master", "volume", "filer") for kind in ("", ".grpc")}
        options = {
            "dir": folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.port": self.port,
            "s3.port.grpc": free_port(),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": config,
            "s3.iam": "false",
            "s3.autoCreateBucket": "false",
            "master.telemetry": "false",
            "master.electionTimeout": "1s",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 20,
            **ports,
        }
        given = [f"-{name}={value}" for name, value in options.items()]
        argv: list[str | Path] = [WEED, "-logtostderr=true", "server", "-s3", *given]
        # It takes credentials in its environment for those of an administrator.
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        super().__init__(argv, folder / "log", env)

    def permit(self, *actions: str) -> None:
        """Let its user do only this, soon."""
        keys = dict(zip(("accessKey", "secretKey"), CREDENTIALS.values(), strict=True))
        identity = {"name": "tests", "credentials": [keys], "actions": actions}
        self._identities.write_text(json.dumps({"identities": [identity]}))
        if self._is_started:
            self.process.send_signal(signal.SIGHUP)

    @property
    def url(self) -> str:
        """The root of an archive in the bucket."""
        return f"s3://{BUCKET}/of/tests?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    async def start(self) -> Running:
        """Start it on what it has on disk; returns when it answers."""
        process = await super().start()
        self._is_started = True
        async with asyncio.timeout(100):
            while not await asyncio.to_thread(self._takes_objects):
                await asyncio.sleep(0.05)
        return process

    def _takes_objects(self) -> bool:
        system = pyarrow.fs.S3FileSystem(
            access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
        try:
            system.create_dir(BUCKET)
            with system.open_output_stream(f"{BUCKET}/ready") as file:
                file.write(b"ready")
            with system.open_input_stream(f"{BUCKET}/ready") as file:
                file.read()
        except OSError:
            return False
        return True


def copy_of(store: ObjectStore, folder: Path) -> Path:
    """All that can be seen of an archive in the store, in a folder.

    Objects that vanish or are replaced meanwhile are listed again: a request reads whatever is there. Those that have
    been read are not read again, so that a copy is whole in the end however often the archive writes.
    """
    system, where = pyarrow.fs.FileSystem.from_uri(store.url)
    read: dict[str, tuple[tuple[int, int], bytes]] = {}
    while True:
        before = _listed(system, where)
        with suppress(OSError):
            for path, seen in before.items():
                known = read.get(path)
                # Times are those of a second: what was just written may be replaced within the same one.
                if known is None or known[0] != seen or time.time_ns() - seen[0] < 2_000_000_000:
                    with system.open_input_file(path) as file:
                        read[path] = seen, file.read()
            after = _listed(system, where)
            if all(after.get(path) == seen for path, seen in before.items()):
                return _written(folder / secrets.token_hex(8), {path[len(where) :]: read[path][1] for path in before})


def _written(target: Path, objects: dict[str, bytes]) -> Path:
    target.mkdir(parents=True)
    for name, data in objects.items():
        path = target / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return target


def _listed(system: pyarrow.fs.FileSystem, where: str) -> dict[str, tuple[int, int]]:
    """When each object was written, and its size."""
    found = system.get_file_info(pyarrow.fs.FileSelector(where, allow_not_found=True, recursive=True))
    return {
        each.path: (each.mtime_ns, each.size)
        for each in found
        if each.is_file and not each.base_name.endswith(".writing")
    }


def credentials(patch: pytest.MonkeyPatch) -> None:
    """Let this process use the store; its metadata service is not asked."""
    for name, value in (CREDENTIALS | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        patch.setitem(os.environ, name, value)
