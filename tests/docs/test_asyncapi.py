"""The checked-in AsyncAPI document is current, valid and complete."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from nats.aio.msg import Msg

from support import live
from support.pipeline import CONFIG, pipeline
from support.processes import running_simulator
from tape.places import TRADES_STREAM, place_of
from tickwire import errors
from tickwire.bus import streams
from tickwire.errors import NotCached
from tickwire.model import asyncapi, asyncapi_subjects, schemas
from tickwire.model.feeds import Feed
from tickwire.model.messages import Candles, CandlesRequest, Coverage, KeyRequest, encode, error_reply
from tickwire.model.subjects import Key
from tickwire.settings import TapeSettings

pytestmark = pytest.mark.golden

EX, SYM = "binance", "BTC/USDT"
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
    found = document["components"]["messages"].items()
    # One is the broker's own.
    payloads = {each["payload"]["$ref"].rsplit("/", 1)[1] for name, each in found if name != "DirectGet"}
    # Those within others have no channel of their own.
    within = {
        "AddedRange",
        "ArchivedGap",
        "BookDelta",
        "BookEnd",
        "Difference",
        "EndRow",
        "Gap",
        "HourTotals",
        "ListedMarket",
        "Problem",
        "Provenance",
        "ProvenanceRows",
        "RebuiltDifference",
        "Refused",
        "Trade",
    }
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


def headers_of(document: Any) -> list[tuple[re.Pattern[str], set[str]]]:
    """For each subject, which headers its messages may have."""
    found = []
    for channel in document["channels"].values():
        if channel["address"]:
            pattern = re.sub(r"\\{\w+\\}", "[^.]+", re.escape(channel["address"]))
            found.append((re.compile(pattern), told(document, *channel["messages"].values())))
    return found


def told(document: Any, *references: dict[str, str]) -> set[str]:
    """The headers of messages."""
    names = [each["$ref"].rsplit("/", 1)[1] for each in references]
    return {
        header
        for name in names
        for header in document["components"]["messages"][name].get("headers", {}).get("properties", ())
    }


async def test_every_header_of_a_running_pipeline_is_in_the_document(
    broker: str, document: Any, tmp_path: Path
) -> None:
    """And every one that the document has of the tape, but for those of what retention emptied and of an expiry."""
    documented = headers_of(document)
    replies = told(document, *document["channels"]["JS_API_DIRECT_GET_stream_reply"]["messages"].values())
    replies |= told(document, {"$ref": "/ErrorReplyError"})
    seen: dict[str, set[str]] = defaultdict(set)
    unknown: set[tuple[str, str]] = set()
    feed = Feed("trade", EX, SYM)

    async def take(message: Msg) -> None:
        names = set(message.headers or ())
        if message.subject.startswith("_INBOX."):
            if not names & {"Nats-Service-Error-Code", "Nats-Num-Pending"}:
                # What services tell one another, and consumers of streams.
                return
            known, sort = replies, "reply"
        else:
            matching = [(pattern, those) for pattern, those in documented if pattern.fullmatch(message.subject)]
            if not matching:
                return
            known, sort = matching[0][1], matching[0][0].pattern.replace("\\", "").replace("[^.]+", "*")
        seen[sort] |= names
        unknown.update((sort, name) for name in names - known)

    async with (
        running_simulator("--live-rate", "50") as simulator,
        pipeline(broker, simulator, tmp_path, ("cache", "fetcher", "streamer")) as line,
    ):
        await line.start("cache", 1)
        await line.started("cache", 1)
        await line.bus.client.subscribe(">", cb=take)
        with pytest.raises(NotCached):
            await line.bus.request("cache.get", CandlesRequest(exchange=EX, symbol=SYM, timeframe="1h"), Candles)
        now = (await simulator.clock())["now"]
        await line.fetch(Key(EX, SYM, "1m"), now - 600_000)
        async with asyncio.timeout(100):
            while "Tickwire-Reply-To" not in seen["cache.partition.*.coverage"]:
                await line.bus.request("cache.coverage", KeyRequest(exchange=EX, symbol=SYM, timeframe="1m"), Coverage)
        for each in (feed, Feed("book", EX, SYM), Feed("ticker", EX, SYM), Feed("candle", EX, SYM, "1m")):
            await live.start(line.bus, each, "me", ttl_s=30)
        async with asyncio.timeout(100):
            # The pages of what was asked for above, too.
            wanted_sorts = {"md.trade.*.*", "md.book.*.*", "md.ticker.*.*", "tape.ohlcv.*.*.*"}
            while not wanted_sorts <= seen.keys():
                await asyncio.sleep(0.05)
            # A batch of the tape, up to the message that ends it.
            wanted = json.dumps({"next_by_subj": place_of(feed).subject, "seq": 1, "batch": 3}).encode()
            inbox = line.bus.client.new_inbox()
            await line.bus.client.publish(f"$JS.API.DIRECT.GET.{TRADES_STREAM}", wanted, reply=inbox)
            while "Status" not in seen["reply"]:
                await asyncio.sleep(0.05)
        await live.stop(line.bus, feed, "me")
        assert await line.stop("streamer") == 0
        await line.bus.client.flush()
    assert unknown == set()
    occasional = {"Tickwire-Last-Sequence", "Nats-TTL", "Nats-Marker-Reason"}
    for sort in ("md.trade.*.*", "md.book.*.*", "md.ticker.*.*", "tape.trade.*.*.*", "md.status.*.*.*"):
        (known,) = (those for pattern, those in documented if pattern.fullmatch(sort.replace("*", "x")))
        assert seen[sort] - occasional == known - occasional, sort
    assert {"KV-Operation", "Nats-Rollup", "Nats-TTL"} <= seen["$KV.INTEREST.*.*.*.*"]
    assert {"KV-Operation", "Nats-Expected-Last-Subject-Sequence"} <= seen["$KV.LEASES.*.lease.*"]
    assert seen["tape.ohlcv.*.*.*"] == {"Nats-Msg-Id"}
    # Trades were read.
    assert seen["reply"] - occasional == replies - occasional - {"Nats-Expected-Last-Subject-Sequence"}


def test_every_request_for_a_reply_in_chunks_may_ask_for_reports_of_work() -> None:
    """Services report for each of them; a forwarded request has the header beside others."""
    for each in asyncapi_subjects.ASKED:
        if any("more" in reply.__struct_fields__ for reply in each.replies):
            assert each.headers in ("Chunked", "Forwarded"), each.address
            assert "Tickwire-Working" in asyncapi_subjects.HEADERS[each.headers]


def test_every_stream_has_its_subjects_and_republished_ones_in_the_document(document: Any) -> None:
    known = addresses(document)

    def covered(subject: str) -> bool:
        # A partition has a number of its own where the document has a parameter.
        subject = re.sub(r"\{\{wildcard\(\d\)\}\}|(?<=\.)\d+(?=\.)|[A-Z_]+-\d+$", "*", subject)
        pattern = subject.replace(".", r"\.").replace("$", r"\$").replace("*", r"[^.]+").replace(">", ".+")
        return any(re.fullmatch(pattern, each) for each in known)

    for config in streams.declared(8, 2.0, TapeSettings()):
        for subject in config.subjects or ():
            assert covered(subject), subject
        if config.republish is not None:
            assert covered(config.republish.dest or ""), config.republish.dest
    assert covered("$KV.SINK.>")
    assert covered("$KV.ARCHIVE.TRADES-0")


async def test_the_document_has_exactly_the_endpoints_that_services_answer(
    broker: str, document: Any, tmp_path: Path
) -> None:
    receives = {
        re.sub(r"{\w+}", "*", document["channels"][each["channel"]["$ref"].rsplit("/", 1)[1]]["address"])
        for each in document["operations"].values()
        if each["action"] == "receive"
    }
    sink = '[sink]\nurl = "http://127.0.0.1:1"\nversion = 1\n'
    sink += f'[archive]\nroot = "{tmp_path / "archive"}"\n'
    services = ("cache", "fetcher", "streamer", "sink", "archive")
    async with (
        running_simulator() as simulator,
        pipeline(broker, simulator, tmp_path, services, CONFIG + sink) as line,
    ):
        served: set[str] = set()
        for service in services:
            await line.started(service)
            info = json.loads((await line.bus.client.request(f"$SRV.INFO.{service}", b"", timeout=60)).data)
            instance = info["metadata"]["instance"]
            served |= {each["subject"].replace(instance, "*") for each in info["endpoints"]}
    # Plain subscriptions: of every process, and of a partition's owner.
    of_owners = ("cache.partition.", "archive.write.", "archive.close.")
    plain = {"control.log"} | {each for each in receives if each.startswith(of_owners)}
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
