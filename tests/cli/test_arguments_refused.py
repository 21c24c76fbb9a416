"""The command line's help, and arguments that are refused before any request."""

from __future__ import annotations

import pytest

from tickwire.cli.main import run

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "candles"),
        ([], "demo"),
        (["candles"], "verify"),
        (["candles", "fetch", "--help"], "--since"),
        (["candles", "get", "--help"], "parquet"),
        (["up", "--help"], "--cache"),
    ],
)
def test_help_says_what_there_is(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert expected in said.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["candels"], "Did you mean 'candles'"),
        (["candles", "gte"], "Did you mean 'get'"),
        (["candles", "get"], "EXCHANGES"),
        (["candles", "get", "binance", "BTC/USDT"], "TIMEFRAMES"),
        (["candles", "get", "binance", "BTC/USDT", "1m", "--format", "xml"], "'jsonl'"),
        (["candles", "get", "binance", "BTC/USDT", "1m", "--format", "parquet"], "--output"),
        (["candles", "get", "binance", "BTC/USDT", "1m", "--limit", "0"], "--limit"),
        (["candles", "get", "binance", "BTC/USDT", "1m", "--limit", "many"], "--limit"),
        (["candles", "fetch", "binance", "BTC/USDT", "1m", "--sinc", "1d"], "--since"),
        (["candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "2024-1"], "2024-01-31"),
        (["candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "1d", "--until", "2d"], "--until"),
        (["candles", "fetch", "binance", "BTC/USDT", "1x"], "1m, 15m, 4h"),
        (["candles", "fetch", "binance,", "BTC/USDT", "1m"], "single commas"),
        (["service", "streamr"], "fetcher"),
        (["log", "loud"], "warning"),
        (["log", "debug", "x" * 4096], "tickwire.fetcher"),
        (["jobs", "cancel", "x" * 4096], "not a job id"),
        (["jobs", "cancel", "not one"], "not a job id"),
        (["watch", "trade", "binance", "BTC/USDT", "--for", "nan"], "--for"),
        (["watch", "trade", "binance", "BTC/USDT", "--for", "-1"], "--for"),
        (["up", "--cache", "0"], "at least one"),
        (["simulator", "--no-such"], "--no-such"),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tickwire: ")
    assert len(said.err.splitlines()) == 1
    assert expected in said.err
