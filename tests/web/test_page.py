"""The page in a real Chromium, on a running pipeline: its numbers are those of the services, the cache and the tape."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from docs.browser import browsing
from support import live
from support.hearing import reports
from support.influx_api import Server, serving
from support.pipeline import Pipeline
from support.ports import free_port
from tickwire.model import messages
from tickwire.model.feeds import Feed
from tickwire.model.messages import ErrorReply, Job
from tickwire.model.messages.archive import Certificate
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from web.seen import Seen

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("chromium")]

BTC = Feed("trade", "binance", "BTC/USDT")
KEY = Key("binance", "BTC/USDT", "1h")
MINUTES = Key("binance", "BTC/USDT", "1m")
DAY_MS = 86_400_000
SERVICES = ("archive", "cache", "fetcher", "sink", "streamer", "web")
SOCKET = "stream.binance.com"
UNNAMED = """
[...document.querySelectorAll("button, a, input")]
    .filter((each) => !(each.ariaLabel || each.innerText || each.labels?.length)).length
"""
TALL = (
    """[...document.querySelectorAll("th[scope=row]")].filter((each) => each.offsetWidth < each.offsetHeight).length"""
)
ODD = ["BTC/USDT:USDT", "a\\b?#&%25'\"", "₿/€ \u202e", "x" * 4096, "<b>B</b>", "=41", "\x00"]
DEPTH = r"^depth of binance BTC.USDT 1m: bids: \S+ from \S+ to \S+; asks: \S+ from \S+ to \S+$"
WELL = "✓ nothing is wrong"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(line: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """The page of the module's pipeline in a browser, with every service; a feed of trades runs."""
    line.env["TICKWIRE_WEB_PORT"] = str(free_port())
    line.env["TICKWIRE_ARCHIVE_ROOT"] = str(line.folder / "archive")
    line.env["TICKWIRE_ARCHIVE_PART_MINUTES"] = "0.02"
    url = f"http://127.0.0.1:{line.env['TICKWIRE_WEB_PORT']}"
    database = Server("Token t", "/api/v2/write", {"org": "desk", "bucket": "tickwire", "precision": "ns"})
    async with (
        serving(database) as influx,
        browsing("about:blank", tmp_path_factory.mktemp("browser") / "chromium") as page,
    ):
        sink = {"URL": influx.url, "ORG": "desk", "TOKEN": "t"}
        line.env |= {f"TICKWIRE_SINK_{name}": value for name, value in sink.items()}
        for service in ("archive", "sink", "web"):
            await line.start(service)
            await line.started(service)
        await live.start(line.bus, BTC, "test")
        await page.command("Page.navigate", url=url)
        await page.until("document.getElementById('connection')?.textContent === 'connected'")
        yield Seen(page, url)


async def test_the_overview_has_what_the_services_say(seen: Seen, line: Pipeline) -> None:
    await seen.open("/")
    row = await seen.until_row("Feeds", "trade", "binance", "BTC/USDT", "● live")
    (report,) = await reports(line.bus)
    assert (row[8], row[9], row[10]) == ("0", report.owner, "1")
    assert 0 < int(row[7].replace(",", "")) <= report.messages
    for service in SERVICES:
        await seen.until_row("Services", service)
    (room,) = [row[6] for row in await seen.rows("Services") if row[0] == "cache"]
    assert room.endswith(f"{round(shutil.disk_usage(line.cache_dir).total / 1e9, 1)} GB free")
    assert {row[0] for row in await seen.rows("Leases")} == {"archive", "cache", "sink", "streamer"}
    await seen.until_text("#troubles", WELL)


async def test_a_cut_is_shown_as_it_happens_and_when_it_is_over(seen: Seen, line: Pipeline) -> None:
    await seen.open("/")
    await seen.until_row("Feeds", "trade", "● live")
    await line.simulator.fault(SOCKET, "ws_cut")
    await seen.until_text("#troubles", "1 feed (trade binance BTC/USDT) is disconnected from the exchange")
    await line.simulator.clear()
    await seen.until_row("Feeds", "trade", "● live")
    await seen.until_text("#troubles", WELL)


