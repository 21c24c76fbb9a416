"""InfluxDB 2 and 3, which cannot be installed here, by their HTTP interface: a server that takes what their API
references say, and parses every line by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from support.influx_api import Server, serving
from support.web import served
from tickwire.errors import ConfigError
from tickwire.redaction import redacted
from tickwire.settings import SinkSettings
from tickwire.sink.influx import open_influx
from tickwire.sink.metrics import SinkMetrics

pytestmark = pytest.mark.actors

LINES = [f"trades,symbol=BTC/USDT price={n},amount=0.5 {1_700_000_000_000_000_000 + n}" for n in range(5)]


V2 = ("Token s3cret", "/api/v2/write", {"org": "desk", "bucket": "ticks", "precision": "ns"})
V3 = ("Bearer s3cret", "/api/v3/write_lp", {"db": "ticks", "precision": "nanosecond", "accept_partial": "false"})


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen refusals take two seconds, not twenty."""
    monkeypatch.setattr("tickwire.sink.influx.MAX_WAIT_S", 0.2)


def settings(server: Server, version: int, **changes: object) -> SinkSettings:
    known = {"url": server.url, "version": version, "database": "ticks", "org": "desk", "token": SecretStr("s3cret")}
    return SinkSettings(**(known | changes))  # type: ignore[arg-type]


versions = pytest.mark.parametrize(("version", "make"), [(2, lambda: Server(*V2)), (3, lambda: Server(*V3))])
Make = Callable[[], Server]


@versions
async def test_lines_arrive_at_the_versions_own_path_with_its_authorization(version: int, make: Make) -> None:
    async with (
        serving(make()) as server,
        open_influx(settings(server, version), SinkMetrics(CollectorRegistry())) as influx,
    ):
        await influx.prepare()
        await influx.write(LINES)
        assert len(server.taken) == 5
        assert server.requests == 1


@versions
async def test_what_is_refused_for_a_while_is_written_later(version: int, make: Make) -> None:
    async with (
        serving(make()) as server,
        open_influx(settings(server, version), SinkMetrics(CollectorRegistry())) as influx,
    ):
        server.answers = [503, 429, 500]
        await influx.write(LINES)
        assert len(server.taken) == 5
        assert influx.failures == 3


@versions
async def test_a_point_that_is_refused_for_good_is_counted_and_the_others_are_written(version: int, make: Make) -> None:
    async with (
        serving(make()) as server,
        open_influx(settings(server, version), SinkMetrics(CollectorRegistry())) as influx,
    ):
        server.poison = "price=3,"
        await influx.write(LINES)
        assert sorted(fields.split(",")[0] for fields in server.taken.values()) == [
            "price=0",
            "price=1",
            "price=2",
            "price=4",
        ]
        assert influx.rejected == 1


@versions
@pytest.mark.parametrize(
    "refusal",
    [
        (500, "unexpected error writing points to database: partial write: field type conflict: input field"),
        (422, "failure writing points to database: partial write: points beyond retention policy"),
        (500, "an internal error has occurred"),
    ],
    ids=["conflict", "retention", "unnamed"],
)
async def test_a_point_that_always_fails_in_the_database_is_refused_and_others_written(
    version: int, make: Make, refusal: tuple[int, str]
) -> None:
    async with (
        serving(make()) as server,
        open_influx(settings(server, version), SinkMetrics(CollectorRegistry())) as influx,
    ):
        server.poison, server.refusal = "price=3,", refusal
        async with asyncio.timeout(100):
            assert await influx.write(LINES) == 4
            assert influx.rejected == 1
            # A batch of nothing else, too.
            assert await influx.write(LINES[3:4]) == 0
        assert influx.rejected == 2
        prices = {fields.split(",")[0] for (series, _), fields in server.taken.items() if series.startswith("trades")}
        assert prices == {"price=0", "price=1", "price=2", "price=4"}


async def test_points_beyond_the_retention_of_a_bucket_cost_one_request_however_many() -> None:
    async with (
        serving(Server(*V2)) as server,
        open_influx(settings(server, 2), SinkMetrics(CollectorRegistry())) as influx,
    ):
        server.expired = 1_700_000_000_000_000_000 + 900
        lines = [f"trades,symbol=BTC/USDT price={n} {1_700_000_000_000_000_000 + n}" for n in range(1000)]
        async with asyncio.timeout(100):
            assert await influx.write(lines) == 100
        assert (influx.rejected, server.requests, len(server.taken)) == (900, 1, 100)


@versions
async def test_nothing_is_given_up_while_the_database_takes_nothing_at_all(version: int, make: Make) -> None:
    async with (
        serving(make()) as server,
        open_influx(settings(server, version), SinkMetrics(CollectorRegistry())) as influx,
    ):
        # Twelve answers: more than it takes to doubt the points, and to be shown that it is the database.
        server.answers = [500] * 12
        async with asyncio.timeout(200):
            assert await influx.write(LINES) == 5
        assert influx.rejected == 0


@versions
async def test_a_wrong_token_or_database_is_a_typed_error_that_names_the_setting(version: int, make: Make) -> None:
    async with serving(make()) as server:
        async with open_influx(
            settings(server, version, token=SecretStr("wrong")), SinkMetrics(CollectorRegistry())
        ) as influx:
            with pytest.raises(ConfigError, match="401") as refused:
                await influx.write(LINES)
        assert "TICKWIRE_SINK_TOKEN" in str(refused.value)
        assert "wrong" not in str(refused.value)
        async with open_influx(settings(server, version, database="other"), SinkMetrics(CollectorRegistry())) as influx:
            with pytest.raises(ConfigError, match="bucket not found") as unknown:
                await influx.write(LINES)
        assert "sink.database" in str(unknown.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_credentials_that_a_database_repeats_are_in_no_error_and_no_log(
    version: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    token, heard = "5eC4e7-" + "0123456789" * 4, []

    async def refuse(request: web.Request) -> web.Response:
        heard.append(request.headers["Authorization"].split()[-1])
        # With all of them, and with one that lies where the text is cut.
        said = f"{request.headers['Authorization']} {heard[-1]}".ljust(480, ".") + heard[-1]
        return web.json_response({"message": said}, status=status)

    async with served(refuse) as url:
        wanted = SinkSettings(
            url=url,
            version=version,  # type: ignore[arg-type]
            org="desk",
            token=SecretStr(token),
            username="desk",
            password=SecretStr(token),
        )
        said = ""
        async with open_influx(wanted, SinkMetrics(CollectorRegistry())) as influx:
            writing = asyncio.create_task(influx.write(LINES[:1]))
            async with asyncio.timeout(100):
                while not (writing.done() or influx.failures):
                    await asyncio.sleep(0.01)
            writing.cancel()
            (found,) = await asyncio.gather(writing, return_exceptions=True)
            said = f"{found!r} {found}"
    # As `tickwire.logs` shows it.
    shown = said + redacted(caplog.text)
    assert heard
    assert "***" in shown
    for secret in (token, heard[0]):
        assert secret[:12] not in shown


async def test_a_server_that_is_not_there_is_waited_for() -> None:
    async with serving(Server(*V2)) as server:
        port = int(server.url.rsplit(":", 1)[1])
    async with open_influx(settings(server, 2), SinkMetrics(CollectorRegistry())) as influx:
        writing = asyncio.create_task(influx.write(LINES))
        async with asyncio.timeout(100):
            while influx.failures == 0:
                await asyncio.sleep(0.01)
        async with served(server.take, port), asyncio.timeout(100):
            await writing
        assert len(server.taken) == 5
