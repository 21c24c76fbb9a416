"""What `nats micro ls`, `ping`, `info` and `stats` ask, answered as ADR-32 of nats-io says, to programs as well.

https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md has the subjects and the fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from security.secured_pipeline import declared
from support.brokers import as_user, variables_of
from support.processes import Service, environment
from tickwire.bus.connection import Bus, connect

pytestmark = pytest.mark.faults

# https://semver.org, as the ADR has it.
SEMVER = r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$"
TEXT, COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
ENDPOINT = {"name": TEXT, "subject": TEXT, "queue_group": TEXT}
STATS = {"num_requests": COUNT, "num_errors": COUNT, "last_error": TEXT, "processing_time": COUNT}


def exactly(fields: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object with these fields, and perhaps with some more."""
    known = {"properties": fields | optional, "additionalProperties": False}
    return {"type": "object", "required": list(fields), **known}


def answer(verb: str, **fields: Any) -> dict[str, Any]:
    """The schema of an answer, with the fields that all have."""
    kind = {"const": f"io.nats.micro.v1.{verb.lower()}_response"}
    version = {"type": "string", "pattern": SEMVER}
    return exactly({"type": kind, "name": TEXT, "id": TEXT, "version": version, "metadata": TEXTS, **fields})


def listed(fields: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "array", "items": exactly(fields, **optional)}


SCHEMAS = {
    "PING": answer("PING"),
    "INFO": answer("INFO", description=TEXT, endpoints=listed(ENDPOINT | {"metadata": TEXTS})),
    "STATS": answer(
        "STATS",
        started=TEXT,
        endpoints=listed(ENDPOINT | STATS | {"average_processing_time": COUNT}, data={}),
    ),
}


@pytest.fixture(params=["desk", "operator"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    """A program, and an operator, on a broker with two caches."""
    async with declared(tmp_path / "nats") as server:
        env = environment(tmp_path, **variables_of(server.url, "cache"))
        async with (
            Service("cache", env, "--instance", "cache-1", log=tmp_path / "1.log") as one,
            Service("cache", env, "--instance", "cache-2", log=tmp_path / "2.log") as two,
            connect(as_user(server.url, request.param), name="test") as bus,
        ):
            for each in (one, two):
                await each.says('"event": "serving"')
            yield bus


async def asked(bus: Bus, verb: str, *more: str) -> list[dict[str, Any]]:
    """The answers of both caches, or of the one that is named, by their instance."""
    subject = ".".join(("$SRV", verb, *more))
    found = [json.loads(data) for data in await bus.request_all(subject, wait_s=30, most=1 if len(more) > 1 else 2)]
    for each in found:
        jsonschema.validate(each, SCHEMAS[verb])
    return sorted(found, key=lambda each: str(each["metadata"]["instance"]))


async def test_services_answer_nats_micro_as_its_protocol_says(bus: Bus) -> None:
    before = datetime.now(UTC)
    for _ in range(3):
        await bus.client.request("cache.coverage", b'{"exchange":"b","symbol":"B/U","timeframe":"1h"}', timeout=60)
    assert b"bad_request" in (await bus.client.request("cache.coverage", b'{"exchange": 1}', timeout=60)).data
    for verb in SCHEMAS:
        everyone = await asked(bus, verb)
        assert [(each["name"], each["metadata"]["instance"]) for each in everyone] == [
            ("cache", "cache-1"),
            ("cache", "cache-2"),
        ]
        assert len({each["id"] for each in everyone}) == 2
        assert [each["id"] for each in await asked(bus, verb, "cache")] == [each["id"] for each in everyone]
        (one,) = await asked(bus, verb, "cache", everyone[1]["id"])
        assert one["metadata"]["instance"] == "cache-2"
    information, statistics = await asked(bus, "INFO"), await asked(bus, "STATS")
    for info, stats in zip(information, statistics, strict=True):
        assert info["description"] == "tickwire cache"
        subjects = {each["subject"]: each["name"] for each in info["endpoints"]}
        assert subjects.keys() >= {"cache.get", "cache.coverage", "cache.list", "cache.verify", "cache.repair"}
        assert subjects == {each["subject"]: each["name"] for each in stats["endpoints"]}
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in subjects.values())
        assert {each["queue_group"] for each in info["endpoints"]} == {"q"}
        started = datetime.fromisoformat(stats["started"])
        assert before - timedelta(minutes=5) < started < before
    # Two instances share the requests.
    coverage = [each for stats in statistics for each in stats["endpoints"] if each["subject"] == "cache.coverage"]
    assert sum(each["num_requests"] for each in coverage) == 4
    assert sum(each["num_errors"] for each in coverage) == 1
    assert [bool(each["last_error"]) for each in coverage] == [each["num_errors"] > 0 for each in coverage]
    for each in coverage:
        number = each["num_requests"]
        assert each["average_processing_time"] == (each["processing_time"] // number if number else 0)
