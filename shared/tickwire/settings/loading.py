"""Reads the settings from the file and the environment; refuses unknown keys, and names the nearest known one."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from tickwire.errors import ConfigError
from tickwire.redaction import hide
from tickwire.settings import nats_context
from tickwire.settings.sections import (
    ArchiveSettings,
    CacheSettings,
    ExchangeSettings,
    FetcherSettings,
    LeaseSettings,
    LogSettings,
    MetricsSettings,
    NatsSettings,
    SinkSettings,
    StreamerSettings,
    TapeSettings,
    WebSettings,
)

CREDENTIALS = {
    "API_KEY": "apiKey",
    "SECRET": "secret",
    "PASSWORD": "password",
    "UID": "uid",
    "PRIVATE_KEY": "privateKey",
    "WALLET_ADDRESS": "walletAddress",
    "TOKEN": "token",
}
"""Suffixes of credential variables, and ccxt's names for them (`Exchange.requiredCredentials`)."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="TICKWIRE_", env_nested_delimiter="_", env_nested_max_split=1
    )

    data_dir: Path = Path("tickwire-data")
    nats: NatsSettings = NatsSettings()
    cache: CacheSettings = CacheSettings()
    fetcher: FetcherSettings = FetcherSettings()
    streamer: StreamerSettings = StreamerSettings()
    tape: TapeSettings = TapeSettings()
    sink: SinkSettings = SinkSettings()
    archive: ArchiveSettings = ArchiveSettings()
    leases: LeaseSettings = LeaseSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    web: WebSettings = WebSettings()
    exchange: dict[str, ExchangeSettings] = Field(default_factory=dict)

    @property
    def cache_dir(self) -> Path:
        """The folder of the CSV files."""
        return self.cache.dir or self.data_dir / "cache"

    @property
    def optional_services(self) -> frozenset[str]:
        """The configured ones of the services that not every installation has."""
        roots = {"archive": self.archive.root, "sink": self.sink.place}
        return frozenset(name for name, place in roots.items() if place is not None)

    def of_exchange(self, exchange: str) -> ExchangeSettings:
        """The settings of one exchange; the defaults if it is not configured."""
        return self.exchange.get(exchange, ExchangeSettings())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment takes precedence over the file that `load` read."""
        return EnvSettingsSource(settings_cls), init_settings


def load(path: Path | None = None, *, url: str | None = None, context: str | None = None) -> Settings:
    """Read the settings from `path`, else `$TICKWIRE_CONFIG`, else `./tickwire.toml` if it exists.

    `url` and `context` take precedence over `nats.url` and `nats.context`. What the context has is part of the result.
    Raises ConfigError, which names the key, for an unreadable file, an unknown key or an invalid value.
    """
    named = path or (Path(os.environ["TICKWIRE_CONFIG"]) if os.environ.get("TICKWIRE_CONFIG") else None)
    source = named or Path("tickwire.toml")
    table = _read(source) if named or source.exists() else {}
    refuse_unknown_variables(os.environ)
    try:
        settings = Settings(**table)
    except ValidationError as error:
        raise _explain(error, str(source) if table else "the environment") from error
    return settings.model_copy(update={"nats": _with_context(settings.nats, url, context)})


def _with_context(nats: NatsSettings, url: str | None, context: str | None) -> NatsSettings:
    """The settings of the broker with what their context, or that of $NATS_CONTEXT, adds."""
    if url is not None:
        # Whether it is one is said where it is used.
        nats = nats.model_copy(update={"url": url})
    name = context or nats.context or (os.environ.get(nats_context.VARIABLE) if nats.url is None else None)
    if not name:
        return nats
    own = {each: getattr(nats, each) for each in nats.model_fields_set if getattr(nats, each) is not None}
    added = nats_context.read(name)
    if any(each in own for each in (*nats_context.LOGINS, "token")):
        # A login of its own replaces all of the context's.
        added = {
            each: value for each, value in added.items() if each not in (*nats_context.LOGINS, "password", "token")
        }
    try:
        return NatsSettings(**{**added, **own, "context": name})
    except ValidationError as error:
        raise _explain(error, f"NATS context {name!r}", ("nats",)) from error


def credentials(exchange: str) -> dict[str, str]:
    """The API credentials of an exchange from the environment, by ccxt's names; redacted in all texts from now on."""
    prefix = f"TICKWIRE_{exchange.upper()}_"
    found = {name: os.environ[prefix + end] for end, name in CREDENTIALS.items() if os.environ.get(prefix + end)}
    hide(found.values())
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", "check --config and TICKWIRE_CONFIG") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _explain(error: ValidationError, source: str, section: tuple[str, ...] = ()) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in (*section, *first["loc"]))
    if first["type"] == "extra_forbidden":
        near = _nearest(str(first["loc"][-1]), _names(first["loc"][:-1]))
        return ConfigError(f"{source}: unknown key {path}", f"did you mean {near}?" if near else "remove it")
    # pydantic's prefix of what a validator raised.
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{source}: {path}: {message}", "correct the value")


def _names(loc: tuple[int | str, ...]) -> Iterable[str]:
    """The known keys of the table at `loc`."""
    if loc[:1] == ("exchange",):
        return ExchangeSettings.model_fields
    if not loc:
        return Settings.model_fields
    section = Settings.model_fields[str(loc[0])].annotation
    return section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else ()


def _variables() -> set[str]:
    names = {"TICKWIRE_CONFIG"}
    for name, info in Settings.model_fields.items():
        names.add(f"TICKWIRE_{name.upper()}")
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names.update(f"TICKWIRE_{name.upper()}_{key.upper()}" for key in section.model_fields)
    return names


def refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Raise ConfigError for a variable `TICKWIRE_*` that no setting and no credential has."""
    known = _variables()
    for name in sorted(environ):
        if not name.startswith("TICKWIRE_") or name.upper() in known:
            continue
        if any(name.endswith(f"_{end}") for end in CREDENTIALS):
            continue
        near = _nearest(name, known)
        raise ConfigError(f"unknown environment variable {name}", f"did you mean {near}?" if near else "unset it")


def _nearest(name: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(names), 1)), None)
