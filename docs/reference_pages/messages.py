"""Every message, from its Struct by way of its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from reference_pages.markdown import cell, prose, table
from tickwire.model import schemas

HEAD = """# Messages

Made from the Structs in `shared/tickwire/model`. Messages are JSON, but for [CandleColumns](#candlecolumns) and
[ArchivedTrades](#archivedtrades), which are MessagePack. Each has a JSON Schema in `docs/schemas`. Times are
milliseconds since 1970, UTC. Fields may be added; a reader ignores what it does not know.
"""


def page() -> str:
    """The page."""
    kinds = schemas.structs()
    names = {each.__name__ for each in kinds}
    return "\n".join([HEAD, *(part for kind in kinds for part in _of(kind, names))])


def _of(kind: type[msgspec.Struct], names: set[str]) -> Iterator[str]:
    schema = json.loads(schemas.schema(kind))["$defs"][kind.__name__]
    yield f"## {kind.__name__}\n"
    yield prose(kind.__doc__)
    yield f"{{download}}`schemas/{kind.__name__}.json <../schemas/{kind.__name__}.json>`\n"
    required = schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
        rows.append((f"`{name}`", cell(written(field, names)), cell(default), cell(bounds(field))))
    yield table(("field", "value", "default", "bounds"), rows) if rows else "No fields.\n"


def written(field: dict[str, Any], names: set[str]) -> str:
    """The type of a schema, in words; messages link to theirs."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name in names else name
    if "anyOf" in field:
        return " or ".join(written(each, names) for each in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{json.dumps(each)}`" for each in field["enum"])
    if field.get("type") == "array":
        places = [written(each, names) for each in field.get("prefixItems", ())]
        inner = f"({', '.join(places)})" if places else written(field.get("items") or {}, names)
        return f"list of {inner}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"table of {written(field['additionalProperties'], names)}"
    return str(field.get("type", "anything"))


def bounds(field: dict[str, Any]) -> str:
    """The bounds of a number, a text or a list."""
    words = {"minimum": "≥ {:,}", "maximum": "≤ {:,}", "exclusiveMinimum": "> {:,}", "maxLength": "{:,} characters"}
    words |= {"minLength": "at least {:,} characters", "maxItems": "{:,} items", "minItems": "at least {:,} items"}
    found = [text.format(field[name]) for name, text in words.items() if name in field]
    return "; ".join([*found, *([f"`{field['pattern']}`"] if "pattern" in field else [])])
