"""deploy/nats as a real nats-server enforces it: who may say what, and what a service says when it may not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme

from support import brokers, live
from support.brokers import Server, as_user, serving, variables_of
from support.pipeline import CONFIG, Pipeline
from support.processes import SimulatorProcess, environment, running_simulator, tickwire
from support.recorder import recording
from tickwire import messages, streams
from tickwire.bus import connect
from tickwire.config import NatsSettings, SinkSettings
from tickwire.errors import ConfigError, Forbidden, TickwireError
from tickwire.feeds import Feed, Trades
from tickwire.subjects import Key

BTC = Feed("trade", "binance", "BTC/USDT")
KEY = Key("binance", "BTC/USDT", "1h")
SINCE = 1_700_000_000_000


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with deploy/nats/secure.conf, and its streams made by the operator."""
    async with serving(tmp_path / "nats") as running:
        async with connect(as_user(running.url, "operator"), name="setup") as bus:
            await streams.declare(bus.jetstream, 8, 1.0)
            await streams.declare_sink(bus.jetstream, SinkSettings())
        yield running


@asynccontextmanager
async def secured(server: Server, simulator: SimulatorProcess, folder: Path) -> AsyncIterator[Pipeline]:
    """A pipeline without services yet, seen by a program; each service is started as its own user."""
    file = folder / "tickwire.toml"
    file.write_text(CONFIG.format(gateway=simulator.url))
    env = environment(folder, TICKWIRE_CONFIG=str(file))
    async with connect(as_user(server.url, "desk"), name="desk") as bus, AsyncExitStack() as stack:
        line = Pipeline(bus, simulator, folder, env)
        try:
            yield line
        finally:
            for _, running in list(line.running.values()):
                await running.aclose()
            await stack.aclose()


async def test_the_whole_pipeline_runs_with_a_user_for_each_service_and_meets_no_refusal(
    server: Server, tmp_path: Path
) -> None:
    services = ("cache", "fetcher", "streamer")
    async with running_simulator("--live-rate", "100") as busy, secured(server, busy, tmp_path) as line:
        for number in (0, 1):
            for service in services:
                await line.start(service, number, **variables_of(server.url, service))
        for number in (0, 1):
            for service in services:
                await line.started(service, number)
        feeds = [
            BTC,
            BTC._replace(kind="book"),
            BTC._replace(kind="ticker"),
            BTC._replace(kind="candle", timeframe="1m"),
        ]
        async with live.seeing(line.bus, BTC) as seen:
            for feed in feeds:
                await live.start(line.bus, feed, "program", ttl_s=60)
            await seen.until(lambda: len(seen.trades) > 100)
            assert (await line.fetch(KEY, SINCE, SINCE + 100 * 3_600_000)).complete
            # The work moves to the others.
            for service in services:
                assert await line.stop(service, 0) == 0
            enough = len(seen.trades) + 200
            await seen.until(lambda: len(seen.trades) > enough)
            assert (await line.fetch(KEY, SINCE, SINCE + 200 * 3_600_000)).complete
            ids = seen.ids
            assert ids == list(range(ids[0], ids[-1] + 1))
            for feed in feeds:
                await live.stop(line.bus, feed, "program")
        for command in (("ps",), ("candles", "list"), ("candles", "verify")):
            ended = await tickwire(line.env | variables_of(server.url, "desk"), *command)
            assert ended.code == 0, ended.err
        assert (await tickwire(line.env | variables_of(server.url, "operator"), "status")).code == 0
        for service in services:
            assert await line.stop(service, 1) == 0
    assert "iolation" not in server.log


