"""The archive in an object store: the same files as in a folder, whatever becomes of the store meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from archive_files import suspended_writer
from archive_files.object_store import ObjectStore, credentials
from archive_files.taped import BEGIN, DATE, DAY, HOUR, Taped, message, rows_of, unchecked, write_round
from tickwire.archive_files import days, reading
from tickwire.archive_files.identity import identity_of
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.removal import remove_day
from tickwire.archive_files.retention import Limits, stored_days, to_remove
from tickwire.archive_files.root import Absent, FolderRoot, Root, open_root, read, write
from tickwire.errors import ConfigError, Fenced, StorageError
from tickwire.model.messages.archive import Certificate

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

END = BEGIN + DAY
MANY = 20_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ObjectStore]:
    started = ObjectStore(tmp_path_factory.mktemp("store"))
    with pytest.MonkeyPatch.context() as patch:
        credentials(patch)
        await started.start()
        yield started
        await started.kill()


def feed(name: str) -> ArchivedFeed:
    """A feed of a test's own."""
    return ArchivedFeed("trade", name, "BTC/USDT:USDT")


def rounds(name: str) -> list[list[Taped]]:
    """Two rounds of a day that is watched from its begin to its end."""
    of = feed(name)
    return [
        [(message(until=BEGIN, feed=of), 1, 0), (message(BEGIN, BEGIN + 5, until=BEGIN + 5, feed=of), 2, 1)],
        [(message(BEGIN + HOUR, END, until=END, feed=of), 3, 2)],
    ]


def write_day(root: Root, name: str) -> None:
    """Write the rounds of a day."""
    first, second = rounds(name)
    write_round(root, first, 2)
    write_round(root, second, 3, done=2)


async def test_a_day_in_a_store_is_that_of_a_folder(store: ObjectStore, tmp_path: Path) -> None:
    made = {}
    for root in (FolderRoot(tmp_path), open_root(store.url)):
        root.check()
        assert days.days(root, feed("one"), BEGIN, END)[0].condition == "missing"
        write_day(root, "one")
        before = days.days(root, feed("one"), BEGIN, END + DAY)
        closed = days.close_day(root, feed("one").on(DATE), END, unchecked)
        assert days.close_day(root, feed("one").on(DATE), END, unchecked) == closed
        after = days.days(root, feed("one"), BEGIN, END + DAY)
        names = [root.names(folder) for folder in ("trade", feed("one").folder, feed("one").on(DATE).folder)]
        plain = [msgspec.structs.replace(each, made=0) for each in (*before, closed, *after)]
        made[root.url] = (plain, names, rows_of(root, feed("one")), read(root, feed("one").on(DATE).data))
    folder, stored = made.values()
    assert stored == folder
    assert stored[0][2].condition == "complete"


async def test_a_day_that_is_closed_while_it_is_read_is_read_once(store: ObjectStore, tmp_path: Path) -> None:
    for root in (FolderRoot(tmp_path), open_root(store.url)):
        write_day(root, "two")
        day = feed("two").on(DATE)
        before = [row["timestamp"] for row in rows_of(root, feed("two"))]
        assert before == [BEGIN, BEGIN + 5, BEGIN + HOUR, END]
        # The parts vanish while the second row is waited for; later the day's file is replaced by another.
        read_rows = days.read_rows(root, feed("two"), 0, None, batch_rows=1)
        found = [next(read_rows)]
        days.close_day(root, day, END, unchecked)
        found += [next(read_rows), next(read_rows)]
        late = message(BEGIN + 2 * HOUR, until=END, feed=feed("two"))
        write_round(root, [(late, 4, 3)], 4, done=3)
        days.close_day(root, day, END, unchecked)
        found += read_rows
        times = [round(batch.to_pylist()[0]["timestamp"].timestamp() * 1000) for batch in found]
        # The late row may come, and all others must, once.
        assert [time for time in times if time != BEGIN + 2 * HOUR] == before
        assert times.count(BEGIN + 2 * HOUR) <= 1
        assert len(rows_of(root, feed("two"))) == 5


