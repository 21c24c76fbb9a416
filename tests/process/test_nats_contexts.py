"""Contexts of the `nats` command line as settings: what each field becomes, what wins, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tickwire import settings as config
from tickwire.errors import ConfigError

pytestmark = pytest.mark.pure

CONTEXTS = Path("home/nats/context")


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, none of the developer's own variables, and a home without contexts."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("TICKWIRE_", "NATS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    CONTEXTS.mkdir(parents=True)


def write(name: str, **fields: object) -> None:
    (CONTEXTS / f"{name}.json").write_text(json.dumps(fields))


def test_each_field_becomes_the_setting_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/trader")
    monkeypatch.setenv("KEYS", "/keys")
    write(
        "prod",
        description="what we trade on",
        url="one.example:4222, tls://two.example",
        creds="~/user.creds",
        cert="$KEYS/cert.pem",
        key="${KEYS}/key.pem",
        ca="/ca.pem",
        inbox_prefix="_INBOX.trader",
        tls_first=True,
        token="",
        user="",
        nsc="",
        jetstream_domain="",
        color_scheme="blue",
    )
    nats = config.load(context="prod").nats
    assert nats.model_dump(exclude_defaults=True) == {
        "context": "prod",
        "url": "nats://one.example:4222,tls://two.example",
        "creds": Path("/home/trader/user.creds"),
        "tls_cert": Path("/keys/cert.pem"),
        "tls_key": Path("/keys/key.pem"),
        "tls_ca": Path("/ca.pem"),
        "inbox_prefix": "_INBOX.trader",
        "tls_first": True,
    }


def test_secrets_of_a_context_do_not_show() -> None:
    write("prod", user="trader", password="p-secret", token="t-secret")
    nats = config.load(context="prod").nats
    assert (nats.url, nats.user) == ("nats://localhost:4222", "trader")
    assert nats.password is not None
    assert nats.token is not None
    assert (nats.password.get_secret_value(), nats.token.get_secret_value()) == ("p-secret", "t-secret")
    assert "secret" not in repr(nats).replace("SecretStr", "")


def test_without_the_variable_for_it_contexts_are_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    (Path(".config/nats/context")).mkdir(parents=True)
    Path(".config/nats/context/mine.json").write_text('{"url": "nats://mine:4222"}')
    assert config.load(context="mine").nats.url == "nats://mine:4222"


def test_the_nearest_name_of_a_context_wins_and_a_url_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("argument", "setting", "variable"):
        write(name, url=f"nats://{name}:4222", user=name)
    monkeypatch.setenv("NATS_CONTEXT", "variable")
    assert config.load().nats.user == "variable"
    Path("tickwire.toml").write_text('[nats]\nurl = "nats://own:4222"')
    assert config.load().nats.context is None
    Path("tickwire.toml").write_text('[nats]\ncontext = "setting"')
    assert config.load().nats.user == "setting"
    assert config.load(context="argument").nats.url == "nats://argument:4222"
    # A URL beside a context is another address for the same login.
    assert config.load(url="nats://given:4222").nats.model_dump(include={"url", "user"}) == {
        "url": "nats://given:4222",
        "user": "setting",
    }
    Path("tickwire.toml").unlink()
    assert config.load(url="nats://given:4222").nats.user is None


def test_a_login_that_is_set_replaces_that_of_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    write("prod", user="trader", password="p-secret", ca="/ca.pem")
    monkeypatch.setenv("TICKWIRE_NATS_CREDS", "/own.creds")
    nats = config.load(context="prod").nats
    assert (nats.user, nats.password, nats.creds, nats.tls_ca) == (None, None, Path("/own.creds"), Path("/ca.pem"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"socks_proxy": "socks5://127.0.0.1"}, "socks_proxy: not supported by tickwire; use a context without it"),
        ({"nsc": "nsc://o/a/u", "jetstream_domain": "hub"}, "jetstream_domain, nsc: not supported by tickwire"),
        ({"creds": "op://vault/item"}, "creds from op:// is not supported by tickwire; name a file"),
        ({"creds": "/a", "nkey": "/b"}, "creds and nkey are two logins; keep one of them"),
        ({"url": "nats://"}, "nats.url: write it as nats://host:port"),
        ({"inbox_prefix": "a.>"}, "nats.inbox_prefix: "),
        ({"tls_first": "perhaps"}, "nats.tls_first: "),
    ],
)
def test_what_cannot_be_used_of_a_context_is_named(fields: dict[str, object], said: str) -> None:
    write("prod", **fields)
    with pytest.raises(ConfigError) as refused:
        config.load(context="prod")
    assert str(refused.value).startswith("NATS context 'prod': ")
    assert said in str(refused.value)


def test_a_context_that_is_not_there_or_not_readable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write("one")
    write("two")
    monkeypatch.setenv("NATS_CONTEXT", "three")
    with pytest.raises(ConfigError, match=r"there is no NATS context 'three' in .*context; there are: one, two"):
        config.load()
    for name in ("../one", "..", "a/b"):
        with pytest.raises(ConfigError, match="cannot be the name of a NATS context"):
            config.load(context=name)
    for text in ("{", "[]"):
        (CONTEXTS / "three.json").write_text(text)
        with pytest.raises(ConfigError, match=r"NATS context 'three': .*three\.json is not "):
            config.load()
    (CONTEXTS / "three.json").unlink()
    (CONTEXTS / "three.json").mkdir()
    with pytest.raises(ConfigError, match=r"NATS context 'three': cannot read .*three\.json: Is a directory"):
        config.load()


def test_two_logins_of_the_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_NATS_CREDS", "/a.creds")
    monkeypatch.setenv("TICKWIRE_NATS_USER", "desk")
    with pytest.raises(ConfigError, match="nats: give one of user, creds and nkey"):
        config.load()