FORBIDDEN = [
    ("desk", "md.trade.binance.BTC-USDT"),
    ("desk", "md.stored.binance.BTC-USDT.1h"),
    ("desk", "tape.trade.binance.BTC-USDT"),
    ("desk", "tape.ohlcv.binance.BTC-USDT.1h"),
    ("desk", "jobs.fetch.binance"),
    ("desk", "control.log"),
    ("desk", "cache.repair"),
    ("desk", "cache.partition.0.get"),
    ("desk", "$KV.LEASES.cache.lease.0"),
    ("desk", "$KV.INTEREST.x"),
    ("desk", "$JS.API.STREAM.DELETE.TRADES"),
    ("desk", "$JS.API.STREAM.PURGE.TRADES"),
    ("desk", "$JS.API.CONSUMER.CREATE.TRADES"),
    ("desk", "_INBOX.cache.x"),
    ("fetcher", "tape.trade.binance.BTC-USDT"),
    ("fetcher", "md.stored.binance.BTC-USDT.1h"),
    ("fetcher", "$KV.LEASES.cache.lease.0"),
    ("fetcher", "$JS.API.STREAM.UPDATE.TRADES"),
    ("streamer", "md.trade.binance.BTC-USDT"),
    ("streamer", "md.stored.binance.BTC-USDT.1h"),
    ("streamer", "md.job.x"),
    ("cache", "tape.trade.binance.BTC-USDT"),
    ("cache", "tape.ohlcv.binance.BTC-USDT.1h"),
    ("cache", "md.trade.binance.BTC-USDT"),
    ("cache", "$JS.API.STREAM.PURGE.TRADES"),
    ("sink", "tape.trade.binance.BTC-USDT"),
    ("sink", "md.trade.binance.BTC-USDT"),
]


async def test_what_a_user_may_not_publish_is_refused_by_the_broker_and_is_an_error_at_once(server: Server) -> None:
    async with connect(as_user(server.url, "operator"), name="watch") as watch:
        arrived: list[str] = []

        async def keep(message: object) -> None:
            arrived.append(getattr(message, "subject", ""))

        # The operator itself hears everything but its own questions.
        for subject in ("md.>", "tape.>", "jobs.>", "control.>", "cache.>", "$KV.>"):
            await watch.subscribe(subject, keep)
        await watch.client.flush()
        for user, subject in FORBIDDEN:
            if (user, subject) == ("desk", "_INBOX.cache.x"):
                # A reply to another's inbox: that is not ours to end for, it is only not sent.
                async with connect(as_user(server.url, user), name=user) as bus:
                    await bus.client.publish(subject, b"{}")
                    await bus.client.flush()
            else:
                with pytest.raises(Forbidden, match="publish to") as refused:
                    async with connect(as_user(server.url, user), name=user) as bus, asyncio.timeout(5):
                        await bus.client.publish(subject, b"{}")
                        await asyncio.Event().wait()
                assert user in str(refused.value)
                assert subject.lower() in str(refused.value).lower()
            await server.says(f'user:{user}" - Publish Violation - Subject "{subject}"')
        await watch.client.flush()
        assert arrived == []


@pytest.mark.parametrize(
    ("user", "subject"),
    [("desk", ">"), ("desk", "tape.>"), ("desk", "_INBOX.>"), ("desk", "_INBOX.cache.>"), ("cache", "md.trade.>"),
     ("fetcher", "streamer.start"), ("streamer", "cache.get"), ("sink", "fetcher.fetch")],
)  # fmt: skip
async def test_what_a_user_may_not_hear_is_refused_by_the_broker(server: Server, user: str, subject: str) -> None:
    async def never(_: object) -> None:
        raise AssertionError

    with pytest.raises(Forbidden, match="subscribe to"):
        async with connect(as_user(server.url, user), name=user) as bus, asyncio.timeout(5):
            await bus.subscribe(subject, never)
            await asyncio.Event().wait()
    await server.says(f'user:{user}" - Subscription Violation - Subject "{subject}"')


