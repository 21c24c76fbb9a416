"""Who may connect to a broker of deploy/nats: passwords, TLS, and the error of a service that is refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import pytest
import trustme

from security.secured_pipeline import declared, one_line
from support import brokers
from support.brokers import Server, as_user, serving, variables_of
from support.processes import environment, tickwire
from support.wires import wire as carried
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.errors import ConfigError, Forbidden, TickwireError
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with declared(tmp_path / "nats") as running:
        yield running


@pytest.mark.parametrize("service", ["cache", "fetcher", "streamer", "sink"])
async def test_a_service_with_a_wrong_password_ends_with_one_line(server: Server, tmp_path: Path, service: str) -> None:
    wrong = {"TICKWIRE_NATS_PASSWORD": "p-wrong", "TICKWIRE_SINK_URL": "http://127.0.0.1:1"}
    env = environment(tmp_path, **variables_of(server.url, service)) | wrong
    ended = await tickwire(env, "service", service)
    assert ended.code == 2
    assert ended.err == (
        f"tickwire: the broker at {server.url} refuses user {service}; check nats.user and TICKWIRE_NATS_PASSWORD\n"
    )
    await server.says(f'authentication error - User "{service}"')


@pytest.mark.parametrize("login", ["cache:se@cr%2Fet", "cache:se:cret"])
async def test_of_a_password_in_a_url_that_is_refused_nothing_is_shown(
    server: Server, tmp_path: Path, login: str
) -> None:
    url = f"nats://{login}@127.0.0.1:{server.port}"
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=url), "service", "cache")
    assert ended.code == 2
    assert ended.err == (
        f"tickwire: the broker at {server.url} refuses user cache; check nats.user and TICKWIRE_NATS_PASSWORD\n"
    )


@pytest.mark.parametrize("login", ["cache:se/cret", "cache:12/cret", "cache:se#cret", "cache:se?cret", "cache:se,cret"])
async def test_a_url_whose_password_ends_its_host_is_refused_and_not_shown(tmp_path: Path, login: str) -> None:
    url = f"nats://{login}@127.0.0.1:4222"
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=url), "service", "cache")
    assert ended.code == 2
    assert "write it as nats://host:port" in one_line(ended.err)
    assert len(ended.err.splitlines()) == 1
    assert "cret" not in ended.err
    with pytest.raises(ConfigError, match="TICKWIRE_NATS_PASSWORD") as refused:
        async with connect(NatsSettings(), name="test", url=url):
            raise AssertionError
    assert "cret" not in str(refused.value)


async def test_a_service_without_a_user_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=server.url), "service", "cache")
    assert ended.code == 2
    assert "refuses us without a user" in one_line(ended.err)


async def test_a_service_that_is_thrown_out_while_it_runs_ends_instead_of_being_deaf(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(tmp_path / "nats"))
        with pytest.raises(TickwireError, match="refuses user desk") as ended:
            async with connect(as_user(server.url, "desk"), name="desk"), asyncio.timeout(100):
                await server.stop()
                server.env["TICKWIRE_DESK_PASSWORD"] = "p-another"
                await server.start()
                await asyncio.Event().wait()
        assert isinstance(ended.value, Forbidden)


# ---- TLS


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom the clients of these tests trust."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def certificate(
    authority: trustme.CA,
    folder: Path,
    *names: str,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> dict[str, str]:
    """A certificate for these names, as deploy/nats/secure-tls.conf wants it."""
    made = authority.issue_cert(*names, not_before=not_before, not_after=not_after)
    key, chain = folder / f"{names[0]}-key.pem", folder / f"{names[0]}-cert.pem"
    made.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    return {"NATS_TLS_CERT": str(chain), "NATS_TLS_KEY": str(key)}


async def test_with_a_trusted_certificate_all_is_said_through_tls(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server, carried(server.url) as wire:
        for scheme in ("nats", "tls"):
            url = f"{scheme}://127.0.0.1:{wire.port}"
            async with connect(as_user(url, "operator", tls_ca=trusted), name="test") as bus:
                await streams.declare(bus.jetstream, 8, 2.0)
        assert wire.connections == 2
        assert b"p-operator" not in wire.sent
        ended = await tickwire(
            environment(tmp_path, **variables_of(server.url, "operator"), TICKWIRE_NATS_TLS_CA=str(trusted)), "status"
        )
        assert ended.code == 0, ended.err


async def test_a_certificate_of_another_name_is_refused_and_a_name_can_be_given(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    pair = certificate(authority, tmp_path, "broker.example")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        with pytest.raises(ConfigError, match=r"not trusted: IP address mismatch.*tls_hostname"):
            async with asyncio.timeout(100), connect(as_user(server.url, "cache", tls_ca=trusted), name="test"):
                raise AssertionError
        await server.says("TLS handshake error")
        named = as_user(server.url, "operator", tls_ca=trusted, tls_hostname="broker.example")
        async with connect(named, name="test") as bus:
            await bus.client.flush()
        env = environment(tmp_path, **variables_of(server.url, "cache"), TICKWIRE_NATS_TLS_CA=str(trusted))
        ended = await tickwire(env, "service", "cache")
        assert ended.code == 2
        assert "IP address mismatch" in one_line(ended.err)


async def test_a_certificate_of_an_unknown_authority_is_refused(trusted: Path, tmp_path: Path) -> None:
    pair = certificate(trustme.CA(), tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        for settings in (as_user(server.url, "cache", tls_ca=trusted), as_user(server.url, "cache")):
            with pytest.raises(ConfigError, match=r"not trusted.*tls_ca"):
                async with asyncio.timeout(100), connect(settings, name="test"):
                    raise AssertionError


async def test_a_server_without_tls_is_told_nothing_when_tls_is_asked_for(server: Server, trusted: Path) -> None:
    async with carried(server.url) as wire:
        for url, ca in ((f"tls://127.0.0.1:{wire.port}", None), (f"nats://127.0.0.1:{wire.port}", trusted)):
            with pytest.raises(ConfigError, match="does not speak TLS, so no login was sent"):
                async with asyncio.timeout(100), connect(as_user(url, "cache", tls_ca=ca), name="test"):
                    raise AssertionError
        assert wire.connections == 2
        assert wire.sent == b""


async def test_nor_is_one_that_takes_the_place_of_one_with_tls(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server, carried(server.url) as wire:
        settings = as_user(f"tls://127.0.0.1:{wire.port}", "operator", tls_ca=trusted)
        async with connect(settings, name="test") as bus:
            await server.stop()
            wire.drop()
            wire.sent.clear()
            server.argv[-1] = brokers.DEPLOY / "nats" / "secure.conf"
            await server.start()
            before = wire.connections
            async with asyncio.timeout(100):
                while wire.connections < before + 3:
                    await asyncio.sleep(0.05)
            assert not bus.client.is_connected
            assert wire.sent == b""


NEVER = datetime(2019, 1, 1), datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("service", "validity", "authorities", "said"),
    [
        ("cache", NEVER, True, "is not trusted: certificate has expired; see nats.tls_ca"),
        # Without nats.tls_ca it is not trusted either; that it talks TLS at all is because the server says so.
        ("streamer", None, False, "is not trusted: unable to get local issuer certificate; see nats.tls_ca"),
    ],
)
async def test_a_service_that_does_not_trust_the_broker_says_so_in_one_line(
    authority: trustme.CA,
    trusted: Path,
    tmp_path: Path,
    service: str,
    validity: tuple[datetime, datetime] | None,
    authorities: bool,
    said: str,
) -> None:
    since, until = validity or (None, None)
    pair = certificate(authority, tmp_path, "127.0.0.1", not_before=since, not_after=until)
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        env = environment(tmp_path, **variables_of(server.url, service))
        if authorities:
            env["TICKWIRE_NATS_TLS_CA"] = str(trusted)
        ended = await tickwire(env, "service", service)
        assert ended.code == 2
        assert said in one_line(ended.err)
        assert len(ended.err.splitlines()) == 1
        await server.says("TLS handshake error")


async def test_a_wrong_password_is_one_line_over_tls_too(authority: trustme.CA, trusted: Path, tmp_path: Path) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        wrong = {"TICKWIRE_NATS_TLS_CA": str(trusted), "TICKWIRE_NATS_PASSWORD": "p-wrong"}
        ended = await tickwire(environment(tmp_path, **variables_of(server.url, "cache")) | wrong, "service", "cache")
        assert ended.code == 2
        assert "refuses user cache" in one_line(ended.err)
        assert len(ended.err.splitlines()) == 1


async def test_a_broker_that_wants_our_certificate_gets_it_or_the_setting_is_named(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    secure = os.path.relpath(brokers.DEPLOY / "nats" / "secure.conf", tmp_path)
    mutual = tmp_path / "mutual.conf"
    mutual.write_text(
        f"include {secure}\n"
        f"tls {{ cert_file: $NATS_TLS_CERT, key_file: $NATS_TLS_KEY, ca_file: '{trusted}', verify: true }}\n"
    )
    pair, own = certificate(authority, tmp_path, "127.0.0.1"), certificate(authority, tmp_path, "operator")
    async with serving(tmp_path / "nats", str(mutual), **pair) as server:
        env = environment(tmp_path, **variables_of(server.url, "operator"), TICKWIRE_NATS_TLS_CA=str(trusted))
        ended = await tickwire(env, "declare")
        assert ended.code == 2
        assert "does it want a client certificate? see nats.tls_cert and nats.tls_key" in one_line(ended.err)
        assert len(ended.err.splitlines()) == 1
        await server.says("TLS handshake error")
        ours = {"TICKWIRE_NATS_TLS_CERT": own["NATS_TLS_CERT"], "TICKWIRE_NATS_TLS_KEY": own["NATS_TLS_KEY"]}
        assert (await tickwire(env | ours, "declare")).code == 0


async def test_plain_text_at_a_tls_port_is_refused_by_the_broker(authority: trustme.CA, tmp_path: Path) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert b'"tls_required":true' in await reader.readline()
        writer.write(b'CONNECT {"user":"operator","pass":"p-operator"}\r\nPING\r\n')
        async with asyncio.timeout(100):
            assert b"PONG" not in await reader.read()
        writer.close()


@pytest.mark.parametrize("name", sorted(path.name for path in (brokers.DEPLOY / "nats").glob("*.conf")))
def test_every_file_of_deploy_nats_is_accepted_by_nats_server(name: str, tmp_path: Path, authority: trustme.CA) -> None:
    addresses = {f"NATS_ROUTE_{n}": f"nats://route:p-route@nats-{n}:6222" for n in (1, 2, 3)}
    env = brokers.environment(
        tmp_path, 4222, NATS_CLUSTER_LISTEN="0.0.0.0:6222", **addresses, **certificate(authority, tmp_path, "nats")
    )
    brokers.check_config(brokers.DEPLOY / "nats" / name, env)


def test_settings_for_tls_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nats\.tls_ca: .*absent\.pem cannot be used"):
        asyncio.run(_try(NatsSettings(url="tls://127.0.0.1:1", tls_ca=tmp_path / "absent.pem")))
    with pytest.raises(ConfigError, match=r"nats\.tls_cert: .*absent\.pem cannot be used"):
        asyncio.run(_try(NatsSettings(url="tls://127.0.0.1:1", tls_cert=tmp_path / "absent.pem")))


async def _try(settings: NatsSettings) -> None:
    async with connect(settings, name="test"):
        raise AssertionError
