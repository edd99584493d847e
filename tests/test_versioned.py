"""Versioned values: a machine over any history of changes, the laws of its parts, and that each can fail."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from laws import breaks

from state import versioned
from state.errors import InputError
from state.versioned import Value, Write, backoff, compare_and_set, owned, stale, version

KEYS = st.sampled_from(["a", "b", "c"])
NAMES = st.sampled_from(["ann", "bob", "cid"])


def put(key: str, expected: int, value: Any = 1, by: str = "ann") -> Write:
    return {"key": key, "expected": expected, "value": value, "by": by}


WRITES = st.builds(put, KEYS, st.integers(0, 3), st.integers(), NAMES)
CHANGES = st.lists(WRITES, min_size=1, max_size=3, unique_by=lambda w: w["key"])


class Shares(RuleBasedStateMachine):
    """Any history of changes, against a model that counts what was accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: dict[str, Value] = {}
        self.accepted: dict[str, list[int]] = {}

    @rule(change=CHANGES)
    def change(self, change: list[Write]) -> None:
        fits = all(w["expected"] == len(self.accepted.get(w["key"], [])) for w in change)
        before = dict(self.shared)
        after = versioned.compare_and_set(self.shared, *change)
        assert (after is not None) is fits
        assert self.shared == before
        if after is not None:
            self.shared = after
            for w in change:
                self.accepted.setdefault(w["key"], []).append(w["value"])

    @rule(key=KEYS, many=st.integers(1, 8))
    def increment_together(self, key: str, many: int) -> None:
        """All read the same version: one wins, and the count of increments is the count of accepted writes."""
        now = version(self.shared, key)
        self.shared, won = versioned.in_turn(self.shared, [[put(key, now, n)] for n in range(many)])
        assert won == [True] + [False] * (many - 1)
        self.accepted.setdefault(key, []).append(0)

    @invariant()
    def versions_count_what_was_accepted(self) -> None:
        assert {k: v["version"] for k, v in self.shared.items()} == {k: len(a) for k, a in self.accepted.items()}
        assert {k: v["value"] for k, v in self.shared.items()} == {k: a[-1] for k, a in self.accepted.items()}


TestShares = Shares.TestCase
TestShares.settings = settings(stateful_step_count=15)


class Owns(RuleBasedStateMachine):
    """Any history of writes, proposals and decisions by anybody, on one owner's ground truth."""

    def __init__(self) -> None:
        super().__init__()
        self.truth = owned("ann")
        self.made = 0

    @rule(one=WRITES)
    def write(self, one: Write) -> None:
        before = self.truth
        self.truth, refused = versioned.write(self.truth, one)
        allowed = one["by"] == "ann" and not stale(before["values"], [one])
        assert (not refused) is allowed
        if refused:
            assert self.truth == before
        self.made += allowed

    @rule(one=WRITES)
    def propose(self, one: Write) -> None:
        before = self.truth
        self.truth = versioned.propose(self.truth, one)
        assert self.truth["values"] == before["values"]
        assert self.truth["proposals"][-1] == {"write": one, "status": "open", "why": ""}

    @rule(number=st.integers(-1, 5), by=NAMES, accept=st.booleans())
    def decide(self, number: int, by: str, accept: bool) -> None:
        before = self.truth
        self.truth, refused = versioned.decide(self.truth, number, by=by, accept=accept, why="because")
        if refused:
            assert self.truth == before
            return
        assert by == "ann"
        assert before["proposals"][number]["status"] == "open"
        assert self.truth["proposals"][number]["status"] == ("accepted" if accept else "rejected")
        assert self.truth["proposals"][number]["why"] == "because"
        assert accept or self.truth["values"] == before["values"]
        self.made += accept

    @invariant()
    def nothing_is_true_but_what_the_owner_wrote_or_accepted(self) -> None:
        assert sum(v["version"] for v in self.truth["values"].values()) == self.made


TestOwns = Owns.TestCase
TestOwns.settings = settings(stateful_step_count=15)


@given(CHANGES)
def test_a_change_succeeds_exactly_when_every_version_is_the_expected_one(change: list[Write]) -> None:
    shared = compare_and_set({}, put("a", 0)) or {}
    after = versioned.compare_and_set(shared, *change)
    current = {"a": 1}
    assert (after is not None) is all(w["expected"] == current.get(w["key"], 0) for w in change)
    if after is not None:
        assert all(version(after, w["key"]) == w["expected"] + 1 for w in change)
        assert {k: v for k, v in after.items() if k not in {w["key"] for w in change}} == {
            k: v for k, v in shared.items() if k not in {w["key"] for w in change}
        }