async def test_a_reply_is_never_sent_to_where_tickwire_itself_speaks(server: Server, tmp_path: Path) -> None:
    """The cache may publish `md.stored`, so whoever asks it something must not be able to have the reply go there."""
    async with running_simulator() as simulator, secured(server, simulator, tmp_path) as line:
        await line.start("cache", 0, **variables_of(server.url, "cache"))
        await line.started("cache")
        heard: list[bytes] = []

        async def keep(message: object) -> None:
            heard.append(getattr(message, "data", b""))

        await line.bus.subscribe("md.stored.>", keep)
        ask = b'{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1h"}'
        await line.bus.client.publish("cache.coverage", ask, reply="md.stored.binance.BTC-USDT.1h")
        answer = await line.bus.client.request("cache.coverage", ask, timeout=5)
        assert b'"verified":[]' in answer.data
        await line.bus.client.flush()
        assert heard == []


@pytest.mark.parametrize("service", ["cache", "fetcher", "streamer"])
async def test_a_service_with_a_wrong_password_ends_with_one_line(server: Server, tmp_path: Path, service: str) -> None:
    env = environment(tmp_path, **variables_of(server.url, service)) | {"TICKWIRE_NATS_PASSWORD": "p-wrong"}
    ended = await tickwire(env, "service", service)
    assert ended.code == 2
    assert one_line(ended.err) == (
        f"tickwire: the broker at {server.url} refuses user {service}; check nats.user and TICKWIRE_NATS_PASSWORD"
    )
    assert "p-wrong" not in ended.err
    await server.says("authentication error - User")


async def test_a_service_without_a_user_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    ended = await tickwire(environment(tmp_path, TICKWIRE_NATS_URL=server.url), "service", "cache")
    assert ended.code == 2
    assert "refuses us without a user" in one_line(ended.err)


async def test_a_service_that_may_not_publish_what_it_must_ends_with_one_line(server: Server, tmp_path: Path) -> None:
    """The streamer as the fetcher: it may not even register."""
    ended = await tickwire(environment(tmp_path, **variables_of(server.url, "fetcher")), "service", "streamer")
    assert ended.code == 2
    assert "does not let user fetcher" in one_line(ended.err)
    await server.says('user:fetcher" - Publish Violation')


async def test_a_service_whose_streams_are_not_made_says_who_makes_them(tmp_path: Path) -> None:
    async with serving(tmp_path / "nats") as server:
        ended = await tickwire(environment(tmp_path, **variables_of(server.url, "cache")), "service", "cache")
        assert ended.code == 2
        assert "run `tickwire declare` as the user that may" in one_line(ended.err)
        made = await tickwire(environment(tmp_path, **variables_of(server.url, "operator")), "declare")
        assert made.code == 0


async def test_a_service_that_is_thrown_out_while_it_runs_ends_instead_of_being_deaf(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(tmp_path / "nats"))
        with pytest.raises(TickwireError, match="refuses user desk") as ended:
            async with connect(as_user(server.url, "desk"), name="desk"), asyncio.timeout(15):
                await server.stop()
                server.env["TICKWIRE_DESK_PASSWORD"] = "p-another"
                await server.start()
                await asyncio.Event().wait()
        assert isinstance(ended.value, Forbidden)


