"""The store against a disk that fails or tears every single call in turn, recovery included."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from cache.model_disk import Fault, ModelDisk, Stopped
from cache.stored import use_small_records
from tickwire.cache.fence import Fence
from tickwire.cache.store import Store
from tickwire.errors import StorageError
from tickwire.model.messages import CandlePage, Origin, Provenance, Row, Stored
from tickwire.model.ranges import Range, covers, merge
from tickwire.model.subjects import Key

pytestmark = pytest.mark.faults

HEADER = "dates,opens,highs,lows,closes,volumes"
MINUTE = 60_000
KEYS = [Key("binance", "BTC/USDT", "1m"), Key("okx", "ETH/USDT", "1m")]
ORIGINS: tuple[Origin | None, ...] = (None, "exchange", "tape", "audited")
T = TypeVar("T")
FOLDER = Path("/cache")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_records(monkeypatch)


@dataclass
class Scenario:
    """Pages in stream order, how they come in batches, and what the pages say when all are applied."""

    batches: list[list[tuple[int, CandlePage]]]
    expected: dict[Key, dict[int, Row]] = field(default_factory=dict)
    known: dict[Key, list[Range]] = field(default_factory=dict)
    ever: dict[tuple[Key, int], set[Row]] = field(default_factory=dict)
    removable: set[tuple[Key, int]] = field(default_factory=set)
    """Rows that an audited page replaces or removes."""

    @property
    def pages(self) -> dict[int, CandlePage]:
        return {seq: page for batch in self.batches for seq, page in batch}


def make_scenario(seed: int) -> Scenario:
    """Appends, holes, empty pages, older pages, interior pages, refreshes and repeats."""
    draw = random.Random(seed)
    newest = dict.fromkeys(KEYS, 50)
    pages: list[CandlePage] = []
    for _ in range(draw.randint(3, 9)):
        key = draw.choice(KEYS)
        kind = draw.choice(["append", "append", "append", "holes", "empty", "older", "inside", "repeat"])
        length = draw.randint(1, 5)
        start = newest[key] if kind in ("append", "holes", "empty") else draw.randint(20, newest[key])
        if kind == "older":
            start = draw.randint(0, 30)
        if kind == "repeat" and pages:
            pages.append(draw.choice(pages))
            continue
        times = [at for at in range(start, start + length) if kind != "holes" or draw.random() < 0.6]
        if kind == "empty":
            times = []
        newest[key] = max(newest[key], start + length)
        origin = draw.choice(ORIGINS)
        pages.append(make_page(draw, key, range(start, start + length), times, origin))
    return scenario_of(pages, draw)


def make_page(draw: random.Random, key: Key, minutes: range, times: list[int], origin: Origin | None) -> CandlePage:
    """A page with rows at these times (in minutes); the volume tells where a row comes from."""
    volume = float(ORIGINS.index(origin))
    return CandlePage(
        **key._asdict(),
        since=minutes.start * MINUTE,
        until=minutes.stop * MINUTE,
        rows=[(at * MINUTE, draw.random(), 1.5, 1e-7, float(draw.randint(1, 3)), volume) for at in times],
        origin=origin,
    )


def scenario_of(pages: list[CandlePage], draw: random.Random) -> Scenario:
    batches: list[list[tuple[int, CandlePage]]] = [[]]
    scenario = Scenario(batches)
    for seq, page in enumerate(pages, 1):
        if batches[-1] and draw.random() < 0.5:
            batches.append([])
        batches[-1].append((seq, page))
        rows_of = scenario.expected.setdefault(page.key, {})
        if page.origin == "audited":
            for date in [each for each in rows_of if page.since <= each < page.until]:
                del rows_of[date]
                scenario.removable.add((page.key, date))
        rows_of.update({row[0]: row for row in page.rows})
        for row in page.rows:
            scenario.ever.setdefault((page.key, row[0]), set()).add(row)
        scenario.known.setdefault(page.key, []).append(Range(page.since, page.until))
    return scenario


class Case:
    """One run of a scenario on one disk, over as many processes as it takes."""

    def __init__(self, scenario: Scenario, disk: ModelDisk) -> None:
        self.scenario = scenario
        self.disk = disk
        self.epoch = 0
        self.announced: list[Stored] = []

    def process(self) -> None:
        """What the service does: take over, read on from the position, commit, splice, write checkpoints."""
        self.epoch += 1
        store = self.attempt(self.open)
        for number, batch in enumerate(self.scenario.batches):
            rest = [(seq, page) for seq, page in batch if seq > store.position]
            if rest:
                self.announced += self.attempt(partial(store.commit, rest)).stored
            if number % 2:
                self.announced += self.attempt(store.flush).stored
            if number % 3 == 1:
                self.attempt(store.checkpoint)
            self.attempt(partial(self.keep_columns, store))
        self.announced += self.attempt(store.flush).stored
        self.attempt(store.checkpoint)

    def open(self) -> Store:
        return Store.open(FOLDER, 0, partitions=1, claim=Fence(1, self.epoch), stream="a", disk=self.disk)

    @staticmethod
    def keep_columns(store: Store) -> None:
        for key in sorted(store.keys()):
            with store.snapshot(key) as snapshot:
                while snapshot.extend_index(None):
                    pass

    @staticmethod
    def attempt(call: Callable[[], T]) -> T:
        """A full or broken disk is tried again, with the same batch."""
        for _ in range(5):
            try:
                return call()
            except StorageError:
                continue
        raise AssertionError("the store did not recover from a single failure")

    def check_announced(self) -> None:
        """Nothing that was announced is missing, and no file is malformed, to a plain reader of the folder."""
        self.epoch += 1
        store = self.open()
        files = {}
        for key in self.scenario.expected:
            text = self.disk.contents().get(store.folder.data(key))
            if text is None:
                assert not any(stored for stored in self.announced if _key(stored) == key)
                continue
            store.ensure(key)  # cuts off what was torn
            files[key] = read_csv(self.disk.contents()[store.folder.data(key)])
            for date, row in files[key].items():
                assert row in self.scenario.ever[key, date]
                assert _origin_at(store.coverage(key).provenance, date) in (None, ORIGINS[int(row[5])])
            assert store.read(key, None, None).closes.tolist() == [row[4] for row in files[key].values()]
        for stored in self.announced:
            key = _key(stored)
            for page in self.scenario.pages.values():
                if page.key == key and (page.since, page.until) == (stored.since, stored.until):
                    kept = {row[0] for row in page.rows if (key, row[0]) not in self.scenario.removable}
                    assert kept <= files[key].keys()
            assert covers(store.coverage(key).verified, Range(stored.since, stored.until))

    def check_complete(self) -> None:
        """Every file holds exactly what the pages say."""
        self.epoch += 1
        store = self.open()
        for key, rows in self.scenario.expected.items():
            assert store.verify(key).problems == []
            coverage = store.coverage(key)
            assert coverage.verified == merge(self.scenario.known[key])
            assert coverage.rows == len(rows)
            assert read_csv(self.disk.contents()[store.folder.data(key)]) == rows
            read = zip(*(column.tolist() for column in store.read(key, None, None)), strict=True)
            assert list(read) == [rows[date] for date in sorted(rows)]
            for date, row in rows.items():
                assert _origin_at(coverage.provenance, date) in (None, ORIGINS[int(row[5])])
        announced = {(_key(stored), stored.since, stored.until) for stored in self.announced}
        assert announced == {(page.key, page.since, page.until) for page in self.scenario.pages.values()}
        assert not [name for name in self.disk.contents() if ".tmp-" in name]


def _origin_at(provenance: Provenance, date: int) -> Origin | None:
    """Where a row is said to come from."""
    (found,) = [
        origin
        for origin in ORIGINS[1:]
        if any(each.since <= date < each.until for each in getattr(provenance, str(origin)))
    ] or [None]
    return found


def _key(stored: Stored) -> Key:
    return Key(stored.exchange, stored.symbol, stored.timeframe)


def read_csv(data: bytes) -> dict[int, Row]:
    """The rows of a file, by the rules that are published and with nothing of the store's own code."""
    header, *lines, end = data.decode("ascii").split("\n")
    assert header == HEADER
    assert end == ""
    rows: dict[int, Row] = {}
    for line in lines:
        date, *values = line.split(",")
        o, h, lo, c, v = map(float, values)
        assert not rows or int(date) > max(rows)
        assert [repr(value) for value in (o, h, lo, c, v)] == values
        rows[int(date)] = (int(date), o, h, lo, c, v)
    return rows


