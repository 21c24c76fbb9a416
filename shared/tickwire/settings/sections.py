"""The sections of the settings: every key of `tickwire.toml`, its bounds and its default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from tickwire.model import broker_urls
from tickwire.model.feeds.layout import ArchivedKind
from tickwire.redaction import hide
from tickwire.settings import nats_context

Level = Literal["debug", "info", "warning", "error"]


def _hidden(secret: SecretStr) -> SecretStr:
    hide([secret.get_secret_value()])
    return secret


Secret = Annotated[SecretStr, AfterValidator(_hidden)]
"""A setting that is redacted in all texts once it was read: a server may repeat it when it refuses it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NatsSettings(_Section):
    """The broker. Without `url`, `tickwire up` embeds one; the URLs of a cluster are separated by commas.

    `tls_ca`, or a URL with tls://, requires TLS: the broker's certificate must be signed by that authority (default:
    the system's) for `tls_hostname` (default: the URL's host); `tls_cert` and `tls_key` are the client's own. Each
    stream is kept by `replicas` servers of a cluster. Set the password in the environment: TICKWIRE_NATS_PASSWORD.
    Commands and programs wait up to `patience_s` for a service that does not answer: it may be restarting.

    The login is `user` with `password`, or `creds` (a credentials file: a JWT and its key), or `nkey` (a file with the
    seed of an NKey), or `token`. `inbox_prefix` begins the subjects of replies (default: _INBOX, with a user
    _INBOX.<user>). `tls_first`: the broker expects TLS before it says anything (its handshake_first). `context` names
    a context of the `nats` command line, whose values hold where none is set here; by default $NATS_CONTEXT, unless
    there is a `url`.

    The embedded broker requires a token, which `tickwire url` prints as part of its URL. It listens on `port`; without
    it on the port that the data folder had last, else on 4222, else on any free one. With `websocket_port` it also
    accepts WebSockets, on loopback and only from pages of `websocket_origins`, such as "http://localhost:8000"; "*"
    is any page that has the token.
    """

    url: str | None = None
    server: Path | None = Field(default=None, description="nats-server binary to embed instead of the packaged one")
    context: str | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    creds: Path | None = None
    nkey: Path | None = None
    inbox_prefix: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")
    tls_first: bool = False
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
    def _has_one_login(self) -> NatsSettings:
        if len([each for each in nats_context.LOGINS if getattr(self, each) is not None]) > 1:
            raise ValueError("give one of user, creds and nkey")
        return self

    @model_validator(mode="after")
    def _names_origins(self) -> NatsSettings:
        if self.websocket_port is not None and not self.websocket_origins:
            raise ValueError('name the pages that may connect, such as websocket_origins = ["http://localhost:8000"]')
        return self

    @field_validator("url")
    @classmethod
    def _is_valid(cls, url: str | None) -> str | None:
        if url is not None and not broker_urls.are_valid(url):
            raise ValueError(broker_urls.REMEDY)
        return url and ",".join(broker_urls.split(url))


class CacheSettings(_Section):
    """The candle cache. `dir` defaults to `<data_dir>/cache`; `partitions` cannot change once data exists.

    `audit`: have what was built from the tape compared with the exchange's own candles once these have settled.

    `adopt`: take over a folder that belonged to another broker without asking, once no cache of that broker runs. `up`
    sets it for its own broker in its own data folder.
    """

    dir: Path | None = None
    adopt: bool = False
    audit: bool = True
    partitions: int = Field(default=8, ge=1, le=1024)


class FetcherSettings(_Section):
    """Fetching. A candle is closed `settle_ms` after its end by the exchange's clock.

    A call is tried `attempts` times, with delays from `backoff_s` to `max_backoff_s`. One fetch request may cover up to
    `max_candles`: 95 years of 1m candles, or a year and a half of 1s candles.
    """

    settle_ms: int = Field(default=1000, ge=0)
    attempts: int = Field(default=8, ge=1)
    backoff_s: float = Field(default=0.5, gt=0)
    max_backoff_s: float = Field(default=30.0, gt=0)
    timeout_s: float = Field(default=30.0, gt=0)
    max_candles: int = Field(default=50_000_000, ge=1)


class TapeSettings(_Section):
    """Retention of the tape: trades for `trades_age_s` or up to `trades_bytes`, book deltas likewise.

    `books_bytes`, `tickers_bytes` and `candles_bytes` must hold the newest messages of every feed: 8 books, 8
    tickers, 8 candles of each timeframe. `ohlcv_bytes` bounds the pages of candles that wait for the cache: when it is
    full, nothing more is fetched. `partitions` is the number of shares of all markets, each owned by one streamer; it
    cannot change once data exists.
    """

    partitions: int = Field(default=8, ge=1, le=64)
    trades_age_s: float = Field(default=86_400.0, ge=60)
    trades_bytes: int = Field(default=1 << 30, ge=1 << 20)
    deltas_age_s: float = Field(default=300.0, ge=10)
    deltas_bytes: int = Field(default=256 << 20, ge=1 << 20)
    books_bytes: int = Field(default=128 << 20, ge=1 << 20)
    tickers_bytes: int = Field(default=64 << 20, ge=1 << 20)
    candles_bytes: int = Field(default=64 << 20, ge=1 << 20)
    ohlcv_bytes: int = Field(default=512 << 20, ge=16 << 20)


