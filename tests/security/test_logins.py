"""Logins with contexts of the `nats` command line, credentials files and NKeys, at a real nats-server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from security.nkey_users import Operator, new_seed, public, serving_users, write_config
from security.secured_pipeline import one_line
from support.brokers import Server
from support.commands import command
from support.processes import Service, environment, tickwire
from tickwire.bus.connection import Bus, connect
from tickwire.client import connect as to_tickwire
from tickwire.client.inventory import inventory
from tickwire.errors import ConfigError, Forbidden
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

TEXTS = (
    *("description", "url", "socks_proxy", "token", "user", "password", "creds", "nkey", "cert", "key", "ca", "nsc"),
    *("jetstream_domain", "jetstream_api_prefix", "jetstream_event_prefix", "inbox_prefix", "user_jwt", "color_scheme"),
)


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
async def server(tmp_path: Path, operator: Operator) -> AsyncIterator[Server]:
    async with serving_users(tmp_path / "nats", operator.config()) as running:
        yield running


@pytest.fixture
def creds(tmp_path: Path, operator: Operator) -> Path:
    path = tmp_path / "user.creds"
    path.write_text(operator.credentials())
    return path


def context(home: Path, name: str, **fields: Any) -> dict[str, str]:
    """Write a context with every field, as the `nats` command line does; the variables of its owner."""
    path = home / "nats" / "context" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict.fromkeys(TEXTS, "") | {"tls_first": False} | fields))
    return {"XDG_CONFIG_HOME": str(home)}


async def test_every_process_and_program_logs_in_by_a_context_with_credentials(
    server: Server, creds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"url": f"127.0.0.1:{server.port}", "creds": f"$PLACE/{creds.name}", "inbox_prefix": "_INBOX.somebody"}
    variables = context(tmp_path / "home", "prod", **own, description="what we trade on") | {"PLACE": str(tmp_path)}
    env = environment(tmp_path, **variables)
    ended = await tickwire(env, "--context", "prod", "declare")
    assert ended.code == 0, ended.err
    async with Service("cache", env | {"NATS_CONTEXT": "prod"}, log=tmp_path / "cache.log") as cache:
        await cache.says('"event": "serving"')
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        async with to_tickwire(context="prod") as client:
            assert client.bus.client.new_inbox().startswith("_INBOX.somebody.")
            assert await inventory(client.bus) == ([], [])
        # As a setting it wins over the variable of the `nats` command line.
        settings = {"TICKWIRE_NATS_CONTEXT": "prod", "NATS_CONTEXT": "absent"}
        ended = await tickwire(env | settings, "candles", "list", "--json")
        assert (ended.code, json.loads(ended.out)) == (0, {"keys": [], "damaged": []}), ended.err


async def test_up_serves_on_the_broker_of_a_context_and_its_services_log_in_by_it(
    server: Server, creds: Path, tmp_path: Path
) -> None:
    env = environment(tmp_path, **context(tmp_path / "home", "prod", url=server.url, creds=str(creds)))
    async with command(tmp_path, env | {"NATS_CONTEXT": "prod"}, "up") as running:
        await running.says("ready: ")
        ended = await tickwire(env, "--context", "prod", "status", "--json")
        assert ended.code == 0, ended.err
        assert {each["service"] for each in json.loads(ended.out)["services"]} >= {"cache", "fetcher", "streamer"}
        assert await running.stop() == 0


@pytest.mark.parametrize("by", ["setting", "context"])
async def test_a_user_that_is_known_by_its_key_logs_in_with_the_seed(by: str, tmp_path: Path) -> None:
    seed = new_seed()
    path = tmp_path / "user.nk"
    path.write_text(f"\n{seed}\n")
    users = f"accounts {{ A: {{ jetstream: enabled, users: [ {{ nkey: {public(seed)} }} ] }} }}\n"
    async with serving_users(tmp_path / "nats", users) as server:
        env = environment(tmp_path, TICKWIRE_NATS_URL=server.url, TICKWIRE_NATS_NKEY=str(path))
        if by == "context":
            env = environment(tmp_path, **context(tmp_path, "own", url=server.url, nkey=str(path)), NATS_CONTEXT="own")
        assert (await tickwire(env, "declare")).code == 0
        path.write_text(other := new_seed())
        ended = await tickwire(env, "service", "cache")
        assert ended.code == 2
        assert f"refuses NKey {public(other)}; check nats.nkey" in one_line(ended.err)
        assert ("context own" in one_line(ended.err)) == (by == "context")
        assert other not in ended.err


async def test_a_context_with_a_password_speaks_tls_first(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")}
    authority.cert_pem.write_to_path(str(files["ca.pem"]))
    pair = authority.issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(str(files["cert.pem"]))
    pair.private_key_pem.write_to_path(str(files["key.pem"]))
    tls = f'tls {{ cert_file: "{files["cert.pem"]}", key_file: "{files["key.pem"]}", handshake_first: true }}'
    users = f"authorization {{ user: somebody, password: p-secret }}\n{tls}\n"
    async with serving_users(tmp_path / "nats", users) as server:
        fields = {"url": server.url, "user": "somebody", "password": "p-secret", "ca": str(files["ca.pem"])}
        env = environment(tmp_path, **context(tmp_path, "own", **fields, tls_first=True))
        assert (await tickwire(env, "--context", "own", "declare")).code == 0
        # What is set here wins over the context's.
        ended = await tickwire(env | {"TICKWIRE_NATS_PASSWORD": "p-wrong"}, "--context", "own", "declare")
        assert ended.code == 2
        assert "refuses user somebody" in one_line(ended.err)


async def test_a_token_of_a_context_is_sent(tmp_path: Path) -> None:
    async with serving_users(tmp_path / "nats", 'authorization { token: "t/o#k?en" }\n') as server:
        env = environment(tmp_path, **context(tmp_path, "own", url=server.url, token="t/o#k?en"))
        assert (await tickwire(env, "--context", "own", "declare")).code == 0
        wrong = {"TICKWIRE_NATS_TOKEN": "t-wrong"}
        ended = await tickwire(env | wrong, "--context", "own", "declare")
        assert "refuses our token; check TICKWIRE_NATS_TOKEN, and the NATS context own" in one_line(ended.err)
        assert "t-wrong" not in ended.err


async def test_credentials_that_were_replaced_are_those_of_the_next_connection(
    server: Server, creds: Path, tmp_path: Path, operator: Operator
) -> None:
    """A file that is cut off meanwhile changes nothing: nats-py would read it for ever."""
    async with connect(NatsSettings(url=server.url, creds=creds), name="test") as bus, asyncio.timeout(100):
        good = creds.read_text()
        creds.write_text(good[:40])
        await _restarted(server, bus)
        other = Operator()
        creds.write_text(other.credentials())
        write_config(tmp_path / "nats", server.port, other.config())
        await _restarted(server, bus)


async def _restarted(server: Server, bus: Bus) -> None:
    back = asyncio.Event()
    bus.resync_callbacks.add(back.set)
    await server.stop()
    await server.start()
    await back.wait()
    bus.resync_callbacks.discard(back.set)
    await bus.client.flush()


async def test_a_user_of_credentials_that_may_not_is_named_by_its_file(
    server: Server, tmp_path: Path, operator: Operator
) -> None:
    path = tmp_path / "poor.creds"
    path.write_text(operator.credentials(pub={"deny": ["tape.>"]}))
    with pytest.raises(Forbidden, match=rf"does not let the user of {path} publish to tape\.trade\.x"):
        async with connect(NatsSettings(url=server.url, creds=path), name="test") as bus, asyncio.timeout(100):
            await bus.client.publish("tape.trade.x")
            await asyncio.Event().wait()


async def test_credentials_of_another_operator_or_expired_ones_are_one_line(
    server: Server, tmp_path: Path, operator: Operator
) -> None:
    path = tmp_path / "user.creds"
    env = environment(tmp_path, TICKWIRE_NATS_URL=server.url, TICKWIRE_NATS_CREDS=str(path))
    for text in (Operator().credentials(), operator.credentials(exp=1_700_000_000)):
        path.write_text(text)
        ended = await tickwire(env, "service", "cache")
        assert ended.code == 2
        assert ended.err == (
            f"tickwire: the broker at {server.url} refuses the user of {path}; "
            "check nats.creds: is it for this broker, and not expired?\n"
        )


def cut(text: str) -> str:
    """A text without its last part."""
    return text[: text.index("-----BEGIN USER NKEY SEED")]


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        ("creds", None, "nats.creds: cannot read {path}: No such file or directory; correct the path"),
        ("creds", "", "nats.creds: {path} has no NATS USER JWT; name a credentials file, as `nsc` makes it"),
        ("creds", "cut", "nats.creds: {path} has no USER NKEY SEED; name a credentials file, as `nsc` makes it"),
        ("nkey", None, "nats.nkey: cannot read {path}: No such file or directory; correct the path"),
        ("nkey", "UABC", "nats.nkey: {path} has no seed of a user; name a file with a line that begins with SU"),
        ("nkey", "swapped", "nats.nkey: the seed in {path} is not that of a user; copy the file again"),
    ],
)
async def test_a_file_that_cannot_be_used_is_one_line_with_its_setting(
    setting: str, text: str | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    seed = new_seed()
    made = {"cut": cut(Operator().credentials()), "swapped": seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]}
    if text is not None:
        path.write_text(made.get(text, text))
    with pytest.raises(ConfigError) as refused:
        async with connect(NatsSettings.model_validate({"url": "nats://127.0.0.1:1", setting: path}), name="test"):
            raise AssertionError
    assert str(refused.value) == said.format(path=path)


async def test_a_prefix_of_replies_on_which_tickwire_publishes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nats\.inbox_prefix: md\.mine is a subject of tickwire"):
        async with connect(NatsSettings(url="nats://127.0.0.1:1", inbox_prefix="md.mine"), name="test"):
            raise AssertionError