@pytest.mark.parametrize("number", [1, 2], ids=["its file", "its certificate"])
async def test_who_was_suspended_before_a_file_is_in_place_puts_back_no_older_one(
    number: int, store: ObjectStore, tmp_path: Path
) -> None:
    name = f"suspended{number}"
    for url in (str(tmp_path / "archive"), store.url)[: 3 - number]:
        root, day = open_root(url), feed(name).on(DATE)
        write_day(root, name)
        argv = [sys.executable, suspended_writer.__file__, url, name, str(number)]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        child = await asyncio.to_thread(subprocess.Popen, argv, env=env, stdout=subprocess.PIPE, text=True)
        _, state = await asyncio.to_thread(os.waitpid, child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(state), child.communicate()
        # The next owner gets late rows of the day.
        write_round(root, [(message(BEGIN + 2 * HOUR, until=END, feed=feed(name)), 4, 3)], 4, done=3)
        newer = await asyncio.to_thread(days.close_day, root, day, END, unchecked)
        child.send_signal(signal.SIGCONT)
        said, _ = await asyncio.to_thread(child.communicate)
        assert (child.returncode, "another instance has taken over" in said) == (suspended_writer.REFUSED, True), said
        times = [row["timestamp"] for row in rows_of(root, feed(name), until=END)]
        assert times == [BEGIN, BEGIN + 5, BEGIN + HOUR, BEGIN + 2 * HOUR]
        assert days.read_certificate(root, day) == newer
        assert hashlib.sha256(read(root, day.data)).hexdigest() == newer.sha256
        assert root.names(day.folder) == ["data.parquet", "day.json"]


async def test_a_removed_day_is_named_so_and_late_rows_do_not_make_it_complete(
    store: ObjectStore, tmp_path: Path
) -> None:
    for root in (FolderRoot(tmp_path), open_root(store.url)):
        of = feed("removed")
        day, following = of.on(DATE), of.on(date_of(END))
        write_day(root, "removed")
        days.close_day(root, day, END, unchecked)
        later = [(message(END + HOUR, until=END + DAY, feed=of), 4, 3)]
        write_round(root, later, 4, done=3)
        days.close_day(root, following, END + DAY, unchecked)
        kept = days.days(root, of, END, END + DAY)
        stored = stored_days((path, size) for path, size in root.sizes("trade") if "removed" in path)
        assert [each.day for each in stored] == [day, following]
        certified = days.read_certificate(root, day)
        assert certified is not None
        assert stored[0].bytes == certified.bytes + len(read(root, day.certificate))
        assert [each.day for each in to_remove(stored, Limits(bytes=0), following.date)] == [day]

        def fenced() -> None:
            raise Fenced("another instance has taken over")

        with pytest.raises(Fenced):
            remove_day(root, day, fenced)
        assert days.days(root, of, BEGIN, END) == [certified]
        # A reader is in the middle of the day.
        read_rows = days.read_rows(root, of, 0, None, batch_rows=1)
        found = [next(read_rows)]
        for _ in range(2):
            remove_day(root, day, unchecked)
            assert [(each.condition, each.rows) for each in days.days(root, of, BEGIN, END)] == [("removed", 0)]
        with suppress(StorageError):
            found += list(read_rows)
            # Only a file that was open could be read to its end.
            assert len(found) == 5
        assert days.days(root, of, END, END + DAY) == kept
        assert [row["timestamp"] for row in rows_of(root, of)] == [END, END + HOUR]
        write_round(root, [(message(BEGIN + 7, until=END + DAY, feed=of), 5, 4)], 5, done=4)
        assert days.days(root, of, BEGIN, END)[0].condition == "open"
        late = days.close_day(root, day, END, unchecked)
        assert (late.condition, late.rows) == ("gaps", 1)
        assert [(each.since, each.until, each.reason) for each in late.gaps] == [
            (BEGIN - 1, END, "removed from the archive")
        ]
        assert days.close_day(root, day, END, unchecked) == late


async def test_a_file_that_is_not_written_to_its_end_is_not_there(store: ObjectStore, tmp_path: Path) -> None:
    for root in (FolderRoot(tmp_path), open_root(store.url)):
        write(root, "folder/whole", b"old")

        def fenced() -> None:
            raise Fenced("another instance has taken over")

        with pytest.raises(Fenced), root.writing("folder/whole", fenced) as file:
            file.write(b"new")
        with pytest.raises(ZeroDivisionError), root.writing("folder/whole") as file:
            file.write(b"n" * 20_000_000)
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError), root.writing("folder/other") as file:
            raise ZeroDivisionError
        assert (read(root, "folder/whole"), root.names("folder")) == (b"old", ["whole"])
        with pytest.raises(Absent):
            read(root, "folder/other")
        root.remove("folder/whole")
        root.remove("folder/whole")
        assert root.names("folder") == []


