"""What is sent again after a doubt: a model of the stream that stores, refuses, loses and reorders what it is sent."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from tickwire.errors import Fenced
from tickwire.tape.pipeline import End, Entry, Pipeline

pytestmark = pytest.mark.pure


class Sending:
    """An attempt as the stream sees it: in order, and over at the first message that it refuses or misses."""

    def __init__(self) -> None:
        self.wire: deque[tuple[int, Entry]] = deque()
        self.count = 0
        self.next = 1
        self.alive = True

    def send(self, entry: Entry) -> None:
        self.count += 1
        self.wire.append((self.count, entry))


class Model(RuleBasedStateMachine):
    """One writer, a stream, and at times another owner."""

    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.stream: list[tuple[str, str, bytes]] = []
        """Who wrote each message, its subject and payload; the sequence of the first is 1."""
        self.removed = 0
        self.appended: list[tuple[str, bytes]] = []
        self.all: list[Sending] = []
        self.acks: deque[tuple[Sending, int]] = deque()
        self.taken_at: int | None = None
        self.fenced = False

    @initialize(target=attempts, before=st.integers(0, 3))
    def begin(self, before: int) -> Sending:
        self.stream += [("former", "s", b"")] * before
        self.before = before
        self.pipeline = Pipeline(before)
        return self.new()

    def new(self) -> Sending:
        self.now = Sending()
        self.all.append(self.now)
        self.pump()
        return self.now

    def pump(self) -> None:
        while (entry := self.pipeline.next()) is not None:
            self.now.send(entry)

    @precondition(lambda self: not self.fenced)
    @rule(subject=st.sampled_from("ab"), doubtful=st.booleans())
    def append(self, subject: str, doubtful: bool) -> None:
        data = str(len(self.appended)).encode()
        entry = self.pipeline.add(subject, 0, data)
        assert entry.sequence == self.before + len(self.appended) + 1
        self.appended.append((subject, data))
        if not doubtful:
            self.pump()

    @rule(sending=attempts, lost=st.booleans())
    def arrive(self, sending: Sending, lost: bool) -> None:
        """The next message of any attempt, however old, arrives at last or is lost."""
        if not sending.wire:
            return
        n, entry = sending.wire.popleft()
        if lost:
            return
        if sending.alive and n == sending.next and entry.sequence - 1 == len(self.stream):
            self.stream.append(("own", entry.subject, entry.data))
            sending.next += 1
            self.acks.append((sending, entry.sequence))
        else:
            sending.alive = False

    @precondition(lambda self: self.acks and not self.fenced)
    @rule(lost=st.booleans())
    def acknowledge(self, lost: bool) -> None:
        sending, sequence = self.acks.popleft()
        if not lost and sending is self.now:
            self.pipeline.stored(sequence)

    @precondition(lambda self: self.taken_at is None)
    @rule()
    def another_owner(self) -> None:
        self.taken_at = len(self.stream)
        self.stream.append(("other", "s", b""))

    @rule(keep=st.integers(0, 2))
    def retention(self, keep: int) -> None:
        self.removed = max(self.removed, len(self.stream) - keep)

    @precondition(lambda self: not self.fenced)
    @rule(target=attempts)
    def doubt(self) -> Sending:
        return self.new() if self.compare() else self.now

    def compare(self) -> bool:
        """Whether this writer goes on."""
        last = len(self.stream)
        if last <= self.removed:
            end = End(last)
            owner = self.taken_at is None
        else:
            writer, subject, data = self.stream[-1]
            end, owner = End(last, subject, data, writer == "own"), True
        try:
            if not owner:
                raise Fenced("not the owner")
            self.pipeline.compare(end)
        except Fenced:
            assert self.taken_at is not None, "fenced without another owner"
            self.fenced = True
        return not self.fenced

    @invariant()
    def nothing_twice_nothing_lost_in_order(self) -> None:
        own = [(subject, data) for writer, subject, data in self.stream if writer == "own"]
        assert own == self.appended[: len(own)]

    @invariant()
    def nothing_after_another_owner(self) -> None:
        if self.taken_at is not None:
            assert all(writer != "own" for writer, _, _ in self.stream[self.taken_at :])

    @invariant()
    def durable_is_stored(self) -> None:
        if hasattr(self, "pipeline"):
            own = [each for each in self.stream if each[0] == "own"]
            assert self.pipeline.durable - self.before <= len(own)

    def teardown(self) -> None:
        """Once nothing is lost any more, everything is stored, unless another owner has taken over."""
        if not hasattr(self, "pipeline") or self.fenced:
            return
        for _ in range(3):
            for sending in self.all:
                while sending.wire:
                    self.arrive(sending, lost=False)
            self.pump()
            while self.now.wire:
                self.arrive(self.now, lost=False)
            if not self.compare():
                return
            self.new()
        assert self.pipeline.durable == self.pipeline.newest
        assert len(self.stream) - self.before == len(self.appended)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=300, deadline=None)


@given(st.integers(0, 5), st.integers(1, 5))
def test_a_stream_that_lost_its_end_fences_its_writer(before: int, lost: int) -> None:
    pipeline = Pipeline(before + lost)
    pipeline.add("s", 0, b"x")
    with pytest.raises(Fenced, match="anew"):
        pipeline.compare(End(before))


def test_an_own_message_of_another_writer_of_this_process_fences() -> None:
    pipeline = Pipeline(0)
    pipeline.add("s", 0, b"x")
    pipeline.next()
    with pytest.raises(Fenced, match="sequence 1"):
        pipeline.compare(End(1, "s", b"x", own=False))


def test_an_acknowledgement_of_what_was_not_sent_fences() -> None:
    pipeline = Pipeline(4)
    pipeline.add("s", 0, b"x")
    with pytest.raises(Fenced, match="not sent"):
        pipeline.stored(5)
    assert pipeline.next() is not None
    assert pipeline.stored(5)
    assert not pipeline.stored(5)
    assert (pipeline.durable, pipeline.bytes, pipeline.newest) == (5, 0, 5)
