"""The tables of the commands at 80, 100 and 160 columns, as they were looked at.

`python -m cli.redraw` in `tests` draws them anew; look at each before it is committed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.pictures import FAILED, FEEDS, JOBS, KEYS, PICTURES, WIDTHS, drawn
from tickwire.cli.output.fitting_table import FittingTable

pytestmark = pytest.mark.golden

FOLDER = Path(__file__).parents[1] / "golden" / "screens"

NAMES: dict[str, list[tuple[str, ...]]] = {
    "candles-list": [(*key, rows) for key, rows in zip(KEYS, ("46,720", "8,760", "8,640", "1,234,567"), strict=True)],
    "fetched": [job.key for job in JOBS],
    "jobs": [(job.id, " ".join(job.key)) for job in JOBS],
    "ps": [(str(each.feed), each.state) for each in FEEDS],
    "ps-failed": [(str(each.feed), each.state) for each in (*FEEDS, FAILED)],
    "started": [(each.state, each.feed.public) for each in FEEDS],
    "status": [("streamer-3fa2c1",), ("fetcher-77ab12",), ("14,204,881",), *((str(each.feed),) for each in FEEDS)],
    "status-watch": [("streamer-3fa2c1",), ("14,204,881",), *((str(each.feed),) for each in FEEDS)],
    "candles-get": [("2026-01-01 11:56", "91,235.5"), ("2026-01-01 11:59", "91,238.5")],
    "candles-get-keys": [("binance", "BTC/USDT", "1m", "2026-01-01 11:56", "91,235.5")],
}
"""Of each picture, what has to stand whole in one line."""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_a_screen_looks_as_it_did_when_it_was_looked_at(name: str, width: int) -> None:
    assert drawn(name, width) == (FOLDER / f"{name}-{width}.txt").read_text()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PICTURES)
def test_no_name_and_no_number_is_cut(name: str, width: int) -> None:
    lines = drawn(name, width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert not any("…" in line for line in lines)
    for parts in NAMES[name]:
        assert any(all(part in line for part in parts) for line in lines), parts


words = st.text("abcXYZ0123456789/:-", min_size=1, max_size=14)


@given(st.lists(st.tuples(words, words, words, words), min_size=1, max_size=4), st.integers(20, 70))
def test_columns_are_left_out_whole_in_their_order_and_only_for_want_of_room(
    rows: list[tuple[str, str, str, str]], width: int
) -> None:
    names = ("key", "count", "why", "owner")
    table = FittingTable("", names, least=("owner", "count"))
    for row in rows:
        table.add_row(*row)
    shown = table.shown(width)
    assert shown in (["key", "count", "why", "owner"], ["key", "count", "why"], ["key", "why"])

    def needed(columns: list[str]) -> int:
        cells = [max(len(name), *(len(row[names.index(name)]) for row in rows)) for name in columns]
        return sum(cells) + 2 * (len(cells) - 1)

    wider = {2: ["key", "count", "why"], 3: [*names]}.get(len(shown))
    assert wider is None or needed(wider) > width
    assert needed(shown) <= width or len(shown) == 2
