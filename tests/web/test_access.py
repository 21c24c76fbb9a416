"""Who may use the page: names, origins, passwords and proxies."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tickwire.errors import ConfigError
from tickwire.settings import WebSettings
from tickwire.web import access
from tickwire.web.access import Asked

pytestmark = pytest.mark.pure

HOST = "127.0.0.1:8420"
JSON = {"content-type": "application/json"}


def status(
    headers: Mapping[str, str], method: str = "GET", settings: WebSettings | None = None, *, is_socket: bool = False
) -> int:
    """The status that a request is refused with, else 200."""
    asked = Asked(method, is_socket, {"host": HOST, **headers})
    refused = access.refusal(settings or WebSettings(), asked)
    return 200 if refused is None else refused.status


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_a_browser_that_shows_the_page_may_read_ask_and_open_a_socket() -> None:
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert status({"sec-fetch-site": "none"}) == 200
    assert status(own, is_socket=True) == 200
    assert status(own | JSON, "POST") == 200
    # A link elsewhere may lead to the page.
    assert status({"sec-fetch-site": "cross-site"}) == 200


def test_a_program_that_is_no_browser_may_ask() -> None:
    assert status(JSON, "POST") == 200
    assert status({}, is_socket=True) == 200


@given(st.text(st.characters(codec="utf-8")))
def test_no_other_origin_may_ask_or_open_a_socket(origin: str) -> None:
    if origin.lower() not in (f"http://{HOST}", f"https://{HOST}"):
        for seen in (origin, f"http://{origin}", "null", f"http://{HOST}.example", f"http://x@{HOST}"):
            if seen.partition("//")[2].lower().split("/")[0].split("?")[0].split("#")[0] == HOST:
                continue
            assert status({"origin": seen} | JSON, "POST") == 403
            assert status({"origin": seen}, is_socket=True) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_browser_that_names_no_origin_says_where_it_comes_from(site: str) -> None:
    assert status({"sec-fetch-site": site} | JSON, "POST") == 403
    assert status({"sec-fetch-site": site}, is_socket=True) == 403


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_cannot_ask(kind: str) -> None:
    assert status({"content-type": kind}, "POST") == 415


def test_a_name_that_was_rebound_to_this_machine_is_none_of_the_page_s() -> None:
    for name in ("evil.example", "evil.example:8420", "127.0.0.1.evil.example", "", "[::1"):
        assert status({"host": name, "origin": f"http://{name}"}) == 403
    for name in ("localhost:8420", "[::1]:8420", "10.1.2.3:8420"):
        assert status({"host": name}) == 200
    assert status({"host": "Ticks.Example"}, settings=WebSettings(names=["ticks.example"])) == 200


def test_with_a_password_nothing_goes_without_it() -> None:
    settings = WebSettings(host="0.0.0.0", password=SecretStr("ö:x"))
    access.check(settings)
    assert status(basic("anybody:ö:x"), settings=settings) == 200
    for wrong in ({}, basic("anybody:ö"), basic("ö:x"), {"authorization": "Basic §"}, {"authorization": "Bearer ö:x"}):
        assert status(wrong, settings=settings) == 401
        assert status(wrong, settings=settings, is_socket=True) == 401


def test_behind_a_proxy_a_request_without_its_header_is_refused() -> None:
    settings = WebSettings(host="0.0.0.0", user_header="X-Forwarded-User")
    access.check(settings)
    assert status({"x-forwarded-user": "ada"}, settings=settings) == 200
    assert status({}, settings=settings) == 403
    assert status({"x-forwarded-user": " "}, settings=settings) == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "ticks.example"])
def test_elsewhere_than_on_loopback_the_page_is_not_served_openly(host: str) -> None:
    with pytest.raises(ConfigError, match="TICKWIRE_WEB_PASSWORD"):
        access.check(WebSettings(host=host))
    access.check(WebSettings(host=host, password=SecretStr("long")))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_it_is(host: str) -> None:
    access.check(WebSettings(host=host))