def make_changes_of_origin(seed: int) -> Scenario:
    """Pages that give the same minutes one origin after another, and an audit that removes a row."""
    draw = random.Random(seed)
    changes: list[tuple[range, list[int], Origin | None]] = [
        (range(5), list(range(5)), "tape"),
        (range(5), list(range(5)), "exchange"),
        (range(2, 4), [2, 3], "tape"),
        (range(1, 4), [1, 3], "audited"),
        (range(5, 7), [5, 6], "tape"),
        (range(3, 7), [3, 4, 5, 6], None),
        (range(7), [0, 2, 4, 6], "audited"),
    ]
    return scenario_of([make_page(draw, KEYS[0], *each) for each in changes], draw)


Make = Callable[[int], Scenario]


def run_case(
    seed: int, call: int | None, fault: Fault, power_lost: bool, second: int | None, make: Make = make_scenario
) -> int:
    """Fail one call, then one of the recovery; returns how many calls a run without faults makes."""
    disk = ModelDisk(seed * 7919 + (call or 0))
    case = Case(make(seed), disk)
    disk.arm(call, fault)
    for again in (second, None):
        try:
            case.process()
            break
        except Stopped:
            disk.restart(power_lost=power_lost)
            disk.arm(again)
            try:
                case.check_announced()
            except Stopped:
                disk.restart(power_lost=power_lost)
                case.check_announced()
    else:
        disk.arm(None)
        case.process()
    calls = disk.calls
    disk.arm(None)
    case.check_complete()
    disk.restart(power_lost=True)
    case.check_complete()
    return calls


