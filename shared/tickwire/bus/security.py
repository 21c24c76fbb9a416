"""Login, TLS, and what a refusal of the broker means: one line with its remedy.

The server reports a missing permission some time after the publish, and nats-py only to its error callback.
"""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import urlsplit

from tickwire.bus import login
from tickwire.bus.natspy import PlainText
from tickwire.errors import BrokerUnavailable, ConfigError, Forbidden, TickwireError
from tickwire.model import broker_urls
from tickwire.model.feeds.layout import PARTITIONED
from tickwire.settings import NatsSettings

_OF_PARTITION = re.compile(rf"\.({'|'.join(PARTITIONED.values())})-\d+(\.|$)")
"""In a request about a stream of a partition of the tape."""
_DENIED = re.compile(r"Permissions Violation for (Publish|Subscription) to \"([^\"]*)\"")
_UNAUTHORIZED = re.compile("authorization violation|authentication (timeout|expired|revoked)", re.IGNORECASE)
_TLS_SCHEMES = ("tls", "wss")
_OURS = frozenset(
    {"md", "tape", "ohlcv", "jobs", "control", "archive", "cache", "fetcher", "streamer", "sink", "tickwire"}
)
"""First tokens of the subjects of tickwire. Subjects of the broker begin with $."""


def login_options(settings: NatsSettings, url: str) -> dict[str, Any]:
    """Options of nats-py's `connect` for the login and for TLS. Raises ConfigError."""
    options = login.options(settings, url)
    if is_ours(options.get("inbox_prefix", login.INBOX)):
        raise ConfigError(
            f"nats.inbox_prefix: {options['inbox_prefix']} is a subject of tickwire", "choose one such as _INBOX.desk"
        )
    if wants_tls(settings, url):
        options["tls"] = tls_context(settings)
        options["tls_handshake_first"] = settings.tls_first
    if settings.tls_hostname is not None:
        options["tls_hostname"] = settings.tls_hostname
    return options


def wants_tls(settings: NatsSettings, url: str) -> bool:
    """Whether nothing may be sent in plain text."""
    if settings.tls_ca is not None or settings.tls_first:
        return True
    return any(urlsplit(each).scheme in _TLS_SCHEMES for each in broker_urls.split(url))


def tls_context(settings: NatsSettings) -> ssl.SSLContext:
    """The TLS context that checks the broker's certificate and holds the client's, if any. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"nats.tls_ca: {settings.tls_ca} cannot be used: {error}", "name a PEM file") from error
    if settings.tls_cert is not None:
        try:
            context.load_cert_chain(settings.tls_cert, settings.tls_key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"nats.tls_cert: {settings.tls_cert} cannot be used: {error}", "name PEM files, and the key in tls_key"
            ) from error
    return context


def refused(error: BaseException, settings: NatsSettings, url: str) -> TickwireError:
    """The error of a connection that was not made, with its remedy."""
    where, reason = broker_urls.without_credentials(url), str(error) or type(error).__name__
    if isinstance(error, PlainText):
        return ConfigError(
            f"the broker at {where} does not speak TLS, so no login was sent",
            "use nats:// without tls_ca, or its TLS port",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"the certificate of the broker at {where} is not trusted: {error.verify_message}",
            "see nats.tls_ca, and nats.tls_hostname where its name is not that of the URL",
        )
    if isinstance(error, ssl.SSLError):
        return ConfigError(
            f"no TLS with the broker at {where}: {error.reason or reason}",
            "does it want a client certificate? see nats.tls_cert and nats.tls_key",
        )
    if _UNAUTHORIZED.search(reason):
        return _unauthorized(settings, url)
    return BrokerUnavailable(f"no NATS server answers at {where} ({reason})", "start one, or correct nats.url")


def _unauthorized(settings: NatsSettings, url: str) -> Forbidden:
    what, remedy = login.refused(settings, url)
    return Forbidden(f"the broker at {broker_urls.without_credentials(url)} refuses {what}", remedy)


def denied(error: Exception, settings: NatsSettings, url: str) -> Forbidden | None:
    """The error of a publish or subscription that lacks permission; None for other errors."""
    found = _DENIED.search(str(error))
    if found is None:
        return None
    doing = "publish to" if found[1] == "Publish" else "subscribe to"
    return Forbidden(f"the broker does not let {login.named(settings, url)} {doing} {found[2]}", _remedy(found[2]))


def _remedy(subject: str) -> str:
    if subject.startswith(("$JS.API.STREAM.CREATE", "$JS.API.STREAM.UPDATE", "$JS.API.INFO")):
        return "run `tickwire declare` as the user that may"
    if _OF_PARTITION.search(subject):
        return (
            "give it the permission: `python deploy/nats/make_accounts.py <tape.partitions>` lists all partitions in"
            " accounts.conf; then reload nats-server"
        )
    return "give it the permission, or use another user"


def is_reply(error: Exception) -> bool:
    """Whether the denied publish can only have been a reply, to a subject that the requester chose."""
    found = _DENIED.search(str(error))
    return found is not None and found[1] == "Publish" and not is_ours(found[2])


def is_ours(subject: str) -> bool:
    """Whether tickwire or the broker publishes on a subject: a reply there would be taken for something else."""
    return subject.startswith("$") or subject.split(".", 1)[0] in _OURS
