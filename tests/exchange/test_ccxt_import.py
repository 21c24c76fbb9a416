"""ccxt without the exchanges nobody asked for, each tried in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.pure


def said(code: str) -> str:
    """What a fresh interpreter prints."""
    start = "import sys\nfrom tickwire.exchange.ccxt_patches import lazy_packages\nlazy_packages.install()\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_only_the_exchanges_that_are_named_are_imported() -> None:
    code = """
import ccxt.pro
ccxt.pro.binance, ccxt.async_support.okx
print([name for name in ("binance", "okx", "kraken") if f"ccxt.async_support.{name}" in sys.modules])
print("ccxt.pro.okx" in sys.modules)
"""
    assert said(code) == "['binance', 'okx']\nFalse"


def test_an_exchange_is_the_class_that_ccxt_has_under_its_name() -> None:
    code = """
from ccxt.base.errors import NetworkError
import ccxt.pro
for name in ("binance", "binanceusdm", "okx", "bybit", "kraken", "coinbase"):
    kind = getattr(ccxt.pro, name)
    assert kind({}).id == name
    assert issubclass(kind, ccxt.async_support.Exchange)
    print(kind.__module__, end=" ")
print(ccxt.NetworkError is NetworkError)
"""
    modules = ["binance", "binanceusdm", "okx", "bybit", "kraken", "coinbase"]
    assert said(code) == " ".join([*(f"ccxt.pro.{name}" for name in modules), "True"])


def test_an_exchange_that_another_thread_is_about_to_name_is_that_class() -> None:
    """Python names a module in its package after others may take it as imported."""
    code = """
import ccxt.async_support
kind = ccxt.async_support.binance
del vars(ccxt.async_support)["binance"]
print(ccxt.async_support.binance is kind)
"""
    assert said(code) == "True"


def test_an_asynchronous_exchange_needs_no_requests_and_sends_its_name_all_the_same() -> None:
    code = """
import asyncio
import ccxt.pro
agent = ccxt.pro.binance().userAgent
print(sorted({"requests", "urllib3", "charset_normalizer"} & sys.modules.keys()))
import requests.utils
print(agent == requests.utils.default_user_agent())
"""
    assert said(code) == "[]\nTrue"


def test_a_synchronous_exchange_has_the_session_and_the_errors_of_requests() -> None:
    code = """
import ccxt
exchange = ccxt.kraken({"urls": {"api": {"public": "http://127.0.0.1:1"}}})
import requests
print(type(exchange.session) is requests.Session)
try:
    exchange.fetch_time()
except ccxt.NetworkError as error:
    print(type(error.__cause__) is requests.exceptions.ConnectionError)
"""
    assert said(code) == "True\nTrue"


def test_whatever_else_is_asked_of_ccxt_is_there_or_an_attribute_error() -> None:
    code = """
import ccxt, ccxt.pro
print(len(ccxt.exchanges) > 90, len(ccxt.pro.exchanges) > 60, ccxt.__version__.count("."))
from ccxt import kraken, BadSymbol
print(kraken({}).id, BadSymbol.__name__, getattr(ccxt.pro, "no_such_exchange", None))
"""
    assert said(code) == "True True 2\nkraken BadSymbol None"