async def test_a_streamer_whose_lease_expired_says_so_once_and_the_broker_refuses_its_publish(
    server: Server, tmp_path: Path
) -> None:
    async with running_simulator("--live-rate", "100") as busy, secured(server, busy, tmp_path) as line:
        await line.start("streamer", 0, **variables_of(server.url, "streamer"))
        await line.started("streamer", 0)
        async with live.seeing(line.bus, BTC) as seen:
            await live.start(line.bus, BTC, "program", ttl_s=60)
            await seen.until(lambda: len(seen.trades) > 50)
            zombie = line.running["streamer-0"][0]
            zombie.send_signal(signal.SIGSTOP)
            stale = seen.sequences[-1]
            await line.start("streamer", 1, **variables_of(server.url, "streamer"))
            enough = len(seen.trades) + 200
            await seen.until(lambda: len(seen.trades) > enough)
            # What the zombie would say next, said in its place.
            async with connect(as_user(server.url, "streamer"), name="zombie") as bus:
                late = messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=0))
                with pytest.raises(Exception, match="wrong last sequence"):
                    await bus.jetstream.publish(
                        BTC.tape, late, headers={"Nats-Expected-Last-Subject-Sequence": str(stale)}
                    )
            zombie.send_signal(signal.SIGCONT)
            log = line.folder / "streamer-0.log"
            async with asyncio.timeout(15):
                while not (
                    said := [
                        each
                        for each in log.read_text().splitlines()
                        if "took the feed over" in each or "lease lost" in each
                    ]
                ):
                    await asyncio.sleep(0.05)
            assert len(said) == 1
            enough = len(seen.trades) + 200
            await seen.until(lambda: len(seen.trades) > enough)
            assert seen.broken == []
            assert seen.ids == list(range(seen.ids[0], seen.ids[-1] + 1))


def one_line(err: str) -> str:
    """The one line that a command says; its log is another matter."""
    (line,) = [each for each in err.splitlines() if each.startswith("tickwire: ")]
    return line


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


def certificate(authority: trustme.CA, folder: Path, *names: str) -> dict[str, str]:
    """A server's certificate for these names, as deploy/nats/secure-tls.conf wants it."""
    made = authority.issue_cert(*names)
    key, chain = folder / "key.pem", folder / "cert.pem"
    made.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    return {"NATS_TLS_CERT": str(chain), "NATS_TLS_KEY": str(key)}


async def test_with_a_trusted_certificate_all_is_said_through_tls(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server, recording(server.port) as wire:
        for scheme in ("nats", "tls"):
            url = f"{scheme}://127.0.0.1:{wire.port}"
            async with connect(as_user(url, "operator", tls_ca=trusted), name="test") as bus:
                await streams.declare(bus.jetstream, 8, 1.0)
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
            async with asyncio.timeout(10), connect(as_user(server.url, "cache", tls_ca=trusted), name="test"):
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
                async with asyncio.timeout(10), connect(settings, name="test"):
                    raise AssertionError


async def test_a_server_without_tls_is_told_nothing_when_tls_is_asked_for(server: Server, trusted: Path) -> None:
    async with recording(server.port) as wire:
        for url, ca in ((f"tls://127.0.0.1:{wire.port}", None), (f"nats://127.0.0.1:{wire.port}", trusted)):
            with pytest.raises(ConfigError, match="does not speak TLS, so it was told nothing"):
                async with asyncio.timeout(10), connect(as_user(url, "cache", tls_ca=ca), name="test"):
                    raise AssertionError
        assert wire.connections == 2
        assert wire.sent == b""


async def test_nor_is_one_that_takes_the_place_of_one_with_tls(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server, recording(server.port) as wire:
        settings = as_user(f"tls://127.0.0.1:{wire.port}", "operator", tls_ca=trusted)
        async with connect(settings, name="test") as bus:
            await server.stop()
            wire.cut()
            wire.sent.clear()
            server.config = brokers.DEPLOY / "nats" / "secure.conf"
            await server.start()
            before = wire.connections
            async with asyncio.timeout(15):
                while wire.connections < before + 3:
                    await asyncio.sleep(0.05)
            assert not bus.client.is_connected
            assert wire.sent == b""


async def test_plain_text_at_a_tls_port_is_refused_by_the_broker(authority: trustme.CA, tmp_path: Path) -> None:
    pair = certificate(authority, tmp_path, "127.0.0.1")
    async with serving(tmp_path / "nats", "secure-tls.conf", **pair) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert b'"tls_required":true' in await reader.readline()
        writer.write(b'CONNECT {"user":"operator","pass":"p-operator"}\r\nPING\r\n')
        async with asyncio.timeout(10):
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
