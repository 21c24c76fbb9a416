"""Lists the streams of as many partitions as the tape has in accounts.conf: `python deploy/nats/make_accounts.py 16`.

NATS has no wildcard for a part of a name, so what users may do with the streams TRADES-<p> and BOOK_DELTAS-<p> has an
entry for each of them. The entries of partition 0 are repeated for the others; the rest of the file stays as it is.
With `--export` it also enables the users of account EXPORT. Needs Python alone. Reload nats-server afterwards
(`nats-server --signal reload`), or restart it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

PATH = Path(__file__).parent / "accounts.conf"
MOST = 64
"""As many as `tape.partitions` may be."""
ROW = 4
"""Entries of a list on a line."""

_PARTITION = re.compile(r"\b(TRADES|BOOK_DELTAS)-(\d+)\b")
_METADATA = re.compile(r"STREAM\.INFO\.TRADES-0|tickwire\.TRADES-0")
"""The metadata of TRADES-0 state the number of partitions: only the first stream is asked for them."""


def with_partitions(text: str, count: int) -> str:
    """The text of accounts.conf with entries for so many partitions."""
    return "".join(f"{each}\n" for line in text.splitlines() for each in _lines(line, count))


def with_export(text: str) -> str:
    """The text with the lines of account EXPORT's users."""
    return re.sub(r"(?m)^( *)#export ", r"\1", text)


def _lines(line: str, count: int) -> Iterator[str]:
    if line.lstrip().startswith("#") or _METADATA.search(line) or not _PARTITION.search(line):
        yield line
    elif line.lstrip().startswith("{"):
        yield from _repeated(line, count)
    else:
        indent = line[: len(line) - len(line.lstrip())]
        for entry in re.findall(r'"[^"]*"', line):
            entries = list(_repeated(entry, count))
            for start in range(0, len(entries), ROW):
                yield indent + ", ".join(entries[start : start + ROW])


def _repeated(entry: str, count: int) -> Iterator[str]:
    """An entry of partition 0 for each partition; nothing of one of another partition."""
    if (found := _PARTITION.search(entry)) is None:
        yield entry
    elif found[2] == "0":
        yield from (_PARTITION.sub(rf"\g<1>-{number}", entry) for number in range(count))


def main() -> None:
    """Rewrite the file in place."""
    parser = argparse.ArgumentParser(description="List the streams of the tape's partitions in accounts.conf.")
    parser.add_argument("partitions", type=int, help="tape.partitions of tickwire.toml")
    parser.add_argument("file", type=Path, nargs="?", default=PATH, help="accounts.conf (default: the one beside)")
    parser.add_argument("--export", action="store_true", help="enable the users of account EXPORT")
    options = parser.parse_args()
    if not 1 <= options.partitions <= MOST:
        parser.error(f"partitions: 1 to {MOST}")
    text = with_partitions(options.file.read_text(), options.partitions)
    options.file.write_text(with_export(text) if options.export else text)


if __name__ == "__main__":
    main()
