"""Settings: what is read, what wins, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tickwire import settings as config
from tickwire.errors import ConfigError
from tickwire.model import broker_urls as addresses

pytestmark = pytest.mark.pure


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and none of the developer's own variables."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TICKWIRE_"):
            monkeypatch.delenv(name)


def written(text: str) -> Path:
    path = Path("given.toml")
    path.write_text(text)
    return path


def test_without_any_configuration_the_defaults_hold() -> None:
    settings = config.load()
    assert settings.nats.url is None
    assert settings.cache_dir == Path("tickwire-data/cache")


def test_a_file_in_the_current_folder_is_found() -> None:
    Path("tickwire.toml").write_text('[cache]\ndir = "elsewhere"')
    assert config.load().cache_dir == Path("elsewhere")


def test_the_file_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_CONFIG", str(written("[cache]\npartitions = 3")))
    assert config.load().cache.partitions == 3


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_NATS_URL", "nats://there:4222")
    monkeypatch.setenv("TICKWIRE_LEASES_TTL_S", "1.5")
    monkeypatch.setenv("TICKWIRE_DATA_DIR", "data")
    settings = config.load(written('data_dir = "file"\n[nats]\nurl = "nats://here:4222"\nconnect_timeout_s = 2'))
    assert settings.nats.url == "nats://there:4222"
    assert settings.nats.connect_timeout_s == 2
    assert settings.leases.ttl_s == 1.5
    assert settings.data_dir == Path("data")


def test_a_ccxt_table_is_handed_on_as_it_stands() -> None:
    settings = config.load(
        written('[exchange.okx]\ngateway = "http://127.0.0.1:1/"\n[exchange.okx.ccxt]\noptions = {a = {b = 1}}')
    )
    assert settings.of_exchange("okx").ccxt == {"options": {"a": {"b": 1}}}
    assert settings.of_exchange("okx").gateway == "http://127.0.0.1:1"
    assert settings.of_exchange("kraken").ccxt == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cache]\ndirr = 1", "unknown key cache.dirr; did you mean dir"),
        ("natts = 1", "unknown key natts; did you mean nats"),
        ("[exchange.okx]\ngatway = 1", "unknown key exchange.okx.gatway; did you mean gateway"),
        ("[cache]\npartitions = 0", "cache.partitions"),
        ("[nats]\nurl = 'here'", "nats://host:port"),
        ("[nats\n", "not valid TOML"),
        ("[streamer]\nsilence_s = inf", "streamer.silence_s"),
        ("[fetcher]\nmax_backoff_s = nan", "fetcher.max_backoff_s"),
        ("[streamer]\ncadence_ms = 1000000000000000000", "streamer.cadence_ms"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_with_the_path(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(written(text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "given.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no configuration file nowhere\.toml"):
        config.load(Path("nowhere.toml"))


def test_a_misspelt_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_NATS_ULR", "nats://there:4222")
    with pytest.raises(ConfigError, match=r"TICKWIRE_NATS_ULR; did you mean TICKWIRE_NATS_URL\?"):
        config.load()


def test_credentials_come_from_the_environment_and_stay_out_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_BINANCE_API_KEY", "k-e-y")
    monkeypatch.setenv("TICKWIRE_BINANCE_SECRET", "s-e-c-r-e-t")
    assert config.credentials("binance") == {"apiKey": "k-e-y", "secret": "s-e-c-r-e-t"}
    assert config.credentials("okx") == {}
    assert "k-e-y" not in repr(config.load())


@pytest.mark.parametrize(
    ("address", "shown", "user"),
    [
        ("nats://one:4222", "nats://one:4222", None),
        ("one:4222, two:1", "nats://one:4222,nats://two:1", None),
        ("[::1]:4222", "nats://[::1]:4222", None),
        ("nats://one, tls://two:1", "nats://one,tls://two:1", None),
        ("nats://me:pa@ss%2Fword@one:4222", "nats://one:4222", "me"),
        ("nats://token@one:4222", "nats://one:4222", None),
        ("nats://one:1,nats://me:p@two:2", "nats://one:1,nats://two:2", "me"),
        ("wss://me:p@one:8443/path", "wss://one:8443/path", "me"),
        ("nats://me:p@[::1]:4222", "nats://[::1]:4222", "me"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(address: str, shown: str, user: str | None) -> None:
    assert addresses.are_valid(address)
    assert (addresses.without_credentials(address), addresses.user_of(address)) == (shown, user)


@pytest.mark.parametrize(
    "address",
    ["", ",", "one", "http://one", "me:pw@one:4222", "nats://me:12,w@one:4222", "one:70000", "nats://",
     "nats://:4222", "nats://one:port", "nats://one:70000",
     "nats://me:pa/ss@one:4222", "nats://me:12/ss@one", "nats://me:1?ss@one", "nats://me:1#ss@one", "nats://me:p,w@one",
     "nats://one,ws://two", "nats://[one"],
)  # fmt: skip
def test_what_cannot_be_the_address_of_a_broker_is_none(address: str) -> None:
    assert not addresses.are_valid(address)


def test_a_host_and_a_port_are_the_address_of_a_broker() -> None:
    """`tickwire url` prints it for programs, whose clients may want a scheme."""
    assert config.load(written("[nats]\nurl = 'localhost:4222'")).nats.url == "nats://localhost:4222"


def test_a_password_never_shows_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_NATS_PASSWORD", "hidden")
    assert "hidden" not in repr(config.load())


def test_what_a_check_of_ours_says_is_said_without_the_library_s_words() -> None:
    path = written("[nats]\nwebsocket_port = 8443")
    with pytest.raises(ConfigError) as found:
        config.load(path)
    assert found.value.message.startswith("given.toml: nats: name the pages that may connect")
