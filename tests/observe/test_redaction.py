"""Texts without secrets: what is left out, what stays, and that no way out of a process shows one."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from ccxt.base import errors
from prometheus_client import CollectorRegistry

from support.web import served
from tickwire.errors import ExchangeFailed, InternalError
from tickwire.exchange import opening
from tickwire.fetcher.calls import Calls
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.observe import logs
from tickwire.redaction import described, excerpt, hide, redacted
from tickwire.settings import CREDENTIALS, ExchangeSettings, FetcherSettings, LogSettings, credentials, load

pytestmark = pytest.mark.pure

LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "binance GET https://api.binance.com/api/v3/account?timestamp=1&signature=5eC4e7 400 Bad Request",
            "binance GET https://api.binance.com/api/v3/account?*** 400 Bad Request",
        ),
        (
            "403, url='wss://ws-api.kucoin.com/endpoint?token=2neAiuYvAU61&connectId=1'",
            "403, url='wss://ws-api.kucoin.com/endpoint?***'",
        ),
        (f"wss://stream.binance.com:9443/ws/{LISTEN_KEY}", "wss://stream.binance.com:9443/ws/***"),
        ("http://someone:5eC4e7@proxy:3128/ refused", "http://someone:***@proxy:3128/ refused"),
        ("symbol=BTCUSDT&signature=5eC4e7&limit=5", "symbol=BTCUSDT&signature=***&limit=5"),
        ("AccessKeyId=5eC4e7&SignatureMethod=HmacSHA256", "AccessKeyId=***&SignatureMethod=HmacSHA256"),
        ('{"code":"200000","data":{"token":"5eC4e7"}}', '{"code":"200000","data":{"token":"***"}}'),
        (r'{"error": "{\"listenKey\":\"5eC4e7\"}"}', r'{"error": "{\"listenKey\":\"***\"}"}'),
        ("refused Authorization: Token 5eC4e7, see above", "refused Authorization: Token ***, see above"),
        ("{'X-MBX-APIKEY': '5eC4e7', 'OK-ACCESS-SIGN': '5eC4e7'}", "{'X-MBX-APIKEY': '***', 'OK-ACCESS-SIGN': '***'}"),
    ],
)
def test_what_is_secret_is_left_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "binance does not list BTC/USDX; did you mean BTC/USDT?",
        "sink.token: Input should be a valid string; correct the value",
        "okx GET https://www.okx.com/api/v5/market/candles 50011 Too Many Requests",
        "check TICKWIRE_NATS_PASSWORD",
        "the token is too long: design=5 assign=6",
    ],
)
def test_what_is_not_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_short_secret_is_no_part_of_a_number() -> None:
    assert redacted("uid 1234 at 1700001234000", ["1234"]) == "uid *** at 1700001234000"


@asynccontextmanager
async def refusing(status: int) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """An exchange that refuses every request; its URL, and what it was asked."""
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response({"code": -1, "msg": f"refused {request.query_string}"}, status=status)

    async with served(handle) as url:
        yield url, asked


SIGNED: dict[str, tuple[Any, str]] = {
    "binance": (lambda opened: opened.privateGetAccount(), "signature"),
    "htx": (lambda opened: opened.spotPrivateGetV1AccountAccounts(), "Signature"),
    "mexc": (lambda opened: opened.spotPrivateGetAccount(), "signature"),
}


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize("exchange", SIGNED)
async def test_a_signed_url_reaches_neither_an_error_nor_a_log(
    exchange: str, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    call, parameter = SIGNED[exchange]
    for end in ("API_KEY", "SECRET"):
        monkeypatch.setenv(f"TICKWIRE_{exchange.upper()}_{end}", f"{exchange}{end}9f8e7d6c5b4a")
    async with refusing(status) as (url, asked):
        settings = ExchangeSettings(gateway=url, ccxt={"enableRateLimit": False, "timeout_on_exit": 0})
        async with opening.open_exchange(exchange, settings, credentials(exchange)) as opened:
            calls = Calls(opened, FetcherSettings(attempts=2, backoff_s=0.01), 1, FetcherMetrics(CollectorRegistry()))
            logs.configure(LogSettings(format="json"))
            with pytest.raises(ExchangeFailed) as failed:
                await calls("the account", lambda: call(opened))
            logging.getLogger("of.a.library").exception("it failed", exc_info=failed.value)
            bug: BaseException | None = failed.value.__cause__
            told = str(InternalError(f"the job met a bug: {bug!r}"))
    # Each attempt signs the second at which it is made.
    raw = [request.query[parameter] for request in asked]
    signatures = [quote(each, safe="") for each in raw]
    shown = capfd.readouterr().err + str(failed.value) + told + described(failed.value.__cause__ or failed.value)
    assert min(map(len, signatures)) > 20
    assert signatures[-1] in str(failed.value.__cause__), "the error has none that could be seen"
    assert "Traceback" in shown
    for secret in (*signatures, *raw, f"{exchange}API_KEY9f8e7d6c5b4a", "SECRET9f8e7d6c5b4a"):
        assert secret not in shown


async def test_the_token_of_a_socket_reaches_no_error() -> None:
    token = "2neAiuYvAU61ZDXANAGAsiL4-iAExhsBXZxftpOeh_55i3Ysy2q2LEsEWU64mdzUOPusi34M_wGoSf7iNyEWJ"

    async def handle(request: web.Request) -> web.Response:
        if "bullet" in request.path:
            server = {"endpoint": f"ws://{request.host}/endpoint", "pingInterval": 18000, "protocol": "websocket"}
            return web.json_response({"code": "200000", "data": {"token": token, "instanceServers": [server]}})
        return web.Response(status=403)

    async with served(handle) as url:
        settings = ExchangeSettings(gateway=url)
        async with opening.open_exchange("kucoin", settings, pro=True) as exchange:
            opened: Any = exchange
            opened.open()
            opened.set_markets([{"id": "BTC-USDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "spot": True,
                                 "type": "spot", "contract": False, "info": {}}])  # fmt: skip
            with pytest.raises(errors.BaseError) as failed:
                await opened.watch_trades("BTC/USDT")
    chain: list[Any] = [failed.value]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    texts = [f"{error} {error!r}" for error in chain]
    assert any(token in text for text in texts), "the error has none that could be seen"
    assert not any(token in redacted(text) for text in texts)
    assert not any(token in described(error) for error in chain)


def test_credentials_are_left_out_of_every_text_once_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for end in CREDENTIALS:
        monkeypatch.setitem(os.environ, f"TICKWIRE_BYBIT_{end}", f"Zx9{end}/77+yQ")
    found = credentials("bybit")
    assert set(found) == set(CREDENTIALS.values())
    shown = redacted(json.dumps(found) + " ".join(found.values()) + repr(found))
    assert not re.search("Zx9|77.yQ", shown)


@pytest.mark.parametrize("variable", ["NATS_PASSWORD", "SINK_TOKEN", "SINK_PASSWORD"])
def test_passwords_of_the_settings_are_left_out_of_every_text_once_they_were_read(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"TICKWIRE_{variable}", "5eC4e7/0123456789")
    load()
    assert redacted("refused 5eC4e7/0123456789, which is no key") == "refused ***, which is no key"
    assert redacted("auth=5eC4e7%2F0123456789") == "auth=***"


def test_a_key_of_several_lines_is_left_out_in_every_form_that_a_log_gives_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "-----BEGIN EC PRIVATE KEY-----",
        'MHcCAQEEIA"5eC4e7',
        "AwEHoUQDQgAE5eC4e7==",
        "-----END EC PRIVATE KEY-----",
    ]
    key = "\n".join(lines)
    monkeypatch.setenv("TICKWIRE_COINBASE_SECRET", key)
    credentials("coinbase")
    logs.configure(LogSettings(format="json"))
    logging.getLogger("of.a.library").error("no key: %s", key)
    logging.getLogger("of.a.library").error("no key: %r", key)
    shown = capfd.readouterr().err + described(ValueError(key)) + described(ValueError(repr(key))) + redacted(lines[1])
    assert shown.count("no key") == 2
    assert "5eC4e7" not in shown


def test_a_text_is_cut_after_secrets_were_taken_out() -> None:
    hide(["5eC4e7aB-0123456789"])
    assert excerpt("no key\n5eC4e7aB-0123456789 here", 16) == "no key *** here"
    assert excerpt("no key 5eC4e7aB-0123456789", 13) == "no key ***"


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_that_ends_the_process_is_told_without_secrets(form: str) -> None:
    program = (
        "from tickwire.observe import logs; from tickwire.settings import LogSettings\n"
        f"logs.configure(LogSettings(format={form!r}))\n"
        "hidden = '5eC4' + 'e7'\n"
        "try: raise OSError(f'GET https://api.binance.com/api/v3/account?signature={hidden}')\n"
        "except OSError as error: raise RuntimeError(f'token={hidden}') from error\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert "api.binance.com/api/v3/account?***" in done.stderr
    assert "5eC4e7" not in done.stderr
