"""Every setting, from the sections' fields and docstrings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from reference_pages.markdown import cell, code, prose, table
from tickwire.settings.loading import CREDENTIALS, Settings
from tickwire.settings.sections import ExchangeSettings

HEAD = """# Settings

Made from `shared/tickwire/settings/sections.py`. Each is a key of `tickwire.toml`, and a variable of the
environment, which wins: `nats.url` is `TICKWIRE_NATS_URL`. What is unknown is refused, with the nearest name.
[configuration.md](../configuration.md) shows the most used ones in a file.

- `data_dir` (TICKWIRE_DATA_DIR): the folder of everything that is kept, `{data_dir}` by default.
- `TICKWIRE_CONFIG`: another file than `tickwire.toml` in the current folder.
- Credentials of an exchange come from the environment only: {credentials}, such as `TICKWIRE_BINANCE_API_KEY`.
"""
PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def page() -> str:
    """The page."""
    credentials = ", ".join(f"`TICKWIRE_<EXCHANGE>_{each}`" for each in CREDENTIALS)
    parts = [HEAD.format(data_dir=Settings.model_fields["data_dir"].default, credentials=credentials)]
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            parts += _section(name, kind)
    parts += _section("exchange.<id>", ExchangeSettings)
    return "\n".join(parts)


def _section(name: str, kind: type[BaseModel]) -> Iterator[str]:
    yield f"## [{name}]\n"
    yield prose(kind.__doc__)
    rows = [
        (f"`{key}`", cell(written(field.annotation)), code(default(field)), cell(bounds(field)))
        for key, field in kind.model_fields.items()
    ]
    yield table(("key", "value", "default", "bounds"), rows)


def written(kind: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), [each for each in get_args(kind) if each is not type(None)]
    if origin is Annotated:
        return written(inner[0])
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(written, inner))
    if origin is list:
        return f"list of {written(inner[0])}"
    if origin is dict:
        return f"table of {written(inner[1])}"
    return PLAIN.get(kind, "anything")


def default(field: FieldInfo) -> str:
    """The default as TOML; empty for none."""
    value = field.get_default(call_default_factory=True, validated_data={})
    return "" if value in (None, [], {}) else json.dumps(value, default=str)


def bounds(field: FieldInfo) -> str:
    """The bounds of a number or a text, and what the field's description says."""
    found = [
        f"{sign} {getattr(each, name):,}"
        for each in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(each, name, None) is not None
    ]
    return "; ".join([*found, *([field.description] if field.description else [])])
