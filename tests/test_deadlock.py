"""Deadlocks: every real one is found when it begins, none is invented, and all break in the same way."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from laws import breaks

from state import deadlock
from state.errors import InputError

NAMES = ["a", "b", "c", "d", "e"]
GROUPS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)
WAITS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(lambda on, any_: {"on": sorted(on), "any": any_, "until": None}, GROUPS, st.booleans()),
).map(lambda w: {n: one for n, one in w.items() if n not in one["on"]})


def brute(waits: deadlock.Waits) -> set[str]:
    """All who can never go on: the largest group in which everybody waits for the group in a way that lasts."""
    for size in range(len(waits), 0, -1):
        for group in combinations(sorted(waits), size):
            inside = set(group)
            held = (
                inside.issuperset(one["on"]) if one["any"] else bool(inside & set(one["on"]))
                for one in (waits[name] for name in group)
            )
            if all(held):
                return inside
    return set()


def is_cycle(waits: deadlock.Waits, ring: list[str]) -> bool:
    return bool(ring) and all(b in waits[a]["on"] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))


@given(WAITS)
def test_every_real_deadlock_is_found_and_none_is_invented(waits: deadlock.Waits) -> None:
    locked = brute(waits)
    assert deadlock.stuck(waits) == locked
    ring = deadlock.cycle(waits)
    assert bool(ring) == bool(locked)
    if ring:
        assert is_cycle(waits, ring)
        assert set(ring) <= locked
        assert ring[0] == min(ring)
        assert len(set(ring)) == len(ring)


@given(WAITS, st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)), st.randoms())
def test_breaking_leaves_nobody_stuck_and_is_the_same_everywhere(
    waits: deadlock.Waits, priority: dict[str, int], dice: Any
) -> None:
    left, broken = deadlock.settle(waits, priority)
    assert brute(left) == set()
    now = dict(waits)
    for one in broken:
        assert is_cycle(now, one.cycle)
        assert one.victim == min(one.cycle, key=lambda name: (priority.get(name, 0), name))
        now = deadlock.release(now, one.victim)
    assert now == left
    names = list(waits)
    dice.shuffle(names)
    assert deadlock.settle({name: waits[name] for name in names}, priority) == (left, broken)


class Waiting(RuleBasedStateMachine):
    """Who waits, hears, gives up and runs out of time; the graph is checked against brute force after each."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: dict[str, Any] = {}
        self.now = 0

    @rule(who=st.sampled_from(NAMES), on=GROUPS, any_of=st.booleans(), last=st.none() | st.integers(0, 3))
    def wait(self, who: str, on: list[str], any_of: bool, last: int | None) -> None:
        mixed = who in self.waits and (any_of or self.waits[who]["any"])
        until = None if last is None else self.now + last
        if who in on or mixed:
            with pytest.raises(InputError, match=r"cannot wait|already waits"):
                deadlock.wait(self.waits, who, on, any_of=any_of, until=until)
            return
        self.waits, ring = deadlock.wait(self.waits, who, on, any_of=any_of, until=until)
        assert bool(ring) == (who in brute(self.waits))

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.waits)))
        sender, before = data.draw(st.sampled_from(NAMES)), self.waits[who]
        self.waits = deadlock.arrived(self.waits, who, sender)
        left = [] if before["any"] and sender in before["on"] else [n for n in before["on"] if n != sender]
        assert self.waits.get(who, {"on": []})["on"] == left

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.waits)))
        ring = deadlock.cycle(self.waits)
        self.waits = deadlock.release(self.waits, who)
        assert who not in self.waits
        assert who not in ring or deadlock.cycle(self.waits) != ring

    @rule(later=st.integers(0, 2))
    def pass_time(self, later: int) -> None:
        self.now += later
        expected = {n for n, one in self.waits.items() if one["until"] is not None and one["until"] < self.now}
        before = set(self.waits)
        self.waits, late = deadlock.expire(self.waits, self.now)
        assert (set(late), set(self.waits)) == (expected, before - expected)

    @invariant()
    def found_are_exactly_the_real_ones(self) -> None:
        assert deadlock.stuck(self.waits) == brute(self.waits)


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(stateful_step_count=20)  # more would only repeat: there are five who may wait


def test_a_wait_for_oneself_or_for_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="a cannot wait for itself"):
        deadlock.wait({}, "a", ["b", "a"])
    with pytest.raises(InputError, match="a cannot wait for nobody"):
        deadlock.wait({}, "a", [])


def test_the_wait_that_closes_a_cycle_says_so_at_once() -> None:
    waits, ring = deadlock.wait({}, "b", ["c"])
    assert ring == []
    waits, ring = deadlock.wait(waits, "c", ["a"])
    assert ring == []
    waits, ring = deadlock.wait(waits, "a", ["b"])
    assert ring == ["a", "b", "c"]
    assert deadlock.victim(ring, {"a": 2, "b": 1, "c": 1}) == "b"


def test_a_wait_for_any_is_no_deadlock_while_one_can_go_on() -> None:
    waits, _ = deadlock.wait({}, "b", ["a"])
    waits, ring = deadlock.wait(waits, "a", ["b", "c"], any_of=True)
    assert ring == []
    assert deadlock.wait(waits, "c", ["a"])[1] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "wrong", "law"),
    [
        ("_can_go", lambda one, left: all(n not in left for n in one["on"]), "every"),
        ("_can_go", lambda one, left: any(n not in left for n in one["on"]), "every"),
        ("victim", lambda found, priority=None: max(found), "breaking"),
        ("release", lambda waits, who: dict(waits), "machine"),
        ("expire", lambda waits, now: (dict(waits), []), "machine"),
        ("arrived", lambda waits, who, sender: deadlock.release(waits, who), "machine"),
    ],
)
def test_a_broken_rule_is_found(name: str, wrong: Any, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    laws: dict[str, Any] = {
        "every": test_every_real_deadlock_is_found_and_none_is_invented,
        "breaking": test_breaking_leaves_nobody_stuck_and_is_the_same_everywhere,
        "machine": Waiting,
    }
    monkeypatch.setattr(deadlock, name, wrong)
    breaks(laws[law])
