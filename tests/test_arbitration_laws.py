"""The laws of arbitration, over any sides and rules, and that each can fail."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from state import arbitration, contest, versioned
from state.arbitration import Rule, agree, confidence, expertise, foremost, priority, recency, vote
from state.task import Task
from state.versioned import Write

NAMES = ["ann", "bob", "cid", "dan", "eve"]
NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, math.nan, math.inf, "high"]))
SAYINGS = st.sampled_from(["yes", "Yes. ", "no", "perhaps"])
SIDES = st.lists(st.tuples(SAYINGS, NUMBERS, NUMBERS), min_size=1, max_size=5).map(
    lambda some: [
        {"at": n, "agent": NAMES[n], "output": {"text": t}, "confidence": c, "when": w, "reason": ""}
        for n, (t, c, w) in enumerate(some)
    ]
)
WEIGHTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3))
RULES = st.lists(
    st.one_of(
        st.permutations(NAMES).map(lambda names: priority(*names[:3])),
        st.just(confidence()),
        st.just(recency()),
        WEIGHTS.map(expertise),
        st.just(vote()),
        WEIGHTS.map(vote),
    ),
    max_size=3,
)


@given(SIDES, RULES)
def test_every_side_is_kept_once_and_who_lost_knows_why(sides: Any, rules: list[Rule]) -> None:
    found = arbitration.decide(sides, rules)
    best = foremost(found.standing)
    kept = arbitration.record(sides, found, best["output"])["sides"]
    assert [s["at"] for s in kept] == [s["at"] for s in sides]
    assert all(bool(s["why"]) is not s["won"] for s in kept)
    assert any(s["won"] for s in kept)


@given(SIDES, RULES)
def test_sides_that_agree_are_never_arbitrated(sides: Any, rules: list[Rule]) -> None:
    found = arbitration.decide([s | {"output": {"text": "yes"}} for s in sides], rules)
    assert (found.by, len(found.standing), found.tied) == ("agreement", len(sides), False)


@given(SIDES, RULES, st.randoms())
def test_the_order_of_the_sides_decides_nothing(sides: Any, rules: list[Rule], dice: random.Random) -> None:
    mixed = dice.sample(sides, len(sides))
    one, other = arbitration.decide(sides, rules), arbitration.decide(mixed, rules)
    assert {s["at"] for s in one.standing} == {s["at"] for s in other.standing}
    assert (one.by, one.tied, set(one.lost)) == (other.by, other.tied, set(other.lost))


@given(SIDES, RULES)
def test_what_is_decided_is_no_longer_contested_and_what_is_not_is_said(sides: Any, rules: list[Rule]) -> None:
    found = arbitration.decide(sides, rules)
    assert found.standing
    assert found.tied is not agree(found.standing)
    assert bool(found.by) is not found.tied


@given(SIDES, st.permutations(NAMES))
def test_static_priority_always_decides_and_takes_the_first_that_is_there(sides: Any, names: list[str]) -> None:
    found = arbitration.decide(sides, [priority(*names)])
    if found.by == "priority":
        assert found.standing[0]["agent"] == min((s["agent"] for s in sides), key=names.index)
    assert not found.tied


@given(SIDES)
def test_a_vote_that_decides_has_a_plurality(sides: Any) -> None:
    found = arbitration.decide(sides, [vote()])
    counts = [len([s for s in sides if agree([s, one])]) for one in sides]
    if found.by == "vote":
        assert len(found.standing) == max(counts)
        assert counts.count(max(counts)) == max(counts)


@given(SIDES)
def test_what_an_arbiter_is_shown_another_arbitration_can_read(sides: Any) -> None:
    again = arbitration.given(Task(goal="?", context={"results": arbitration.results_of(sides)}))
    assert again is not None
    assert [(s["agent"], s["output"]) for s in again] == [(s["agent"], s["output"]) for s in sides]


WRITES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 2)), min_size=1, max_size=4, unique_by=lambda w: w[0]
)


@given(WRITES, st.integers(0, 2), RULES)
def test_what_lost_is_reconciled_by_one_version_more_or_stays(
    wanted: list[tuple[str, int]], there: int, rules: list[Rule]
) -> None:
    first: Write = {"key": "x", "expected": 0, "value": there, "by": "first"}
    shared = versioned.compare_and_set({}, first) or {}
    changes: list[list[Write]] = [[{"key": "x", "expected": 0, "value": v, "by": by}] for by, v in wanted]
    after, ruling = contest.reconcile(shared, changes, rules)
    assert len(ruling["sides"]) == len(changes) + 1
    won = {s["agent"] for s in ruling["sides"] if s["won"]}
    assert after["x"]["by"] in won
    assert after["x"]["version"] == (1 if after["x"]["by"] == "first" else 2)
    if not ruling["by"]:
        assert after == shared


# That each law can fail


def test_a_record_that_forgets_the_losers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = arbitration.record

    def forgets(*args: Any, **options: Any) -> Any:
        made = right(*args, **options)
        return made | {"sides": [s for s in made["sides"] if s["won"]]}

    monkeypatch.setattr(arbitration, "record", forgets)
    breaks(test_every_side_is_kept_once_and_who_lost_knows_why)


def test_results_that_cannot_be_read_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        arbitration, "results_of", lambda sides: [{k: s[k] for k in ("agent", "confidence")} for s in sides]
    )
    breaks(test_what_an_arbiter_is_shown_another_arbitration_can_read)


def test_an_arbitration_of_what_agrees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arbitration, "agree", lambda sides, key=None: False)
    breaks(test_sides_that_agree_are_never_arbitrated)
    breaks(test_what_is_decided_is_no_longer_contested_and_what_is_not_is_said)


def test_a_decision_by_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = arbitration.decide

    def hasty(sides: Any, rules: Any) -> Any:
        return right(sides[:2], rules)

    monkeypatch.setattr(arbitration, "decide", hasty)
    breaks(test_the_order_of_the_sides_decides_nothing)


def test_a_rule_that_ranks_the_wrong_way_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = arbitration.decide

    def backwards(sides: Any, rules: list[Rule]) -> Any:
        def turned(rule: Rule) -> Rule:
            return Rule(rule.name, lambda side, among: -float(rule.rank(side, among) or 0))

        return right(sides, [turned(r) for r in rules])

    monkeypatch.setattr(arbitration, "decide", backwards)
    breaks(test_static_priority_always_decides_and_takes_the_first_that_is_there)
    breaks(test_a_vote_that_decides_has_a_plurality)


def test_a_tie_that_is_written_all_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "taken", lambda shared, changes, at: {**shared, "x": {**shared["x"], "version": 9}})
    breaks(test_what_lost_is_reconciled_by_one_version_more_or_stays)