def fuzz(seconds: float, first_seed: int) -> int:
    """Scenarios for so long, each with every call failing in every way; returns the number of cases."""
    until = time.monotonic() + seconds
    cases = 0
    seed = first_seed
    while time.monotonic() < until:
        cases += fail_every_call(seed, make_scenario)
        seed += 1
    return cases


def fail_every_call(seed: int, make: Make) -> int:
    """Run a scenario with every call failing in every way; returns the number of cases."""
    calls = run_case(seed, None, "stop", False, None, make)
    draw = random.Random(seed)
    cases = 0
    for call in range(1, calls + 1):
        modes: list[tuple[Fault, bool]] = [("enospc", False), ("eio", True), ("stop", False), ("stop", True)]
        for fault, power_lost in modes:
            second = draw.randint(1, calls) if draw.random() < 0.5 else None
            try:
                run_case(seed, call, fault, power_lost, second, make)
            except BaseException:
                print(f"run_case({seed}, {call}, {fault!r}, {power_lost}, {second}, {make.__name__})")
                raise
            cases += 1
    return cases


def test_no_failed_or_torn_call_loses_an_announced_row_or_leaves_a_malformed_file() -> None:
    cases = fuzz(12, first_seed=0)
    print(f"{cases} cases")
    assert cases > 300


def test_no_failed_or_torn_call_leaves_a_row_with_the_origin_of_another() -> None:
    assert sum(fail_every_call(seed, make_changes_of_origin) for seed in range(2)) > 200


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_five_minutes_of_failing_calls_lose_nothing() -> None:
    print(f"{fuzz(300, first_seed=100_000)} cases")
