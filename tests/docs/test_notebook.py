"""The example notebook, executed by a real kernel against a running pipeline. No ipywidgets are installed."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from docs.documents import EXAMPLES
from support.pipeline import Pipeline
from tickwire.client.notebook_progress import NotebookProgress
from tickwire.model.messages import Job
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.process import children

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

NOTEBOOK = EXAMPLES / "python" / "notebook.ipynb"
BAR = re.compile(r"binance BTC/USDT 1h: █{24} 100%  \d{3} rows, complete\Z")


def outputs(notebook: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """Of each cell of code: the kinds and texts of its outputs."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            texts = [each.get("text", each.get("data", {}).get("text/plain", "")) for each in cell["outputs"]]
            kinds = [each["output_type"] for each in cell["outputs"]]
            found.append([(kind, "".join(text)) for kind, text in zip(kinds, texts, strict=True)])
    return found


async def executed(line: Pipeline, folder: Path) -> dict[str, Any]:
    """The notebook after its cells were run."""
    argv: list[str | Path] = [
        Path(sys.executable).with_name("jupyter-execute"),
        f"--output={folder / 'executed.ipynb'}",
        NOTEBOOK,
    ]
    env = os.environ | {"TICKWIRE_NATS_URL": line.bus.url, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(folder)}
    async with children.child(argv, env=env, stdout=children.PIPE, stderr=children.PIPE) as process:
        said = (await process.communicate())[1].decode()
        assert process.returncode == 0, said
    found: dict[str, Any] = json.loads((folder / "executed.ipynb").read_text())
    return found


async def test_the_notebook_runs_as_it_is_kept_and_only_what_is_fetched_shows_progress(
    line: Pipeline, tmp_path: Path
) -> None:
    assert find_spec("ipywidgets") is None
    kept, first = outputs(json.loads(NOTEBOOK.read_text())), outputs(await executed(line, tmp_path))
    kinds = [[kind for kind, _ in each] for each in first]
    assert kinds == [[kind for kind, _ in each] for each in kept]
    assert not any("stream" in each for each in kinds), "nothing is said on standard error: no warning"
    connected, candles, again, trades, _ = first
    assert connected[0][1].startswith("<tickwire client without async, connected to nats://")
    # In place of the bars before it: one output, replaced.
    assert BAR.match(candles[0][1]), candles
    assert "close" in candles[1][1]
    assert len(again) == 1, "all is cached: nothing but the result"
    assert all(symbol in trades[0][1] for symbol in ("BTC/USDT", "ETH/USDT"))

    second = outputs(await executed(line, tmp_path))
    assert [kind for kind, _ in second[1]] == ["execute_result"], "all is cached now"


async def test_progress_in_a_notebook_is_a_line_for_each_key() -> None:
    one, other = Key("okx", "A/B", "1h"), Key("okx", "C/D", "1h")
    shown = NotebookProgress([one, other])
    assert shown.text() == "okx A/B 1h: waiting\nokx C/D 1h: waiting"
    # Nothing to do is nothing to show: no output is asked of IPython, which does not run here.
    shown(
        Job(
            id="1", exchange="okx", symbol="A/B", timeframe="1h", since=0, until=9, state="done", rows_from_cache=3,
            rows_expected=3, complete=True,
        )
    )  # fmt: skip
    assert shown.text().splitlines()[0] == f"okx A/B 1h: {'█' * 24} 100%  3 rows, complete"
    half = Job(
        id="2", exchange="okx", symbol="C/D", timeframe="1h", since=0, until=9, state="done", rows_fetched=0,
        rows_from_cache=5, rows_expected=10, complete=True, missing=[Range(5, 9)],
    )  # fmt: skip
    shown(half)
    assert "5 rows" in shown.text()
