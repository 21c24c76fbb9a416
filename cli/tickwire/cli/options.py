"""Choices that the command line offers; imported by every command, so it imports nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How candles are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class Service(StrEnum):
    """The services that can be run."""

    fetcher = "fetcher"
    streamer = "streamer"
    cache = "cache"
    sink = "sink"


class Level(StrEnum):
    """Levels of log messages."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
