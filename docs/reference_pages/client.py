"""The client, from its signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_overloads

import msgspec

import tickwire.client as package
from reference_pages.markdown import prose
from tickwire.errors import TickwireError

HEAD = """# Python client

Made from the signatures and docstrings of `tickwire.client`. Times are milliseconds since 1970 (UTC); `since` and
`until` also take a datetime, ISO 8601, or an age such as `30d`. Expected failures raise a [TickwireError](#errors).
"""
FIRST = ("connect", "connect_sync", "Client", "SyncClient")


def page() -> str:
    """The page."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    public = {name: getattr(package, name) for name in package.__all__}
    errors = {name: each for name, each in public.items() if isinstance(each, type) and issubclass(each, Exception)}
    yield HEAD
    for name in (*FIRST, *sorted(public.keys() - errors.keys() - set(FIRST))):
        each = public[name]
        yield f"## {name}\n"
        if inspect.isclass(each):
            yield from _class(each)
        else:
            yield from _function(name, each)
    yield "## Errors\n"
    yield "Each has a `code`, a message of one line, and a remedy.\n"
    for name, each in errors.items():
        code = f" (`{each.code}`)" if issubclass(each, TickwireError) else ""
        yield f"### {name}{code}\n"
        yield prose(each.__doc__)


def _class(kind: type) -> Iterator[str]:
    yield prose(kind.__doc__)
    if issubclass(kind, msgspec.Struct):
        fields = ", ".join(each.name for each in msgspec.structs.fields(kind))
        yield f"Fields: {fields}.\n"
    for name, each in inspect.getmembers_static(kind):
        if name.startswith("_") or not _is_ours(kind, name):
            continue
        if isinstance(each, property):
            yield f"### {kind.__name__}.{name}\n"
            yield prose(each.__doc__)
        elif callable(function := inspect.unwrap(getattr(kind, name))) and each.__doc__:
            yield f"### {kind.__name__}.{name}\n"
            yield from _function(name, function)


def _is_ours(kind: type, name: str) -> bool:
    """Whether a package of ours defines it, and not msgspec or Python."""
    return any(name in vars(each) for each in kind.__mro__ if each.__module__.startswith("tickwire."))


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    signatures = [_signature(name, each) for each in get_overloads(function) or [function]]
    yield "```python\n" + "\n".join(signatures) + "\n```\n"
    yield prose(function.__doc__)


def _signature(name: str, function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function)
    kept = [each for each in parameters.parameters.values() if each.name != "self"]
    shown = str(parameters.replace(parameters=kept)).replace("'", "")
    word = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{word} {name}{shown}"
