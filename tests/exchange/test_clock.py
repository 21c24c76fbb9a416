"""The exchange's clock on the monotonic clock: known by its time endpoint or by the Date header, else unknown."""

from __future__ import annotations

import pytest

from tickwire.exchange.clock import ExchangeClock

pytestmark = pytest.mark.pure


class Time:
    """A machine whose clocks are set by hand, s."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.wall = 1_700_000_000.0

    def pass_s(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


def clock_of(machine: Time, told: list[object] | None = None) -> ExchangeClock:
    async def fetch_time() -> object:
        assert told is not None
        return told.pop(0)

    return ExchangeClock(fetch_time if told is not None else None, lambda: machine.monotonic, lambda: machine.wall)


def test_the_time_is_unknown_until_the_exchange_has_told_it() -> None:
    assert clock_of(Time()).now() is None


async def test_the_time_goes_on_with_the_monotonic_clock() -> None:
    machine = Time()
    clock = clock_of(machine, [1_000_000_000_000])
    await clock.compare(60)
    machine.pass_s(2.5)
    assert clock.now() == 1_000_000_002_500


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 86_400.0])
async def test_a_step_of_the_wall_clock_changes_nothing_and_has_the_exchange_asked_again(step_s: float) -> None:
    machine = Time()
    clock = clock_of(machine, [1_000_000_000_000, 1_000_000_001_000])
    await clock.compare(60)
    machine.pass_s(1)
    machine.wall += step_s
    assert clock.now() == 1_000_000_001_000
    assert clock.age_s == float("inf")
    await clock.compare(60)
    assert clock.now() == 1_000_000_001_000
    assert clock.age_s == 0


async def test_a_time_that_is_none_is_refused() -> None:
    for told in ("soon", None, True, 0, 10**18):
        with pytest.raises(ValueError, match="for its time"):
            await clock_of(Time(), [told]).compare(60)


def test_the_date_header_tells_the_time_of_an_exchange_that_does_not() -> None:
    machine = Time()
    clock = clock_of(machine)
    clock.observe({"DATE": "Sun, 29 Nov 2026 12:00:00 GMT"})
    assert clock.now() == 1_795_953_600_000
    # Told at the beginning of the same second, it is nearer to the truth.
    machine.pass_s(0.4)
    clock.observe({"date": "Sun, 29 Nov 2026 12:00:01 GMT"})
    assert clock.now() == 1_795_953_601_000
    # An answer that was long on its way says nothing new.
    machine.pass_s(2)
    clock.observe({"date": "Sun, 29 Nov 2026 12:00:02 GMT"})
    assert clock.now() == 1_795_953_603_000


def test_a_cached_answer_tells_its_age() -> None:
    clock = clock_of(Time())
    clock.observe({"Date": "Sun, 29 Nov 2026 12:00:00 GMT", "Age": "30"})
    assert clock.now() == 1_795_953_630_000


@pytest.mark.parametrize("header", ["", "yesterday", "Sun, 99 Nov 2026 12:00:00 GMT"])
def test_a_header_that_is_no_date_tells_nothing(header: str) -> None:
    clock = clock_of(Time())
    clock.observe({"Date": header})
    assert clock.now() is None


async def test_the_time_may_be_later_by_as_long_as_the_answer_took() -> None:
    machine = Time()

    async def slowly() -> object:
        machine.pass_s(3)
        return 1_000_000_000_000

    clock = ExchangeClock(slowly, lambda: machine.monotonic, lambda: machine.wall)
    assert clock.latest() is None
    await clock.compare(60)
    assert (clock.now(), clock.latest()) == (1_000_000_000_000, 1_000_000_003_000)


def test_by_a_header_the_time_may_be_later_by_a_slow_body() -> None:
    clock = clock_of(Time())
    clock.observe({"Date": "Sun, 29 Nov 2026 12:00:00 GMT"})
    assert (clock.now(), clock.latest()) == (1_795_953_600_000, 1_795_953_660_000)
