"""Columns of the archive's files, as Arrow schemas, and how Parquet stores them."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from tickwire.archive_files.file_meta import KEY, VERSION, FileMeta
from tickwire.errors import BadRequest, StorageError

_MS = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())

TRADES = pa.schema(
    [
        pa.field("timestamp", _MS, nullable=False),
        pa.field("received", _MS, nullable=False),
        pa.field("id", pa.string()),
        pa.field("side", _WORD),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("amount", pa.float64(), nullable=False),
        pa.field("source", _WORD, nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
    ]
)
"""A row for each trade: the exchange's time, that of receipt, the taker's side; `sequence` is of the tape's message."""

_SCHEMAS = {"trade": TRADES}

ROW_GROUP = 131_072
"""Most rows of a row group: what a writer and a reader have in memory."""

WRITING: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": ["side", "source", "price", "amount"],
    "column_encoding": {
        "timestamp": "DELTA_BINARY_PACKED",
        "received": "DELTA_BINARY_PACKED",
        "sequence": "DELTA_BINARY_PACKED",
        "id": "DELTA_BYTE_ARRAY",
    },
    "write_page_checksum": True,
    "coerce_timestamps": "ms",
}
"""Options of `pyarrow.parquet.ParquetWriter`."""


def schema_of(kind: str) -> Any:
    """The columns of a kind. Raises BadRequest if it is not archived."""
    if kind not in _SCHEMAS:
        raise BadRequest(f"{kind!r} is not archived", f"the archive has {', '.join(_SCHEMAS)}")
    return _SCHEMAS[kind]


def with_meta(schema: Any, meta: FileMeta) -> Any:
    """The schema of a file with this metadata."""
    return schema.with_metadata({KEY: msgspec.json.encode(meta)})


def meta_of(metadata: dict[bytes, bytes] | None, path: str) -> FileMeta:
    """What a file says of itself. Raises StorageError if it is not the archive's, or of a later version."""
    text = (metadata or {}).get(KEY)
    if text is None:
        raise StorageError(f"{path} was not written by the archive", "move the file out of the archive's folder")
    try:
        version = msgspec.json.decode(text, type=dict).get("version")
        if not isinstance(version, int) or version > VERSION:
            raise StorageError(f"{path} has version {version!r}, and this is of {VERSION}", "use a newer tickwire")
        return msgspec.json.decode(text, type=FileMeta)
    except msgspec.MsgspecError as error:
        raise StorageError(f"the metadata of {path} cannot be read: {error}", "restore the file") from error
