"""The checked-in AsyncAPI document: current, valid, and of all that there is."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.pipeline import CONFIG, pipeline
from support.processes import running_simulator
from tickwire import asyncapi, errors, schemas, streams
from tickwire.config import TapeSettings
from tickwire.messages import encode, error_reply

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "asyncapi.json"


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(DOCUMENT.read_text())


def addresses(document: Any) -> set[str]:
    """Subjects, with * for each parameter."""
    return {re.sub(r"{\w+}", "*", each["address"]) for each in document["channels"].values() if each["address"]}


def test_the_checked_in_document_is_current() -> None:
    assert DOCUMENT.read_text() == asyncapi.written(), "run `make schemas`"


def test_every_message_is_in_a_channel_with_the_schema_that_is_checked_in(document: Any) -> None:
    payloads = {each["payload"]["$ref"].rsplit("/", 1)[1] for each in document["components"]["messages"].values()}
    # Those within others have no channel of their own.
    within = {"BookDelta", "Gap", "Problem", "Trade"}
    assert payloads | within == {kind.__name__ for kind in schemas.structs()}
    for name in payloads:
        alone = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())["$defs"][name]
        assert document["components"]["schemas"][name]["properties"].keys() == alone["properties"].keys()


def test_an_error_reply_fits_its_schema_and_every_code_is_told(document: Any) -> None:
    schema = document["components"]["schemas"]["ErrorReply"]
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TickwireError)
    ]
    assert set(schema["properties"]["code"]["examples"]) == {kind.code for kind in kinds}
    for kind in kinds:
        jsonschema.validate(json.loads(encode(error_reply(kind("wrong", "remedy")))), schema)


def test_the_headers_that_tell_of_holes_and_of_errors_are_told(document: Any) -> None:
    found = document["components"]["messages"]
    assert {"Nats-Sequence", "Nats-Last-Sequence"} <= found["TradesTape"]["headers"]["properties"].keys()
    assert {"Nats-Service-Error-Code", "Nats-Service-Error"} == found["ErrorReplyError"]["headers"]["properties"].keys()


def test_every_stream_has_its_subjects_and_republished_ones_in_the_document(document: Any) -> None:
    known = addresses(document)

    def covered(subject: str) -> bool:
        pattern = subject.replace(".", r"\.").replace("$", r"\$").replace("*", r"[^.]+").replace(">", ".+")
        return any(re.fullmatch(pattern, each) for each in known)

    for config in streams.declared(8, 2.0, TapeSettings()):
        for subject in config.subjects or ():
            assert covered(subject), subject
        if config.republish is not None:
            assert covered(config.republish.dest or ""), config.republish.dest
    assert covered("$KV.SINK.>")


async def test_every_endpoint_that_a_service_answers_is_in_the_document_and_the_other_way_round(
    broker: str, document: Any, tmp_path: Path
) -> None:
    receives = {
        re.sub(r"{\w+}", "*", document["channels"][each["channel"]["$ref"].rsplit("/", 1)[1]]["address"])
        for each in document["operations"].values()
        if each["action"] == "receive"
    }
    sink = '[sink]\nurl = "http://127.0.0.1:1"\nversion = 1\n'
    services = ("cache", "fetcher", "streamer", "sink")
    async with (
        running_simulator() as simulator,
        pipeline(broker, simulator, tmp_path, services, CONFIG + sink) as line,
    ):
        served: set[str] = set()
        for service in services:
            await line.started(service)
            info = json.loads((await line.bus.client.request(f"$SRV.INFO.{service}", b"", timeout=5)).data)
            instance = info["metadata"]["instance"]
            served |= {each["subject"].replace(instance, "*") for each in info["endpoints"]}
    # Plain subscriptions: of every process, and of a partition's owner.
    plain = {"control.log"} | {each for each in receives if each.startswith("cache.partition.")}
    assert served == receives - plain


@pytest.mark.needs("node")
async def test_the_document_is_valid_by_asyncapis_own_parser() -> None:
    process = await asyncio.create_subprocess_exec(
        "node",
        "validate.mjs",
        DOCUMENT,
        cwd=ROOT / "examples",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert re.fullmatch(rb"\d+ channels, \d+ operations\n", out)