async def test_a_press_on_a_day_has_it_fetched(seen: Seen, line: Pipeline) -> None:
    await line.fetch(KEY, now_ms() - 3 * DAY_MS, now_ms() - 2 * DAY_MS)
    await seen.open("/coverage?days=7")
    date = datetime.fromtimestamp(now_ms() / 1000 - 5 * 86_400, UTC).date()
    cell = f"binance BTC/USDT 1h {date}: "
    await seen.until_button(f"{cell}nothing is known")
    # By keys alone: from the day before, by an arrow, to the cell, and pressed.
    await seen.focus(f"binance BTC/USDT 1h {date - timedelta(days=1)}: ")
    await seen.key("ArrowRight")
    assert (await seen.page.evaluate("document.activeElement.ariaLabel")).startswith(cell)
    await seen.key("Enter")
    await seen.until_button(f"{cell}complete")
    assert (await seen.page.evaluate("document.activeElement.ariaLabel")).startswith(cell)
    assert await seen.page.evaluate("document.querySelectorAll('.map button:not([tabindex])').length") == 1
    begin = int(datetime(date.year, date.month, date.day, tzinfo=UTC).timestamp() * 1000)
    opens = [row[0] for row in line.rows(KEY) if begin <= row[0] < begin + DAY_MS]
    assert opens == list(range(begin, begin + DAY_MS, 3_600_000))
    await seen.open("/")
    await seen.until_row("Jobs", "binance BTC/USDT 1h", "done", "24 of 24")


async def test_a_press_on_a_day_of_trades_has_it_archived(seen: Seen, line: Pipeline) -> None:
    await seen.open("/coverage?days=3")
    date = datetime.fromtimestamp(now_ms() / 1000 - 86_400, UTC).date()
    cell = f"binance BTC/USDT trades {date}: "
    await seen.until_button(f"{cell}nothing is known")
    await seen.press(cell)
    await seen.until_button(f"{cell}complete")
    folder = line.folder / "archive" / "trade" / "exchange=binance" / "symbol=BTC-USDT" / f"date={date}"
    certificate = messages.decode((folder / "day.json").read_bytes(), Certificate)
    ids = [int(each) for each in pq.read_table(folder / "data.parquet")["id"].to_pylist()]
    assert (certificate.condition, certificate.rows, certificate.history) == ("complete", len(ids), len(ids))
    page = await line.simulator.truth("aggregates", symbol="BTCUSDT", fromId=ids[0] - 1, limit=len(ids) + 2)
    begin = int(datetime(date.year, date.month, date.day, tzinfo=UTC).timestamp() * 1000)
    assert ids == [each["id"] for each in page if begin <= each["timestamp"] < begin + DAY_MS]
    assert ids == [each["id"] for each in page[1:-1]]


async def test_a_market_shows_what_the_cache_and_the_tape_have(seen: Seen, line: Pipeline) -> None:
    end = now_ms() - 120_000
    await line.fetch(MINUTES, end - 3_600_000, end)
    await seen.open("/market?m=binance+BTC/USDT+1m")
    await seen.until_row("Feeds of binance BTC/USDT", "trade", "● live")
    for kind in ("book", "candle"):
        await seen.press(f"start {kind} binance BTC/USDT")
    await seen.until_text(".ladder", "● live")
    await seen.until_text(".summary", "the open one")
    await seen.until_text(".summary", "Not known: ")
    await seen.page.until("document.querySelectorAll('.chart .shapelayer path').length > 0")
    await seen.page.until("document.querySelector('.chart').shown !== undefined")
    drawn = await seen.page.evaluate("document.querySelector('.chart').shown")
    columns = (drawn[name] for name in ("times", "opens", "highs", "lows", "closes", "volumes"))
    shown = {each[0]: each for each in zip(*columns, strict=True)}
    cached = {each[0]: each for each in line.rows(MINUTES) if each[0] < end}
    assert len(shown.keys() & cached.keys()) >= 59
    assert all(shown[at] == cached[at] for at in shown.keys() & cached.keys())
    await seen.page.until("document.querySelectorAll('[aria-label^=Tape] tbody tr').length === 50")
    tape = [(float(each[2]), float(each[3])) for each in reversed(await seen.rows("Tape of binance BTC/USDT"))]
    stored = [(each.price, each.amount) for each in (await live.on_tape(line.bus, BTC)).trades]
    assert any(stored[at : at + 50] == tape for at in range(len(stored)))
    # A book that is fetched again has no depth for a moment.
    await seen.page.until(f"/{DEPTH}/.test(document.querySelector('.depth svg')?.ariaLabel ?? '')")
    # Values that came since have left the chart to its library.
    assert await seen.page.evaluate("document.querySelectorAll('.chart.js-plotly-plot').length") == 1
    for kind in ("book", "candle"):
        await seen.press(f"stop {kind} binance BTC/USDT")
    await seen.until_text(".ladder.stale", "◐ not live: the feed does not run")
    await seen.page.until("document.querySelector('.depth svg') === null")
    async with asyncio.timeout(100):
        while [each.feed for each in await reports(line.bus)] != [BTC]:
            await asyncio.sleep(0.05)


