"""Choices that the command line offers; imported by every command, so it imports nothing heavy."""

from __future__ import annotations

from enum import Enum


class Format(str, Enum):
    """How candles are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class Service(str, Enum):
    """The services that can be run."""

    fetcher = "fetcher"
    cache = "cache"


class Level(str, Enum):
    """Levels of log messages."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