async def test_files_that_vanish_or_are_replaced_between_two_requests_are_listed_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, other, day = open_root(store.url), open_root(store.url), feed("replaced").on(DATE)
    opened, closings = root.opened, list[Certificate]()

    def closed_meanwhile(path: str) -> Any:
        """Open a file of the day, whose owner closes it before the first byte is read."""
        file = opened(path)
        if not closings:
            closings.append(days.close_day(other, day, END, unchecked))
        return file

    monkeypatch.setattr(root, "opened", closed_meanwhile)
    write_day(other, "replaced")
    assert len(reading.list_day(root, day).files) == 1
    # The next file is larger: what is read of it by the size of the old one is no footer.
    late = message(*(BEGIN + n for n in range(MANY)), until=END, feed=feed("replaced"))
    write_round(other, [(late, 4, 3)], 4, done=3)
    closings.clear()
    assert [each.rows for each in reading.list_day(root, day).files] == [3 + MANY]


async def test_a_small_file_that_is_removed_once_it_is_opened_is_absent(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_root(store.url)
    opened = root.opened

    def removed(path: str) -> Any:
        file = opened(path)
        root.remove(path)
        return file

    monkeypatch.setattr(root, "opened", removed)
    write(root, "folder/vanishes", b"data")
    with pytest.raises(Absent):
        read(root, "folder/vanishes")


async def test_an_archive_has_one_name_however_many_ask_for_it_at_first(store: ObjectStore, tmp_path: Path) -> None:
    for root in (FolderRoot(tmp_path / "new"), open_root(store.url.replace("/of/tests", "/new"))):
        found = await asyncio.gather(*(asyncio.to_thread(identity_of, root) for _ in range(4)))
        assert len(set(found)) == 1
        assert identity_of(root) == found[0]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["archive.json"]
    (tmp_path / "new" / "archive.json").write_text("{")
    with pytest.raises(StorageError, match=r"archive\.json: .*; restore it"):
        identity_of(FolderRoot(tmp_path / "new"))


async def test_a_file_that_another_created_meanwhile_is_kept(store: ObjectStore, tmp_path: Path) -> None:
    for root in (FolderRoot(tmp_path / "created"), open_root(store.url.replace("/of/tests", "/created"))):
        root.create("archive.json", b"first")
        # This one had not seen the file before the other wrote it, however long it took from there.
        root.create("archive.json", b"second")
        assert read(root, "archive.json") == b"first"
        assert [path for path, _ in root.sizes("")] == ["archive.json"]
        assert root.names("") == ["archive.json"]


async def test_a_store_that_dies_during_an_upload_keeps_the_old_file(store: ObjectStore) -> None:
    root = open_root(store.url)
    write_day(root, "three")
    day = feed("three").on(DATE)
    first = days.close_day(root, day, END, unchecked)
    late = message(*(BEGIN + n for n in range(MANY)), until=END, feed=feed("three"))
    write_round(root, [(late, 4, 3)], 4, done=3)

    def killed() -> None:
        store.process.kill()

    with pytest.raises(StorageError) as error:
        await asyncio.to_thread(days.close_day, root, day, END, killed)
    assert "\n" not in str(error.value)
    await store.stop()
    await store.start()
    assert (read(root, day.certificate), len(reading.list_day(root, day).files)) == (
        msgspec.json.format(msgspec.json.encode(first), indent=1) + b"\n",
        2,
    )
    again = days.close_day(root, day, END, unchecked)
    assert (again.version, again.rows) == (2, 3 + MANY)
    assert root.names(day.folder) == ["data.parquet", "day.json"]


async def test_what_is_wrong_with_a_root_is_said_in_one_line(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("s3://key:secret@bucket/x", "s3://bucket/x?access_key=1", "s3://bucket/x?scheme=ftp", "s3:///x"):
        with pytest.raises(ConfigError) as refused:
            open_root(url)
        assert "secret@" not in str(refused.value)
    with pytest.raises(StorageError) as error:
        open_root(store.url.replace("//archive", "//elsewhere")).check()
    assert "elsewhere" in str(error.value)
    assert error.value.remedy == "make the bucket, or correct the URL"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageError) as error:
        open_root(store.url).check()
    assert "\n" not in str(error.value)