async def test_markets_of_all_exchanges_are_found_as_one_types(seen: Seen) -> None:
    await seen.open("/market")
    await seen.until_text("#found", "binance BTC/USDT")
    await seen.type("input[name=market]", "eth")
    await seen.until_text("[aria-label='Markets of binance']", "ETH/USDT")
    await seen.type("input[name=market]", "ETHH/USDT")
    await seen.until_text("#found", "no such market; did you mean ETH/USDT")
    # By keys alone: to the suggestion, and pressed.
    await seen.page.evaluate("document.querySelector('#found a').focus()")
    await seen.key("Enter")
    await seen.until_row("Feeds of binance ETH/USDT", "trade", "■ does not run")
    assert await seen.page.evaluate("new URLSearchParams(location.search).get('m')") == "binance ETH/USDT 1m"
    await seen.type("input[name=market]", "binanse btc")
    await seen.until_text("#found", "no such market")
    await seen.until_text("#found", "there is no exchange 'binanse'; did you mean binance")
    await seen.type("input[name=market]", "binance btcusdt")
    await seen.until_text("[aria-label='Markets of binance']", "BTC/USDT, in use")


async def test_a_market_or_exchange_that_does_not_exist_is_said_to_be_none(seen: Seen) -> None:
    await seen.open(f"/market?{urlencode([('m', 'binance BTC/USDTT 1m'), ('m', 'binanse BTC/USDT 1m')], doseq=True)}")
    await seen.until_text(
        "[aria-label^='binance BTC/USDTT']", "✖ binance lists no market BTC/USDTT; did you mean BTC/USDT"
    )
    await seen.until_text("[aria-label^='binanse BTC/USDT']", "did you mean binance")


async def test_a_press_on_cancel_ends_a_job_and_the_focus_stays_at_another_one(seen: Seen, line: Pipeline) -> None:
    # Minutes of pages.
    await line.simulator.fault("klines", "delay", seconds=2.0)
    first, other = [
        await line.submit(Key("binance", symbol, "1m"), now_ms() - 400 * DAY_MS, now_ms() - 100 * DAY_MS)
        for symbol in ("ETH/USDT", "SOL/USDT")
    ]
    await seen.open("/")
    for job in (first, other):
        await seen.until_button(f"cancel job {job.id}")
    await seen.focus(f"cancel job {other.id}")
    await seen.press(f"cancel job {first.id}")
    await seen.until_text("#said", f"job {first.id}")
    await seen.until_row("Jobs", first.id, "failed")
    # The row above it is gone.
    assert (await seen.page.evaluate("document.activeElement.ariaLabel")).startswith(f"cancel job {other.id}")
    await seen.key("Enter")
    await line.simulator.clear()
    for job in (first, other):
        ended = await job.result()
        assert ended.error is not None
        assert ended.error.code == "cancelled"