@given(st.integers(1, 30), st.randoms())
def test_of_n_concurrent_writers_one_wins_and_the_losers_leave_nothing(many: int, dice: random.Random) -> None:
    changes = [[put("a", 0, n, by=f"w{n}"), put(f"own-{n}", 0, n)] for n in range(many)]
    dice.shuffle(changes)
    shared, won = versioned.in_turn({}, changes)
    assert won.count(True) == 1
    winner = changes[won.index(True)][0]
    assert (shared["a"]["value"], shared["a"]["version"]) == (winner["value"], 1)
    assert set(shared) == {"a", f"own-{winner['value']}"}  # several keys: all or nothing


@given(st.integers(1, 60), st.integers(0, 50), st.integers(), st.text())
def test_a_retry_is_bounded_in_number_and_in_wait_and_the_same_each_time(
    tries: int, most: int, seed: int, who: str
) -> None:
    wait = versioned.backoff(tries, most=most, seed=(seed, who))
    assert (wait is None) is (tries > most)
    assert wait == versioned.backoff(tries, most=most, seed=(seed, who))
    assert wait is None or 0 <= wait <= min(32, 2 ** (tries - 1))


def test_who_lost_together_does_not_come_back_together() -> None:
    assert len({backoff(3, most=3, seed=(0, f"w{n}")) for n in range(50)}) == 50


def test_one_change_cannot_write_a_key_twice() -> None:
    with pytest.raises(InputError, match="writes a twice"):
        compare_and_set({}, put("a", 0), put("a", 0))


def test_a_refusal_names_the_owner_or_what_is_stale() -> None:
    truth = owned("ann")
    assert "ann owns this; propose" in versioned.write(truth, put("a", 0, by="bob"))[1]
    assert "another version is there of a" in versioned.write(truth, put("a", 4))[1]
    assert versioned.decide(truth, 0, by="ann", accept=True)[1] == "proposal 0 is unknown"
    truth = versioned.propose(truth, put("a", 0, by="bob"))
    truth, _ = versioned.write(truth, put("a", 0))
    assert "a has changed since" in versioned.decide(truth, 0, by="ann", accept=True)[1]
    assert versioned.decide(truth, 0, by="bob", accept=True)[1] == "bob may not decide: ann owns this"


def test_values_and_truth_survive_a_strict_serializer() -> None:
    truth = versioned.propose(owned("ann", compare_and_set({}, put("a", 0))), put("a", 1, by="bob"))
    strict = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    assert strict.loads_typed(strict.dumps_typed(truth)) == truth


# That each law can fail


def test_a_write_that_does_not_look_at_the_version_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versioned, "stale", lambda shared, writes: [])
    for law in (Shares, Owns, test_a_change_succeeds_exactly_when_every_version_is_the_expected_one):
        breaks(law)
    breaks(test_of_n_concurrent_writers_one_wins_and_the_losers_leave_nothing)


def test_half_a_change_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(shared: Any, *writes: Write) -> Any:
        good = [w for w in writes if not stale(shared, [w])]
        return compare_and_set(shared, *good) if good else None

    monkeypatch.setattr(versioned, "compare_and_set", half)
    breaks(Shares)
    breaks(test_of_n_concurrent_writers_one_wins_and_the_losers_leave_nothing)


def test_a_version_that_does_not_rise_by_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = versioned._written
    monkeypatch.setattr(versioned, "_written", lambda w: {**right(w), "version": w["expected"] + 2})
    breaks(Shares)
    breaks(test_a_change_succeeds_exactly_when_every_version_is_the_expected_one)


def test_a_truth_that_anybody_may_write_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = versioned.write
    monkeypatch.setattr(versioned, "write", lambda truth, one: right(truth, {**one, "by": truth["owner"]}))
    breaks(Owns)


def test_a_decision_of_a_stranger_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = versioned.decide
    monkeypatch.setattr(versioned, "decide", lambda truth, n, *, by, **more: right(truth, n, by="ann", **more))
    breaks(Owns)


def test_a_retry_without_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versioned, "backoff", lambda tries, *, most, seed: backoff(tries, most=tries, seed=seed))
    breaks(test_a_retry_is_bounded_in_number_and_in_wait_and_the_same_each_time)


def test_a_retry_that_is_not_seeded_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(7)
    monkeypatch.setattr(
        versioned, "backoff", lambda tries, *, most, seed: backoff(tries, most=most, seed=dice.random())
    )
    breaks(test_a_retry_is_bounded_in_number_and_in_wait_and_the_same_each_time)
