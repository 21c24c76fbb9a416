"""Settings: one `tickwire.toml` and `TICKWIRE_*` environment variables, validated, unknown keys refused.

A variable names its setting by the path with `_` for `.` (`TICKWIRE_NATS_URL` is `nats.url`) and wins over the
file. API credentials come from the environment only: `TICKWIRE_BINANCE_API_KEY`, `TICKWIRE_BINANCE_SECRET` and
so on, and never appear in a log or a message.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from tickwire.errors import ConfigError
from tickwire.model import broker_urls
from tickwire.redaction import hide

Level = Literal["debug", "info", "warning", "error"]

CREDENTIALS = {
    "API_KEY": "apiKey",
    "SECRET": "secret",
    "PASSWORD": "password",
    "UID": "uid",
    "PRIVATE_KEY": "privateKey",
    "WALLET_ADDRESS": "walletAddress",
    "TOKEN": "token",
}
"""Endings of credential variables, and the names ccxt has for them (`Exchange.requiredCredentials`)."""


def _hidden(secret: SecretStr) -> SecretStr:
    hide([secret.get_secret_value()])
    return secret


Secret = Annotated[SecretStr, AfterValidator(_hidden)]
"""A setting that no text shows any more once it was read: who is told it may say it again in a refusal."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NatsSettings(_Section):
    """The broker. Without `url`, `tickwire up` embeds one; a cluster's URLs have commas between them.

    With `tls_ca`, or a URL with tls://, nothing is said in plain text: the broker's certificate must come from that
    authority (else the system's), for `tls_hostname` (else the URL's host); `tls_cert` and `tls_key` are our own. The
    streams are kept by so many servers of a cluster as `replicas` says. The password comes from the environment best:
    TICKWIRE_NATS_PASSWORD. Commands and programs wait up to `patience_s` for a service that is not there: it may be
    restarting.

    The embedded one asks for a token, which `tickwire url` prints as a part of its URL. It listens on `port`; without
    it on the one that the data folder had last, else on 4222, else on any that is free. With `websocket_port` it takes
    WebSockets too, on loopback and only from pages of `websocket_origins`, such as "http://localhost:8000"; "*" is any
    page that has the token.
    """

    url: str | None = None
    server: Path | None = Field(default=None, description="nats-server binary to embed instead of the packaged one")
    user: str | None = None
    password: Secret | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_hostname: str | None = None
    replicas: int = Field(default=1, ge=1, le=5)
    connect_timeout_s: float = Field(default=5.0, gt=0)
    patience_s: float = Field(default=60.0, ge=0)
    port: int | None = Field(default=None, ge=1, le=65535)
    websocket_port: int | None = Field(default=None, ge=1, le=65535)
    websocket_origins: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_origins(self) -> NatsSettings:
        if self.websocket_port is not None and not self.websocket_origins:
            raise ValueError('say which pages may connect, such as websocket_origins = ["http://localhost:8000"]')
        return self

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is not None and not broker_urls.is_one(url):
            raise ValueError(broker_urls.HOW)
        return url


class CacheSettings(_Section):
    """The candle cache. `dir` defaults to `<data_dir>/cache`; `partitions` is fixed once data exists.

    `adopt`: take a folder that belonged to another broker without asking, once no cache of that one is at work. `up`
    sets it for its own broker in its own data folder.
    """

    dir: Path | None = None
    adopt: bool = False
    partitions: int = Field(default=8, ge=1, le=1024)


class FetcherSettings(_Section):
    """Fetching. A candle counts as closed `settle_ms` after its end by the exchange's clock.

    One request may ask for up to `max_candles`: 1m candles of 95 years, or 1s candles of a year and a half.
    """

    settle_ms: int = Field(default=1000, ge=0)
    attempts: int = Field(default=8, ge=1)
    backoff_s: float = Field(default=0.5, gt=0)
    max_backoff_s: float = Field(default=30.0, gt=0)
    timeout_s: float = Field(default=30.0, gt=0)
    max_candles: int = Field(default=50_000_000, ge=1)


class TapeSettings(_Section):
    """What the tape keeps: trades for `trades_age_s` or up to `trades_bytes`, changes of books likewise.

    `books_bytes`, `tickers_bytes` and `candles_bytes` have to hold the newest of every feed: 8 books of each, 8 candles
    of each timeframe, one ticker. `ohlcv_bytes` bounds the pages of candles on their way to the cache: what no cache
    takes waits there, and when it is full nothing more is fetched.
    """

    trades_age_s: float = Field(default=86_400.0, ge=60)
    trades_bytes: int = Field(default=1 << 30, ge=1 << 20)
    deltas_age_s: float = Field(default=300.0, ge=10)
    deltas_bytes: int = Field(default=256 << 20, ge=1 << 20)
    books_bytes: int = Field(default=128 << 20, ge=1 << 20)
    tickers_bytes: int = Field(default=64 << 20, ge=1 << 20)
    candles_bytes: int = Field(default=64 << 20, ge=1 << 20)
    ohlcv_bytes: int = Field(default=512 << 20, ge=16 << 20)


