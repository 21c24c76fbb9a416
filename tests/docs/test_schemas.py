"""The checked-in message schemas."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from tickwire.errors import BadRequest
from tickwire.model import messages, schemas

pytestmark = pytest.mark.golden

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

MESSAGES = {
    "CandlePage": '{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1m","since":0,"until":120000,'
    '"rows":[[0,1.0,2.0,0.5,1.5,10.0]],"source":"rest"}',
    "FetchRequest": '{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1h","since":1704067200000}',
    "ErrorReply": '{"code":"unknown_symbol","message":"no such symbol"}',
    "LogLevel": '{"level":"debug"}',
}


def test_the_checked_in_schemas_are_those_of_the_structs() -> None:
    expected = {f"{kind.__name__}.json": schemas.schema(kind) for kind in schemas.structs()}
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == expected, "run `make schemas`"


@pytest.mark.parametrize("name", MESSAGES)
def test_a_schema_accepts_what_the_struct_accepts(name: str) -> None:
    jsonschema.validate(json.loads(MESSAGES[name]), json.loads((FOLDER / f"{name}.json").read_text()))
    messages.decode(MESSAGES[name].encode(), getattr(messages, name))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_may_gain_fields(name: str) -> None:
    grown = json.loads(MESSAGES[name]) | {"added_later": 1}
    jsonschema.validate(grown, json.loads((FOLDER / f"{name}.json").read_text()))
    assert messages.decode(json.dumps(grown).encode(), getattr(messages, name)) == msgspec.json.decode(
        MESSAGES[name], type=getattr(messages, name)
    )


def test_a_message_that_does_not_fit_is_refused_by_the_field() -> None:
    with pytest.raises(BadRequest, match=r"\$\.since"):
        messages.decode(
            b'{"exchange":"binance","symbol":"BTC/USDT","timeframe":"1h","since":"today"}', messages.FetchRequest
        )