@pytest.mark.parametrize("symbol", ODD)
async def test_an_odd_link_is_said_and_leaves_the_page_at_work(seen: Seen, symbol: str) -> None:
    address = f"/market?{urlencode({'m': f'binance {symbol} 1m'})}&{urlencode({'m': 'binance BTC/USDT 1m'})}"
    await seen.open(address)
    await seen.until_row("Feeds of binance BTC/USDT", "trade", "● live")
    await seen.until_text("#connection", "connected")
    assert await seen.page.evaluate("document.querySelectorAll('.market').length") == 2
    assert await seen.page.evaluate("document.querySelectorAll('main img, main b').length") == 0
    assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_nothing_that_comes_from_elsewhere_is_markup(seen: Seen, line: Pipeline) -> None:
    await seen.open("/")
    markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    said = Job(
        id="hostile", exchange="binance", symbol="<b>B</b>/USDT", timeframe="1h", state="failed", since=0, until=1,
        error=ErrorReply(code="exchange_failed", message=markup),
    )  # fmt: skip
    await line.bus.publish("md.job.hostile", said)
    await seen.until_text("#troubles", f"job hostile failed: {markup}")
    await seen.until_row("Jobs", "binance <b>B</b>/USDT 1h")
    assert await seen.page.evaluate("document.querySelectorAll('main img, main b').length") == 0
    assert await seen.page.evaluate("document.title") == "Overview · tickwire"


@pytest.mark.parametrize("width", [390, 1280])
async def test_each_view_fits_dark_and_light_and_its_buttons_have_names(seen: Seen, width: int, tmp_path: Path) -> None:
    """Pictures of them are in the folder of the test."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    await seen.page.command("Emulation.setDeviceMetricsOverride", **size)
    colours = set()
    for address in ("/", "/coverage?days=30", "/market?m=binance+BTC/USDT+1m"):
        await seen.open(address)
        await seen.page.until("document.querySelector('main table') !== null")
        for _ in range(2):
            await seen.page.evaluate("document.getElementById('theme').click()")
            colours.add(await seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert await seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await seen.page.evaluate(UNNAMED) == 0
        assert await seen.page.evaluate(TALL) == 0
        picture = await seen.page.command("Page.captureScreenshot", format="png")
        (tmp_path / f"{len(list(tmp_path.iterdir()))}.png").write_bytes(base64.b64decode(picture["data"]))
    assert len(colours) == 2


async def test_a_page_left_open_outlives_a_restart_of_every_service(seen: Seen, line: Pipeline) -> None:
    before = Job(id="before", exchange="binance", symbol="A/B", timeframe="1h", state="done", since=0, until=1)
    await line.bus.publish("md.job.before", before)
    await seen.open("/market?m=binance+BTC/USDT+1m")
    await seen.page.evaluate("window.kept = 'kept'")
    await seen.until_row("Feeds of binance BTC/USDT", "trade", "● live")
    await seen.press("start trade binance BTC/USDT")
    await seen.until_text("#said", "trade binance BTC/USDT is")
    others = SERVICES[:-1]
    assert await asyncio.gather(*(line.stop(service) for service in others)) == [0] * 5
    # What was shown last is no longer shown as live.
    await seen.until_text(".ladder.stale", "◐ not live: no streamer is running")
    await seen.until_row("Feeds of binance BTC/USDT", "trade", "? not known")
    await seen.open("/")
    assert await seen.page.evaluate("document.getElementById('said').textContent") == ""
    for service in others:
        await seen.until_text("#troubles", f"no {service} answers")
    assert await line.stop("web") == 0
    await seen.until_text("#connection", "the connection is lost")
    await asyncio.gather(*(line.start(service) for service in SERVICES))
    for service in SERVICES:
        await seen.until_row("Services", service)
    await seen.until_text("#connection", "connected")
    await seen.until_row("Feeds", "trade", "● live")
    # Jobs that ended before the page's process began are known from the broker.
    await seen.until_row("Jobs", "before", "binance A/B 1h", "done")
    assert await seen.page.evaluate("window.kept") == "kept"
