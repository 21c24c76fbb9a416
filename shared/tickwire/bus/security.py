"""Who may connect to the broker, and how: TLS, refusals in our own words, and no password in plain text.

Facts about nats-py 2.16: a `tls://` URL of a server without TLS connects in plain text, password and all; a permission
that is missing is told by the server some time after the publish, to the error callback only, and there in lower case;
`close()` after a failed TLS handshake never returns.
"""

from __future__ import annotations

import re
import ssl
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import ERR_RE, PERMISSIONS_ERR

from tickwire.errors import BrokerUnavailable, ConfigError, Forbidden, TickwireError
from tickwire.model.broker_urls import servers, shown, token_of, user_of
from tickwire.settings import NatsSettings

_DENIED = re.compile(r"Permissions Violation for (Publish|Subscription) to \"([^\"]*)\"")
_UNAUTHORIZED = re.compile("authorization violation|authentication (timeout|expired|revoked)", re.IGNORECASE)
_TLS_SCHEMES = ("tls", "wss")
INBOX = "_INBOX."
_OURS = frozenset({"md", "tape", "ohlcv", "jobs", "control", "cache", "fetcher", "streamer", "sink", "tickwire"})
"""What our subjects begin with; those of the broker begin with $."""


class PlainText(nats.errors.Error):
    """The server does not speak TLS, and it was asked for."""


class SecureClient(Client):
    """With `encrypted`, it tells a server who it is through TLS only, at every connection again.

    What is not permitted goes to the error callback in the server's own words.
    """

    encrypted = False

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            # Of a server that refuses us nats-py would leave the connection open, and open the next.
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise

    def _connect_command(self) -> bytes:
        # What the server gets is made here, after TLS is set up where the server offers it.
        transport = self._transport
        if isinstance(transport, TcpTransport):
            writer = transport._io_writer
            if writer is not None and writer.get_extra_info("ssl_object") is not None:
                # As asyncio's own streams have it, and nats-py has not: asyncio warns at each end of a connection else.
                writer._protocol._over_ssl = True  # type: ignore[attr-defined]
            elif self.encrypted:
                raise PlainText("the server does not speak TLS")
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        # Of a subject in lower case nobody knows which one it is. The parser has still what it was made of.
        said = ERR_RE.match(self._ps.buf)
        if PERMISSIONS_ERR not in err_msg or said is None:
            await super()._process_err(err_msg)
            return
        text = said[1].decode().strip("'")
        self._err = nats.errors.Error(f"nats: {text}")
        await self._error_cb(self._err)


def inbox_of(user: str) -> str:
    """Where replies to a user go. Raises ConfigError for a name that is no part of a subject."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", user):
        raise ConfigError(f"nats.user: {user!r} cannot be part of a subject", "use letters, digits, - and _")
    return f"{INBOX}{user}"


def wants_tls(settings: NatsSettings, address: str) -> bool:
    """Whether nothing may be said in plain text."""
    return settings.tls_ca is not None or any(urlsplit(url).scheme in _TLS_SCHEMES for url in servers(address))


def tls_context(settings: NatsSettings) -> ssl.SSLContext:
    """What the broker's certificate is checked against, and our own where the broker wants one. Raises ConfigError."""
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


def refused(error: BaseException, settings: NatsSettings, address: str) -> TickwireError:
    """Why there is no connection, in one line with the remedy."""
    where, said = shown(address), str(error) or type(error).__name__
    if isinstance(error, PlainText):
        return ConfigError(
            f"the broker at {where} does not speak TLS, so it was told nothing",
            "use nats:// without tls_ca, or its TLS port",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"the certificate of the broker at {where} is not trusted: {error.verify_message}",
            "see nats.tls_ca, and nats.tls_hostname where its name is not that of the URL",
        )
    if isinstance(error, ssl.SSLError):
        return ConfigError(
            f"no TLS with the broker at {where}: {error.reason or said}",
            "does it want a client certificate? see nats.tls_cert and nats.tls_key",
        )
    if _UNAUTHORIZED.search(said):
        if token_of(address) is not None:
            return Forbidden(
                f"the broker at {where} refuses our token", "take the URL that `tickwire url` prints there"
            )
        if (user := settings.user or user_of(address)) is None:
            remedy = "take the URL that `tickwire url` prints, or check nats.user and TICKWIRE_NATS_PASSWORD"
            return Forbidden(f"the broker at {where} refuses us without a user or a token", remedy)
        return Forbidden(f"the broker at {where} refuses user {user}", "check nats.user and TICKWIRE_NATS_PASSWORD")
    return BrokerUnavailable(f"no NATS server answers at {where} ({said})", "start one, or correct nats.url")


def denied(error: Exception, settings: NatsSettings, address: str) -> Forbidden | None:
    """What the broker does not permit, if an error says that: of a publish or a subscription."""
    found = _DENIED.search(str(error))
    if found is None:
        return None
    doing = "publish to" if found[1] == "Publish" else "subscribe to"
    streams_ = found[2].startswith(("$JS.API.STREAM.CREATE", "$JS.API.STREAM.UPDATE", "$JS.API.INFO"))
    user = settings.user or user_of(address) or "(none)"
    return Forbidden(
        f"the broker does not let user {user} {doing} {found[2]}",
        "run `tickwire declare` as the user that may" if streams_ else "give it the permission, or use another user",
    )


def is_reply(error: Exception) -> bool:
    """Whether what is forbidden can only be a reply, to where the asker chose."""
    found = _DENIED.search(str(error))
    return found is not None and found[1] == "Publish" and not is_ours(found[2])


def is_ours(subject: str) -> bool:
    """Whether tickwire or the broker speaks there: a reply would be taken for something else."""
    return subject.startswith("$") or subject.split(".", 1)[0] in _OURS