class StreamerSettings(_Section):
    """Streaming. `feeds` run always: each is written as for `tickwire start`, such as `trade binance BTC/USDT`.

    After an interruption, live trades wait up to `repair_s` for those in between, which are asked for at most
    `repair_span_s` back. A socket without any sign of life for `silence_s`, or a feed for `feed_silence_s` (a book for
    `book_silence_s`), is opened again. A subscription that the exchange has not acknowledged within `acknowledge_s`,
    by word or by data, is made again. A candle closes `settle_ms` after its end where no later trade says so before.
    `held` bounds the items of one feed that wait for the broker or for a repair. `depth` and `cadence_ms` are those of
    books nobody chose others for; open candles are published every `candle_ms` at most.
    """

    feeds: list[str] = Field(default_factory=list)
    repair_s: float = Field(default=60.0, gt=0)
    repair_span_s: float = Field(default=3600.0, ge=0)
    silence_s: float = Field(default=30.0, gt=0)
    feed_silence_s: float = Field(default=300.0, gt=0)
    book_silence_s: float = Field(default=60.0, gt=0)
    acknowledge_s: float = Field(default=10.0, gt=0)
    settle_ms: int = Field(default=2000, ge=0)
    held: int = Field(default=200_000, ge=1000)
    depth: int = Field(default=20, ge=1, le=1000)
    cadence_ms: int = Field(default=100, ge=0, le=60_000)
    candle_ms: int = Field(default=250, ge=0, le=60_000)


class SinkSettings(_Section):
    """Writing to an InfluxDB at `url`, of `version` 1 (1.x), 2 or 3; `up` runs a sink when there is a URL.

    `database` is the bucket of an InfluxDB 2, which wants `org` too. Credentials come from the environment:
    TICKWIRE_SINK_TOKEN, or TICKWIRE_SINK_USERNAME and TICKWIRE_SINK_PASSWORD for 1.x. Books and candles wait for a
    database that is away for `held_age_s` seconds and in up to `held_bytes`, all feeds together; trades wait as long as
    the tape keeps them. What has to go before it was written is logged as an error, counted in `missed` and a point of
    measurement `gaps`.
    """

    url: str | None = None
    version: Literal[1, 2, 3] = 2
    database: str = Field(default="tickwire", pattern=r'^[^"\\\n]+$')
    org: str | None = None
    token: Secret | None = None
    username: str | None = None
    password: Secret | None = None
    kinds: list[Literal["trade", "book", "candle"]] = Field(default=["trade", "book", "candle"], min_length=1)
    batch: int = Field(default=5000, ge=1, le=100_000, description="points in one request at most")
    gather_ms: int = Field(default=100, ge=0, le=10_000, description="how long points gather for one request")
    held_age_s: float = Field(default=3600.0, ge=60)
    held_bytes: int = Field(default=512 << 20, ge=1 << 20)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("write it as http://host:8086")
        return url

    @field_validator("version", mode="before")
    @classmethod
    def _from_text(cls, version: object) -> object:
        # The environment has texts only.
        return int(version) if isinstance(version, str) and version.isdigit() else version


class LeaseSettings(_Section):
    """Leases end this long after their holder's last sign of life."""

    ttl_s: float = Field(default=2.0, ge=1.0, le=60.0)


class LogSettings(_Section):
    """Logs: `auto` is text on a terminal and JSON elsewhere; `levels` overrides single loggers.

    With `stalls`, a service says each second how long its event loop was held up at most.
    """

    level: Level = "info"
    format: Literal["auto", "text", "json"] = "auto"
    levels: dict[str, Level] = Field(default_factory=dict)
    stalls: bool = False


class MetricsSettings(_Section):
    """Metrics for Prometheus and health over HTTP, off without `port`; `up` gives each process the next port."""

    port: int | None = Field(default=None, ge=1, le=65535)
    host: str = "127.0.0.1"


class ExchangeSettings(_Section):
    """One exchange: `ccxt` is handed to ccxt as it stands.

    `gateway` ("http://host:port") takes the place of every host of the venue: `https://HOST/PATH` is asked as
    `<gateway>/HOST/PATH`.
    """

    ccxt: dict[str, Any] = Field(default_factory=dict)
    gateway: str | None = None
    concurrency: int = Field(default=5, ge=1, le=100)

    @field_validator("gateway")
    @classmethod
    def _is_http(cls, gateway: str | None) -> str | None:
        if gateway is not None and not gateway.startswith(("http://", "https://")):
            raise ValueError("write it as http://host:port")
        return gateway.rstrip("/") if gateway else None


class Settings(BaseSettings):
    """Everything that can be configured."""

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
    leases: LeaseSettings = LeaseSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    exchange: dict[str, ExchangeSettings] = Field(default_factory=dict)

    @property
    def cache_dir(self) -> Path:
        """Where the CSV files are."""
        return self.cache.dir or self.data_dir / "cache"

    def of_exchange(self, exchange: str) -> ExchangeSettings:
        """The settings of one exchange, all defaults where it is not configured."""
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
        """The environment wins over what `load` read from the file."""
        return EnvSettingsSource(settings_cls), init_settings


def load(path: Path | None = None) -> Settings:
    """Read the settings: `path`, else `$TICKWIRE_CONFIG`, else `./tickwire.toml` where it exists.

    Raises ConfigError, one line with the key's path, for an unreadable file, an unknown key, a bad value.
    """
    named = path or (Path(os.environ["TICKWIRE_CONFIG"]) if os.environ.get("TICKWIRE_CONFIG") else None)
    source = named or Path("tickwire.toml")
    table = _read(source) if named or source.exists() else {}
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**table)
    except ValidationError as error:
        raise _explain(error, str(source) if table else "the environment") from error


def credentials(exchange: str) -> dict[str, str]:
    """The API credentials of an exchange from the environment, under ccxt's names; no text shows them any more."""
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


def _explain(error: ValidationError, source: str) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = _nearest(str(first["loc"][-1]), _names(first["loc"][:-1]))
        return ConfigError(f"{source}: unknown key {path}", f"did you mean {near}?" if near else "remove it")
    return ConfigError(f"{source}: {path}: {first['msg']}", "correct the value")


def _names(loc: tuple[int | str, ...]) -> Iterable[str]:
    """The keys that exist in the table at `loc`."""
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


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
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


LEVELS: tuple[Level, ...] = get_args(Level)
