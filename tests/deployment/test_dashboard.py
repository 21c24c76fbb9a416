"""Grafana's dashboard: made by its script, and asking only for what Prometheus has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.scraping import Description, described

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def test_the_dashboard_is_the_one_that_is_made_and_asks_only_for_metrics_that_exist() -> None:
    path = ROOT / "deploy/grafana/dashboards/tickwire.json"
    namespace: dict[str, Any] = {"__file__": str(ROOT / "deploy/grafana/make_dashboard.py"), "__name__": "made"}
    exec((ROOT / "deploy/grafana/make_dashboard.py").read_text(), namespace)
    dashboard = json.loads(path.read_text())
    assert dashboard == namespace["dashboard"]()
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries = [each["query"] for each in dashboard["templating"]["list"]]
    asked = {name for text in (*expressions, *queries) for name in re.findall(r"\b(?:tickwire|process)_\w+", text)}
    exist = set(described())
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= exist
    # And leaves out nothing that says how tickwire itself fares.
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert {name for name in exist - shown if name.startswith("tickwire_")} <= {
        "tickwire_feed_messages_total", "tickwire_fetcher_pages_total", "tickwire_cache_pages_total",
        "tickwire_broker_messages_total", "tickwire_instances", "tickwire_sink_active",
    }  # fmt: skip
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def target_labels() -> set[str]:
    """What Prometheus adds to every series."""
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    added = {each["target_label"] for each in job["relabel_configs"]}
    return {"job", "instance"} | {label for label in added if not label.startswith("__")}


def flaws(expression: str, legend: str = "") -> list[str]:
    """What a query asks for that does not exist: suffixes of what is no histogram, labels that no series has.

    What is documented of types and labels is what is scraped: test_metrics*.py compare every scrape.
    """
    known, found = described(), []
    everywhere, labels = target_labels(), set()
    for name, matchers in re.findall(r"\b((?:tickwire|process)_\w+|up\b)(?:\{([^}]*)\})?", expression):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        described_ = known.get(base, Description("", frozenset()))
        if (described_.type == "histogram") != (name != base):
            found.append(f"{base} is a {described_.type}, and {name} is asked for")
        if (described_.type == "counter") != name.endswith("_total") and described_.type:
            found.append(f"{name} is a {described_.type}")
        if described_.type in ("counter", "histogram") and not re.search(rf"(rate|increase)\({name}", expression):
            found.append(f"{name} grows for ever")
        own = {*described_.labels, *everywhere, *({"le"} if name.endswith("_bucket") else ())}
        labels |= own
        found += [
            f"{name} has no {each}" for each in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers) if each not in own
        ]
    for text in re.findall(r"\bby \(([^)]*)\)", expression):
        grouped = set(re.split(r",\s*", text))
        found += [f"there is no {each} to group by" for each in grouped - labels]
    if aggregated := re.match(r"(?:sum|min|max|histogram_quantile)\b", expression):
        labels = set().union(*(re.split(r",\s*", text) for text in re.findall(r"\bby \(([^)]*)\)", expression)))
        labels -= {"le"} if aggregated[0] == "histogram_quantile" else set()
    return found + [
        f"no {each} is left for a legend" for each in re.findall(r"\{\{(\w+)\}\}", legend) if each not in labels
    ]


def test_the_dashboard_asks_for_types_and_labels_that_there_are() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/tickwire.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(targets) > 40
    found = {each["expr"]: flaws(each["expr"], each["legendFormat"]) for each in targets}
    assert {query: those for query, those in found.items() if those} == {}
    for each in dashboard["templating"]["list"]:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", each["query"]).groups()  # type: ignore[union-attr]
        assert label in described()[name].labels


@pytest.mark.parametrize(
    ("query", "legend"),
    [
        ("sum by (venue) (tickwire_feeds)", ""),
        ('tickwire_feed_waiting{exchang=~"x"}', ""),
        ("histogram_quantile(0.9, sum by (le) (rate(tickwire_feed_items_total_bucket[1m])))", ""),
        ("rate(tickwire_feed_publish_lag_seconds[1m])", ""),
        ("sum(tickwire_feed_items_total)", ""),
        ("sum by (kind) (rate(tickwire_feed_items_total[1m]))", "{{exchange}}"),
        ("sum(rate(tickwire_feed_items_total[1m]))", "{{kind}}"),
        ("tickwire_feeds", "{{symbol}}"),
    ],
)
def test_a_query_for_what_does_not_exist_would_be_seen(query: str, legend: str) -> None:
    assert flaws(query, legend)
