"""A breaker opens on what keeps failing, lets nobody through, and finds out carefully when to close."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from laws import breaks

import state.breaker as subject
from state.breaker import Breaker, Rule, admit, settle, stand, wait

RULE = Rule(window=10, memory=60.0, least=4, rate=0.5, rest=30.0, probes=2, patience=20.0)


def fed(*outcomes: bool, at: float = 0.0) -> Breaker:
    """A breaker that let one call through for each outcome."""
    breaker = Breaker()
    for well in outcomes:
        breaker, number = admit(RULE, breaker, at)
        assert number is not None
        breaker = settle(RULE, breaker, number, at, well)
    return breaker


def test_a_handful_of_failures_opens_nothing() -> None:
    assert stand(RULE, fed(False, False, False), 0) == "closed"
    assert stand(RULE, fed(True, True, True, True, False, False), 0) == "closed"


def test_it_opens_when_half_of_the_newest_calls_failed() -> None:
    opened = fed(True, True, False, False)
    assert (stand(RULE, opened, 0), opened.failed) == ("open", (2, 4))


def test_by_default_it_takes_twenty_calls() -> None:
    breaker, default = Breaker(), Rule()
    for n in range(20):
        assert stand(default, breaker, float(n)) == "closed"
        breaker, number = admit(default, breaker, float(n))
        assert number is not None
        breaker = settle(default, breaker, number, float(n), False)
    assert stand(default, breaker, 20.0) == "open"


def test_failures_of_long_ago_are_forgotten() -> None:
    breaker = fed(False, False, False)
    breaker, number = admit(RULE, breaker, 100)
    assert number is not None
    assert stand(RULE, settle(RULE, breaker, number, 100, False), 100) == "closed"


def test_open_it_lets_nothing_through_until_it_has_rested() -> None:
    opened = fed(False, False, False, False)
    assert admit(RULE, opened, 29.9)[1] is None
    assert wait(RULE, opened, 20) == 10
    assert admit(RULE, opened, 30)[1] is not None


def probing(n: int) -> tuple[Breaker, list[int]]:
    """A breaker that rested, and as many of `n` calls as it then let through."""
    breaker, through = fed(False, False, False, False), []
    for _ in range(n):
        breaker, number = admit(RULE, breaker, 30)
        through += [] if number is None else [number]
    return breaker, through


def test_half_open_it_lets_two_probes_through_and_closes_when_both_went_well() -> None:
    breaker, through = probing(5)
    assert len(through) == 2
    for number in through:
        assert stand(RULE, breaker, 31) == "half-open"
        breaker = settle(RULE, breaker, number, 31, True)
    assert stand(RULE, breaker, 31) == "closed"
    assert breaker.outcomes == ()


def test_one_probe_that_fails_opens_it_again_whatever_the_other_says_later() -> None:
    breaker, (first, second) = probing(2)
    breaker = settle(RULE, breaker, first, 40, False)
    assert admit(RULE, breaker, 69)[1] is None
    assert settle(RULE, breaker, second, 41, True) == breaker


def test_a_stuck_probe_gives_its_place_back_and_says_no_more() -> None:
    breaker, (stuck, _) = probing(2)
    assert admit(RULE, breaker, 49)[1] is None
    breaker, number = admit(RULE, breaker, 51)
    assert number is not None
    assert settle(RULE, breaker, stuck, 52, False) == breaker


def test_a_probe_that_was_cancelled_gives_its_place_back_at_once() -> None:
    breaker, (first, _) = probing(2)
    assert admit(RULE, settle(RULE, breaker, first, 31, None), 31)[1] is not None


def test_what_began_before_it_opened_says_nothing_afterwards() -> None:
    breaker, early = admit(RULE, Breaker(), 0)
    assert early is not None
    for _ in range(4):
        breaker, number = admit(RULE, breaker, 0)
        assert number is not None
        breaker = settle(RULE, breaker, number, 0, False)
    assert settle(RULE, breaker, early, 31, True) == breaker


class Machine(RuleBasedStateMachine):
    """Whatever calls come and go: none while open, at most so many probes, no way to be stuck for ever."""

    @initialize()
    def start(self) -> None:
        self.breaker, self.now = Breaker(), 0.0
        self.at_work: dict[int, float] = {}  # calls let through and not settled
        self.probes: dict[int, float] = {}
        self.opened: float | None = None  # kept by the test, from what it sees
        self.well = 0

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 19.0, 21.0, 31.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        before = stand(RULE, self.breaker, self.now)
        self.breaker, number = admit(RULE, self.breaker, self.now)
        if before == "closed":
            assert number is not None
        if self.opened is not None and self.now < self.opened + RULE.rest:
            assert number is None, "a call while open"
        if number is None:
            return
        self.at_work[number] = self.now
        if self.opened is not None:
            fresh = [n for n, since in self.probes.items() if self.now < since + RULE.patience]
            assert len(fresh) + self.well < RULE.probes, "too many probes"
            self.probes[number] = self.now

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), well=st.sampled_from([True, False, False, None]))
    def end(self, data: Any, well: bool | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.at_work)))
        del self.at_work[number]
        since = self.probes.pop(number, None)
        counted = since is not None and self.now < since + RULE.patience
        before = self.breaker
        self.breaker = settle(RULE, before, number, self.now, well)
        if self.opened is None and self.breaker.opened is not None:
            self._open()
        elif self.opened is not None and counted and well is False:
            assert stand(RULE, self.breaker, self.now) == "open"
            self._open()
        elif self.opened is not None and counted and well:
            self.well += 1
            if self.well == RULE.probes:
                assert stand(RULE, self.breaker, self.now) == "closed"
                self.opened, self.probes, self.well = None, {}, 0
        elif self.opened is not None:
            assert self.breaker.opened == before.opened, "a call that is no probe moved it"

    def _open(self) -> None:
        failed, calls = self.breaker.failed
        assert calls >= RULE.least
        assert failed >= RULE.rate * calls
        self.opened, self.probes, self.well = self.now, {}, 0

    @invariant()
    def never_stuck(self) -> None:
        later = self.now + RULE.rest + RULE.patience
        assert admit(RULE, self.breaker, later)[1] is not None, "no call would ever be let through again"


TestMachine = Machine.TestCase


@pytest.mark.parametrize(
    "fault",
    ["calls while open", "a probe too many", "stuck probes hold their place", "late outcomes count", "opens at once"],
)
def test_the_machine_finds_a_broken_rule(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_admit, real_settle, module = admit, settle, __import__("sys").modules[__name__]
    match fault:
        case "calls while open":
            monkeypatch.setattr(module, "admit", lambda r, b, now: real_admit(replace(r, rest=20.0), b, now))
        case "a probe too many":
            monkeypatch.setattr(module, "admit", lambda r, b, now: real_admit(replace(r, probes=3), b, now))
        case "stuck probes hold their place":
            monkeypatch.setattr(subject, "_waiting", lambda r, b, now: b.probes)
        case "late outcomes count":
            monkeypatch.setattr(
                module,
                "settle",
                lambda r, b, n, now, well: real_settle(r, replace(b, era=0, opened=None), n, now, well),
            )
        case "opens at once":
            monkeypatch.setattr(module, "settle", lambda r, b, *a: real_settle(replace(r, least=1), b, *a))
    breaks(Machine)
