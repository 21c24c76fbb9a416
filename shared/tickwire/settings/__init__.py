"""Settings from one `tickwire.toml` and `TICKWIRE_*` environment variables; validated, unknown keys refused.

A variable is named after its setting with `_` for `.` (`TICKWIRE_NATS_URL` is `nats.url`) and takes precedence over the
file. API credentials come from the environment only (`TICKWIRE_BINANCE_API_KEY`, `TICKWIRE_BINANCE_SECRET`, ...) and
never appear in a log or a message.
"""

from tickwire.settings.loading import CREDENTIALS, Settings, credentials, load, refuse_unknown_variables
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

__all__ = [
    "CREDENTIALS",
    "ArchiveSettings",
    "CacheSettings",
    "ExchangeSettings",
    "FetcherSettings",
    "LeaseSettings",
    "LogSettings",
    "MetricsSettings",
    "NatsSettings",
    "Settings",
    "SinkSettings",
    "StreamerSettings",
    "TapeSettings",
    "WebSettings",
    "credentials",
    "load",
    "refuse_unknown_variables",
]
