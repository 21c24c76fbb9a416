"""ccxt without the exchanges nobody asked for, each tried in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def said(code: str) -> str:
    """What a fresh interpreter prints."""
    start = "import sys\nfrom tickwire import lightccxt\nlightccxt.install()\n"
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


@pytest.mark.parametrize("exchange", ["binance", "binanceusdm", "okx", "bybit", "kraken", "coinbase"])
def test_an_exchange_is_the_class_that_ccxt_has_under_its_name(exchange: str) -> None:
    code = f"""
from ccxt.base.errors import NetworkError
import ccxt.pro
kind = ccxt.pro.{exchange}
exchange = kind({{}})
print(kind.__module__, exchange.id, ccxt.NetworkError is NetworkError, issubclass(kind, ccxt.async_support.Exchange))
"""
    assert said(code) == f"ccxt.pro.{exchange} {exchange} True True"


def test_whatever_else_is_asked_of_ccxt_is_there() -> None:
    code = """
import ccxt, ccxt.pro
print(len(ccxt.exchanges) > 90, len(ccxt.pro.exchanges) > 60, ccxt.__version__.count("."))
from ccxt import kraken, BadSymbol
print(kraken({}).id, BadSymbol.__name__)
"""
    assert said(code) == "True True 2\nkraken BadSymbol"


def test_what_ccxt_does_not_have_is_an_attribute_error() -> None:
    code = """
import ccxt.pro
print(getattr(ccxt.pro, "no_such_exchange", None))
"""
    assert said(code) == "None"
