"""Prometheus' side of a service: what it scrapes, and what docs/metrics.md promises."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
_SUFFIXES = ("_bucket", "_count", "_sum")


@dataclass
class Scraped:
    """One scrape. `asked` collects the names of the metrics whose values a test has compared."""

    samples: dict[str, dict[frozenset[tuple[str, str]], float]]
    names: set[str]
    asked: set[str] = field(default_factory=set)

    def value(self, name: str, **labels: str) -> float:
        """A sample's value; 0 for a counter of a metric that is there, and has no sample of these labels yet."""
        base = next((name.removesuffix(each) for each in _SUFFIXES if name.endswith(each)), name)
        known = name if name in self.names else base
        assert known in self.names, f"{name} is not among {sorted(self.names)}"
        self.asked.add(known)
        return self.samples.get(name, {}).get(frozenset(labels.items()), 0.0)

    def quantile_is_below(self, name: str, seconds: float, **labels: str) -> bool:
        """Whether every observation of a histogram is in buckets up to `seconds`."""
        below = self.value(f"{name}_bucket", le=str(seconds), **labels)
        return below == self.value(f"{name}_count", **labels)


def parsed(text: str) -> Scraped:
    """A scrape's text, read by Prometheus' own parser."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    names = set()
    for family in text_string_to_metric_families(text):
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scraped(samples, names)


@dataclass
class Scraper:
    """A service's monitoring port."""

    port: int
    http: aiohttp.ClientSession
    asked: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    async def scrape(self) -> Scraped:
        """Its metrics now."""
        async with self.http.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            assert answer.status == 200
            assert answer.content_type == "text/plain"
            scraped = parsed(await answer.text())
        scraped.asked = self.asked
        self.names |= scraped.names
        return scraped

    async def health(self, what: str) -> tuple[int, str]:
        """Status and reason of `live` or `ready`."""
        async with self.http.get(f"http://127.0.0.1:{self.port}/health/{what}") as answer:
            return answer.status, (await answer.json()).get("reason", "")


@asynccontextmanager
async def scraper(port: int) -> AsyncIterator[Scraper]:
    """Scrape a port for as long as the block lasts."""
    async with aiohttp.ClientSession() as http:
        yield Scraper(port, http)


def documented(*sections: str) -> set[str]:
    """The names of the metrics in these sections of docs/metrics.md; of all of them where none is named."""
    names: set[str] = set()
    for part in DOCS.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        if not sections or title in sections:
            for line in text.splitlines():
                if line.startswith("| `"):
                    names |= set(re.findall(r"`((?:tickwire|process)_\w+)`", line.split("|")[1]))
    return names
