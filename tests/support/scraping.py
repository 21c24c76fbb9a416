"""Prometheus' side of a service: what it scrapes, and what docs/metrics.md promises."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from support.pipeline import Pipeline
from support.ports import free_port

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
_SUFFIXES = ("_bucket", "_count", "_sum")


class Absent(AssertionError):
    """A scrape has no such sample."""


@dataclass
class Scraped:
    """One scrape. `asked` collects the names of the metrics whose values a test has compared."""

    samples: dict[str, dict[frozenset[tuple[str, str]], float]]
    types: dict[str, str]
    asked: set[str] = field(default_factory=set)

    def value(self, name: str, **labels: str) -> float:
        """A sample's value. Raises Absent."""
        base = next((name.removesuffix(each) for each in _SUFFIXES if name.endswith(each)), name)
        known = name if name in self.types else base
        assert known in self.types, f"{name} is not among {sorted(self.types)}"
        self.asked.add(known)
        found = self.samples.get(name, {}).get(frozenset(labels.items()))
        if found is None:
            raise Absent(f"{name} has no sample of {labels}")
        return found

    def count(self, name: str, **labels: str) -> float:
        """The same of a counter that has no sample of these labels before it has counted one: then 0."""
        assert labels
        assert name.endswith(("_total", "_count"))
        try:
            return self.value(name, **labels)
        except Absent:
            return 0.0

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """How many observations of a histogram are at most so many seconds, as its buckets have it."""
        prefix = f"{name}_bucket"
        assert self.types[name] == "histogram"
        self.asked.add(name)
        found = {
            float(dict(named)["le"]): value
            for named, value in self.samples[prefix].items()
            if {(key, said) for key, said in named if key != "le"} == set(labels.items())
        }
        assert found.get(float("inf")) == self.value(f"{name}_count", **labels)
        return found


def below(observed: Iterable[float], bounds: Iterable[float]) -> dict[float, float]:
    """What the buckets of a histogram with these upper bounds are to have of these observations."""
    known = list(observed)
    return {bound: float(sum(each <= bound for each in known)) for bound in bounds}


def parsed(text: str) -> Scraped:
    """A scrape's text, read by Prometheus' own parser."""
    samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    types = {}
    for family in text_string_to_metric_families(text):
        types[f"{family.name}_total" if family.type == "counter" else family.name] = family.type
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Scraped(samples, types)


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
        as_documented(scraped)
        scraped.asked = self.asked
        self.names |= scraped.types.keys()
        return scraped

    async def until(self, condition: Callable[[Scraped], bool], timeout_s: float = 100) -> Scraped:
        """The first scrape that meets a condition; asked again, because that is how metrics are read.

        One that asks for a sample that is not there yet is not met.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                scraped = await self.scrape()
                try:
                    if condition(scraped):
                        return scraped
                except Absent:
                    pass
                await asyncio.sleep(0.05)

    async def health(self, what: str) -> tuple[int, str]:
        """Status and reason of `live` or `ready`."""
        async with self.http.get(f"http://127.0.0.1:{self.port}/health/{what}") as answer:
            return answer.status, (await answer.json()).get("reason", "")


@asynccontextmanager
async def scraper(port: int) -> AsyncIterator[Scraper]:
    """Scrape a port for as long as the block lasts."""
    async with aiohttp.ClientSession() as http:
        yield Scraper(port, http)


@asynccontextmanager
async def monitored(line: Pipeline, *services: str, **variables: str) -> AsyncIterator[list[Scraper]]:
    """Start services with metrics, and a scraper for each."""
    async with AsyncExitStack() as stack:
        scrapers = []
        for number, service in enumerate(services):
            port = free_port()
            # Named, so that leases always divide in the same way.
            name = ("--instance", f"{service}-{number}")
            await line.start(service, number, *name, TICKWIRE_METRICS_PORT=str(port), **variables)
            scrapers.append(await stack.enter_async_context(scraper(port)))
        for number, service in enumerate(services):
            await line.started(service, number)
        yield scrapers


class Description(NamedTuple):
    """What the documentation says of a metric. `type` is empty where Prometheus' own client has it."""

    type: str
    labels: frozenset[str]


def described(*sections: str) -> dict[str, Description]:
    """What these sections of docs/metrics.md say of each metric; all of them where none is named."""
    found: dict[str, Description] = {}
    for part in DOCS.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        if not sections or title in sections:
            for line in text.splitlines():
                if line.startswith("| `"):
                    _, names, type_, labels, *_ = (each.strip() for each in line.split("|"))
                    # What follows a colon are the values of the last one.
                    known = set(re.findall(r"`(\w+)`", labels.partition(":")[0]))
                    known |= {"kind", "exchange", "symbol"} if "a feed's" in labels else set()
                    for name in re.findall(r"`((?:tickwire|process)_\w+)`", names):
                        assert found.setdefault(name, Description(type_, frozenset(known))).type == type_
    return found


def as_documented(scraped: Scraped) -> None:
    """Whether the types and labels of what is documented are those that are scraped."""
    known = described()
    for name, type_ in scraped.types.items():
        if (description := known.get(name)) is None or not description.type:
            continue
        assert type_ == description.type, name
        samples = (name, *(f"{name}{suffix}" for suffix in _SUFFIXES)) if type_ == "histogram" else (name,)
        for sample in samples:
            for labels in scraped.samples.get(sample, ()):
                named = {label for label, _ in labels} - {"le"}
                # Only candles have a timeframe.
                assert description.labels - {"timeframe"} <= named <= description.labels, (sample, named)