class StreamerSettings(_Section):
    """Streaming. `feeds` always run: each is written as for `tickwire start`, such as `trade binance BTC/USDT`.

    After an interruption, live trades wait up to `repair_s` for the missed ones, which are fetched at most
    `repair_span_s` back. A socket that is silent for `silence_s` is opened again, a feed that is silent for
    `feed_silence_s` (a book: `book_silence_s`) subscribed again. So is a feed whose subscription the exchange has
    acknowledged neither by a message nor by data within `acknowledge_s`. A candle closes `settle_ms` after its end, or
    with the first later trade. `held` bounds the items of one feed that wait for the broker or for a repair. `depth`
    and `cadence_ms` apply to books whose subscribers chose none; open candles are published at most every `candle_ms`.
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

    `database` is the bucket of an InfluxDB 2, which also needs `org`. Credentials come from the environment:
    TICKWIRE_SINK_TOKEN, or TICKWIRE_SINK_USERNAME and TICKWIRE_SINK_PASSWORD for 1.x. While the database is
    unavailable, books and candles are retained for `held_age_s` seconds and up to `held_bytes`, all feeds together;
    trades as long as the tape keeps them. Messages that expire before they were written are logged as an error,
    counted in `missed`, and written as a point of measurement `gaps`.

    `plugin` names an installed plug-in that is written to in place of an InfluxDB, with `options` of its own
    (docs/plugins.md).
    """

    url: str | None = None
    plugin: str | None = Field(default=None, min_length=1, max_length=64)
    options: dict[str, Any] = Field(default_factory=dict)
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

    @property
    def place(self) -> str | None:
        """Where points are written; None where no sink is configured."""
        return self.url if self.plugin is None else f"plug-in {self.plugin}"

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("write it as http://host:8086")
        return url

    @field_validator("version", mode="before")
    @classmethod
    def _from_text(cls, version: object) -> object:
        # Environment variables are strings.
        return int(version) if isinstance(version, str) and version.isdigit() else version


class ArchiveSettings(_Section):
    """Archiving the tape in Parquet files below `root`: a folder, or an object store such as "s3://bucket/prefix".

    `up` runs an archive when there is a root. `kinds` are archived: trades, and the deltas of those books whose deltas
    are subscribed to, such as by `tickwire start book … --deltas`; also `candle`, the closed candles that the cache
    gets, and `ticker`, if they are named. These wait for the archive for `held_age_s` seconds, and up to `held_bytes`
    of each of the two kinds.

    A part of an open day is written when `part_rows` rows of a partition of the tape wait, or after `part_minutes`, or
    a third of the time for which the tape keeps them.
    A day is certified when its feed is declared complete beyond the day's end, or else `certify_after_s` after it.

    Of a kind, certified days older than `keep_days` days before the newest one are removed, and the oldest ones while
    all files of the kind have more than `keep_bytes` bytes; without either, nothing is.
    """

    root: str | None = None
    kinds: list[ArchivedKind] = Field(default=["trade", "book_delta"], min_length=1)
    part_rows: int = Field(default=100_000, ge=1, le=10_000_000)
    part_minutes: float = Field(default=10.0, gt=0, le=1440)
    certify_after_s: float = Field(default=3600.0, ge=0)
    held_age_s: float = Field(default=3600.0, ge=60)
    held_bytes: int = Field(default=256 << 20, ge=1 << 20)
    keep_days: dict[ArchivedKind, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    keep_bytes: dict[ArchivedKind, Annotated[int, Field(ge=1 << 20)]] = Field(default_factory=dict)

    @field_validator("root")
    @classmethod
    def _is_not_empty(cls, root: str | None) -> str | None:
        if root is not None and not root.strip():
            raise ValueError("name a folder, or an object store such as s3://bucket/prefix")
        return root


class LeaseSettings(_Section):
    """The session of an instance, and with it its leases, ends `ttl_s` after the last renewal."""

    ttl_s: float = Field(default=2.0, ge=1.0, le=60.0)


class LogSettings(_Section):
    """Logs: `auto` is text on a terminal and JSON elsewhere; `levels` overrides single loggers.

    With `stalls`, a service logs the longest stall of its event loop every second.
    """

    level: Level = "info"
    format: Literal["auto", "text", "json"] = "auto"
    levels: dict[str, Level] = Field(default_factory=dict)
    stalls: bool = False


class MetricsSettings(_Section):
    """Metrics for Prometheus and health over HTTP, off without `port`; `up` gives each process the next port."""

    port: int | None = Field(default=None, ge=1, le=65535)
    host: str = "127.0.0.1"


class WebSettings(_Section):
    """The page at `host` and `port`; `up` serves it where its packages are installed, unless `enabled` is false.

    Without `port` it is 8420; `up` takes another one where that is in use. An address that other machines reach needs a
    password (set it in the environment: TICKWIRE_WEB_PASSWORD; any user name goes with it), or a proxy that names the
    user in header `user_header` and passes no such header of a client's. `names` are the names, beside addresses and
    localhost, by which browsers ask for the page.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=1, le=65535)
    password: Secret | None = None
    user_header: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+$")
    names: list[str] = Field(default_factory=list)


class ExchangeSettings(_Section):
    """One exchange: `ccxt` is passed to ccxt unchanged.

    `gateway` ("http://host:port") replaces every host of the venue: `https://HOST/PATH` is requested as
    `<gateway>/HOST/PATH`. At most `concurrency` calls run at once.
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
