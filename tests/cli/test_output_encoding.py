"""Output to encodings other than UTF-8: no command fails, and machine-readable output is UTF-8."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.commands import Command, up
from support.processes import running_simulator, tickwire
from tickwire.bus.connection import connect
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Coverage, KeyRequest
from tickwire.model.subjects import Key
from tickwire.settings import NatsSettings

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

KEY = Key("binance", "币安人生/USDT", "1m")
SINCE = 1_700_000_040_000


async def cached(url: str) -> None:
    """Have a key cached whose symbol no Latin encoding has."""
    page = CandlePage(**KEY._asdict(), since=SINCE, until=SINCE + 60_000, rows=[(SINCE, 1.0, 1.0, 1.0, 1.0, 1.0)])
    async with connect(NatsSettings(url=url), name="test") as bus:
        await bus.append(subjects.ohlcv(KEY), messages.encode(page), message_id="encoded")
        request = KeyRequest(**KEY._asdict())
        while not (await bus.request("cache.coverage", request, Coverage)).rows:
            pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Command]:
    """`tickwire up` with a key cached whose symbol no Latin encoding has."""
    async with running_simulator() as simulator, up(tmp_path_factory.mktemp("up"), simulator) as started:
        await cached(await started.url())
        yield started


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
async def test_no_command_fails_for_the_encoding_of_its_output(running: Command, encoding: str) -> None:
    status = json.loads((await running.run("status", "--json")).out)
    env = running.env | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}

    async def said(*arguments: str) -> str:
        ended = await tickwire(env, *arguments)
        assert "Traceback" not in ended.err, ended.err
        assert ended.code == 0, (arguments, ended.err)
        return ended.out

    listed = await said("candles", "list")
    assert KEY.symbol.encode("ascii", "backslashreplace").decode() in listed
    for arguments in (("candles", "list", "--json"), ("candles", "verify", "--json")):
        assert KEY.symbol in json.dumps(json.loads(await said(*arguments)), ensure_ascii=False)
    assert json.loads(await said("status", "--json"))["nats_url"] == status["nats_url"]
    assert "1m" in await said("candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "1h")
    assert (await said("candles", "get", *KEY, "--format", "csv")).splitlines()[1].startswith(str(SINCE))
    rows = await said("candles", "get", f"{KEY.exchange}", f"{KEY.symbol},BTC/USDT", "1m", "--format", "csv")
    assert KEY.symbol in rows
    await said("status")
    await said("ps")
    await said("watch", "book", "binance", "BTC/USDT", "--count", "1")
