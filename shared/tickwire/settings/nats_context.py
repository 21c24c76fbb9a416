"""Contexts of the `nats` command line: how to reach a broker, under a name (ADR-21 of nats-io).

`nats context add` writes `~/.config/nats/context/<name>.json`, or below `$XDG_CONFIG_HOME`. Its fields become settings.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tickwire.errors import ConfigError

VARIABLE = "NATS_CONTEXT"
"""Names the context where neither nats.url nor nats.context is set, as for the `nats` command line."""
DEFAULT_URL = "nats://localhost:4222"
LOGINS = ("user", "creds", "nkey")
"""Of these a broker gets one."""
OF_LOGINS = (*LOGINS, "password", "token")

_VALUES = ("token", "user", "password", "inbox_prefix", "tls_first")
_FILES = {"creds": "creds", "nkey": "nkey", "cert": "tls_cert", "key": "tls_key", "ca": "tls_ca"}
"""Fields that name files, and the settings for them."""
_REMARKS = ("name", "description", "color_scheme")


def read(name: str) -> dict[str, Any]:
    """The settings of `nats` that a context has, by name. Raises ConfigError."""
    fields = _fields(name)
    known = {"url", *_VALUES, *_FILES, *_REMARKS}
    if unknown := sorted(fields.keys() - known):
        raise _wrong(name, f"{', '.join(unknown)}: not supported by tickwire", "use a context without it")
    if len(several := [each for each in LOGINS if each in fields]) > 1:
        raise _wrong(name, f"{' and '.join(several)} are two logins", "keep one of them")
    found: dict[str, Any] = {each: fields[each] for each in _VALUES if each in fields}
    found["url"] = _urls(fields.get("url") or DEFAULT_URL)
    for field, setting in _FILES.items():
        if field in fields:
            found[setting] = _path(name, field, str(fields[field]))
    return found


def _fields(name: str) -> dict[str, Any]:
    """The fields that have a value."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nats" / "context"
    path = folder / f"{name}.json"
    if not name or ".." in name or os.sep in name:
        raise ConfigError(f"{name!r} cannot be the name of a NATS context", "`nats context ls` lists them")
    try:
        fields = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in folder.glob("*.json"))) or "none"
        raise ConfigError(f"there is no NATS context {name!r} in {folder}", f"there are: {known}") from None
    except OSError as error:
        raise _wrong(name, f"cannot read {path}: {error.strerror}", "correct its permissions") from error
    except ValueError as error:
        raise _wrong(name, f"{path} is not valid JSON", "`nats context edit` corrects it") from error
    if not isinstance(fields, dict):
        raise _wrong(name, f"{path} is not a JSON object", "`nats context edit` corrects it")
    return {field: value for field, value in fields.items() if value not in ("", None, False)}


def _urls(urls: str) -> str:
    """URLs that have a scheme: the `nats` command line adds it."""
    return ",".join(each if "://" in each else f"nats://{each}" for each in re.split(r"\s*,\s*", urls.strip()) if each)


def _path(name: str, field: str, text: str) -> str:
    """A path with its `~` and its variables replaced, as the `nats` command line does."""
    if "://" in text:
        scheme = text.split("://", 1)[0]
        raise _wrong(name, f"{field} from {scheme}:// is not supported by tickwire", "name a file")
    return os.path.expandvars(Path(text).expanduser())


def _wrong(name: str, what: str, remedy: str) -> ConfigError:
    return ConfigError(f"NATS context {name!r}: {what}", remedy)
