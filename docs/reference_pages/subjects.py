"""Every subject, from the tables that the AsyncAPI document is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reference_pages.markdown import cell, table
from tickwire.model.asyncapi_subjects import (
    ASKED,
    DIRECT,
    HEADERS,
    PARAMETERS,
    PUBLISHED,
    Asked,
    Message,
    Published,
)

HEAD = """# Subjects

Made from the tables that {download}`docs/asyncapi.json <../asyncapi.json>` (AsyncAPI 3) is made of. `{name}` stands
for a part of a subject. Messages link to their fields. An error is an [ErrorReply](messages.md#errorreply) in place of
the reply.
"""


def page() -> str:
    """The page."""
    return "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield HEAD
    yield "## What may be subscribed to\n"
    yield _published(each for each in PUBLISHED if not each.private)
    yield "## What may be requested\n"
    yield _asked(each for each in ASKED if not each.private)
    yield f"`{DIRECT}`, which the broker answers, reads a stream of the tape: one message, or with `batch` several.\n"
    yield "## Parts of subjects\n"
    yield table(("part", "meaning"), [(f"`{{{name}}}`", cell(text)) for name, text in PARAMETERS.items()])
    yield "## Headers\n"
    yield "By the kind of message; all are texts.\n"
    for kind, fields in HEADERS.items():
        yield f"### {kind}\n"
        yield table(("header", "meaning"), [(f"`{name}`", cell(text)) for name, text in fields.items()])
    yield "## Between services\n"
    yield "They may change with any version: do not use them.\n"
    yield _published(each for each in PUBLISHED if each.private)
    yield _asked(each for each in ASKED if each.private)


def _published(found: Iterable[Published]) -> str:
    rows = [(f"`{each.address}`", _link(each.message), each.headers, cell(each.text)) for each in found]
    return table(("subject", "message", "headers", "what"), rows)


def _asked(found: Iterable[Asked]) -> str:
    rows = [
        (f"`{each.address}`", _link(each.request), ", ".join(map(_link, each.replies)), cell(each.text))
        for each in found
    ]
    return table(("subject", "request", "reply", "what"), rows)


def _link(message: Message) -> str:
    return f"[{message.__name__}](messages.md#{message.__name__.lower()})"
