"""The bytes of a data file are read as they are needed, also while another program shortens it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache.file_view import FileView

pytestmark = pytest.mark.pure

READ = """
import os, sys
from pathlib import Path
from cache.stored import KEY, data_file, opened, page
from tickwire.errors import StorageError

folder = Path(sys.argv[1])
store = opened(folder)
store.commit([(1, page(list(range(1, 40_000))))])
with store.snapshot(KEY) as snapshot:
    tables = snapshot.tables(None, None)
    rows = next(tables).rows
    os.truncate(data_file(folder), 100_000)
    try:
        for table in tables:
            rows += table.rows
    except StorageError as error:
        print(rows, error)
"""


def test_a_file_that_another_program_shortens_ends_the_read_and_not_the_process(tmp_path: Path) -> None:
    """As an editor does that saves it. To touch a page behind the end of a mapped file is SIGBUS."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows, _, said = done.stdout.partition(" ")
    assert 0 < int(rows) < 40_000
    assert "another program changes the file" in said


@given(data=st.binary(max_size=2_000), asked=st.tuples(st.integers(0, 2_100), st.integers(0, 2_100)))
def test_slices_and_searches_are_those_of_the_bytes(data: bytes, asked: tuple[int, int]) -> None:
    text = data.replace(b"x", b"\n")
    start, end = asked
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.flush()
        view = FileView(file.fileno(), len(text))
    # The view does not need the descriptor that it was made of.
    assert len(view) == len(text)
    assert view[start:end] == text[start:end]
    assert view[:] == text
    end = min(end, len(text))
    assert view.find(b"\n", start, end) == text.find(b"\n", start, end)
    assert view.rfind(b"\n", start, end) == text.rfind(b"\n", start, end)
