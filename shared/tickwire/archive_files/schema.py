"""Columns of the archive's files, as Arrow schemas, and how Parquet stores them."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from tickwire.archive_files.file_meta import KEY, VERSION, FileMeta
from tickwire.errors import BadRequest, StorageError
from tickwire.model import messages

_decode_meta = messages.decoder(FileMeta)
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

BOOK_DELTAS = pa.schema(
    [
        pa.field("timestamp", _MS, nullable=False),
        pa.field("received", _MS, nullable=False),
        pa.field("side", _WORD),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("amount", pa.float64(), nullable=False),
        pa.field("is_snapshot", pa.bool_(), nullable=False),
        pa.field("update", pa.int64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
    ]
)
"""A row for each level that changed: its new amount, 0 if it was removed. The levels of a snapshot begin a new book;
one without levels is a row without `side`. `update` is the exchange's number."""

TICKERS = pa.schema(
    [
        pa.field("timestamp", _MS, nullable=False),
        pa.field("received", _MS, nullable=False),
        *(
            pa.field(name, pa.float64())
            for name in (
                "last", "bid", "bid_amount", "ask", "ask_amount", "open", "high", "low", "volume", "quote_volume",
                "mark", "mid",
            )
        ),
        pa.field("conflated", pa.int64(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
    ]
)  # fmt: skip
"""A row for each message: the state of the ticker then. `conflated` updates before it had no message."""

CANDLES = pa.schema(
    [
        pa.field("timestamp", _MS, nullable=False),
        pa.field("timeframe", _WORD, nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in ("open", "high", "low", "close", "volume")),
        pa.field("source", _WORD, nullable=False),
        pa.field("origin", _WORD),
        pa.field("sequence", pa.int64(), nullable=False),
    ]
)
"""A row for each closed candle, named by its open time; `sequence` is of its page in stream ARCHIVE_CANDLES."""

_SCHEMAS = {"trade": TRADES, "book_delta": BOOK_DELTAS, "ticker": TICKERS, "candle": CANDLES}

ROW_GROUP = 131_072
"""Most rows of a row group: what a writer and a reader have in memory."""

_PLAIN = ("is_snapshot",)
_ENCODINGS = {
    "timestamp": "DELTA_BINARY_PACKED",
    "received": "DELTA_BINARY_PACKED",
    "update": "DELTA_BINARY_PACKED",
    "sequence": "DELTA_BINARY_PACKED",
    "conflated": "DELTA_BINARY_PACKED",
    "id": "DELTA_BYTE_ARRAY",
}
"""Of columns, by name."""


def schema_of(kind: str) -> Any:
    """The columns of a kind. Raises BadRequest if it is not archived."""
    if kind not in _SCHEMAS:
        raise BadRequest(f"{kind[:40]!r} is not archived", f"the archive has {', '.join(_SCHEMAS)}")
    return _SCHEMAS[kind]


def writing_of(kind: str) -> dict[str, Any]:
    """Options of `pyarrow.parquet.ParquetWriter` for the files of a kind. Raises BadRequest if it is not archived."""
    names = schema_of(kind).names
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [name for name in names if name not in _ENCODINGS and name not in _PLAIN],
        "column_encoding": {name: _ENCODINGS[name] for name in names if name in _ENCODINGS},
        "write_page_checksum": True,
        "coerce_timestamps": "ms",
    }


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
        return _decode_meta(text)
    except msgspec.MsgspecError as error:
        raise StorageError(f"the metadata of {path} cannot be read: {error}", "restore the file") from error
