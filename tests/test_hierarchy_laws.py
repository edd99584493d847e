"""Laws of what a manager may say and of how a budget is split, without the engine; and a fuzz of managers with it."""

from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks
from makers import scripted

from graphs.hierarchy import build
from runtime.cost import calls_of
from runtime.sync import Graph, wait
from state import hierarchy
from state.budget import Amount, Limit, over, tighter
from state.hierarchy import Assignments

PARTS = st.lists(st.none() | st.integers(1, 30).map(lambda n: n / 100), max_size=3)
FIGURES = st.none() | st.integers(0, 10**9)
LIMITS = st.builds(Limit, FIGURES, FIGURES, FIGURES)
WORDS = st.builds(
    lambda who, more: {"assignments": [{"assignee": w, "task": t} for w, t in who], "more": more},
    st.lists(st.tuples(st.sampled_from(["one", "two", "?"]), st.sampled_from("abc")), max_size=4),
    st.booleans(),
)
OUTCOMES = st.sampled_from(["completed", "degraded", "out_of_budget"])
RESULT = st.builds(
    lambda who, task, round_, outcome, empty: {
        "assignee": who, "task": task, "round": round_, "outcome": outcome, "reason": f"{who} {task} {round_}",
        "output": None if empty and outcome != "completed" else {"text": task, "citations": [task]},
    },
    st.sampled_from(["one", "two"]), st.sampled_from("ab"), st.integers(0, 2), OUTCOMES, st.booleans(),
)  # fmt: skip
RESULTS = st.lists(RESULT, max_size=6).map(lambda rs: {f"{r['round']}/{n}": r for n, r in enumerate(rs)})


@given(PARTS)
def test_the_parts_of_a_budget_are_together_at_most_all_of_it(wanted: list[float | None]) -> None:
    parts = hierarchy.shares(wanted)
    assert sum(parts) <= 1 + 1e-9
    assert all(part > 0 for part in parts)
    assert all(part == want for part, want in zip(parts, wanted, strict=True) if want is not None)
    assert sum(parts) < 1 or None not in wanted  # the manager keeps a part of its own


@given(LIMITS, PARTS)
def test_a_split_is_within_what_is_left_but_for_rounding(left: Limit, wanted: list[float | None]) -> None:
    given_away = [hierarchy.split(left, part) for part in hierarchy.shares(wanted)]
    for name in ("calls", "tokens", "microusd"):
        most = getattr(left, name)
        assert all((part[name] is None) is (most is None) for part in given_away)
        if most is not None:
            assert sum(part[name] for part in given_away) <= most + len(given_away) + most * 1e-9
            assert all(0 <= part[name] <= most for part in given_away)


@given(LIMITS, LIMITS, st.integers(0, 10**9))
def test_the_tighter_of_two_limits_is_passed_when_either_is(one: Limit, other: Limit, used: int) -> None:
    spent = Amount(used, used, used)
    assert bool(over(tighter(one, other), spent)) is (bool(over(one, spent)) or bool(over(other, spent)))
    assert tighter(one, other) == tighter(other, one)


@given(WORDS, RESULTS)
def test_only_what_the_team_can_do_and_has_not_done_is_assigned(word: Any, results: Any) -> None:
    said, known = Assignments.model_validate(word), hierarchy.done(results)
    now = hierarchy.fresh(said, known)
    assert all((a.assignee, a.task) not in known for a in now)
    if not hierarchy.faults(said, ["one", "two"], most=3, first=not results, done=known):
        assert {a.assignee for a in said.assignments} <= {"one", "two"}
        assert len(said.assignments) <= 3
        assert said.assignments or results


@given(RESULTS)
def test_what_is_missing_is_what_nobody_made_good(results: Any) -> None:
    gone = hierarchy.lost(results)
    assert (not gone) is all(
        r["outcome"] == "completed"
        or any(
            o["outcome"] == "completed" and o["round"] > r["round"] and (o["assignee"], o["task"]) != (None, None)
            and (o["assignee"] == r["assignee"] or o["task"] == r["task"])
            for o in results.values()
        )
        for r in results.values()
    )  # fmt: skip


@given(st.lists(WORDS | st.just("gibberish"), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 2))
def test_whatever_a_manager_says_the_turn_ends_within_its_bounds(words: Any, rounds: int, repairs: int) -> None:
    graph, left = built(rounds, repairs)
    left[:] = words
    out = wait(graph.ainvoke({"task": "x"}))
    assert out["outcome"] in ("completed", "degraded", "failed")
    assert (out["outcome"] == "failed") is (out["answer"] is None)
    assert out["outcome"] == "completed" or out["reason"]
    assert len(out["results"]) <= 3 * rounds
    assert calls_of(graph).most is not None
    assert out["usage"]["total"]["calls"] <= (calls_of(graph).most or 0)
    assert out["outcome"] != "completed" or calls_of(graph).least <= out["usage"]["total"]["calls"]


@cache
def built(rounds: int, repairs: int) -> tuple[Graph, list[Any]]:
    """A team whose manager says what stands in a list, and the last of it again and again."""
    left: list[Any] = []

    def says(messages: Any, tools: Any) -> Any:
        now = (left.pop(0) if len(left) > 1 else left[0]) if tools else "the summary"
        return now if isinstance(now, str) else [("Assignments", now)]

    chief, team = scripted("chief", says, output=Assignments), [scripted("one", "first"), scripted("two", "second")]
    return build(chief, team, max_rounds=rounds, max_repairs=repairs, max_assignments=3), left


def test_shares_that_leave_the_manager_nothing_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "shares", lambda wanted: [part or 1 / (len(wanted) or 1) for part in wanted])
    breaks(test_the_parts_of_a_budget_are_together_at_most_all_of_it)


def test_a_split_that_gives_away_more_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "split", lambda left, share: asdict(left))
    breaks(test_a_split_is_within_what_is_left_but_for_rounding)


def test_work_that_is_done_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "fresh", lambda said, done: list(said.assignments))
    breaks(test_only_what_the_team_can_do_and_has_not_done_is_assigned)


def test_a_loss_that_is_not_told_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hierarchy, "lost", lambda results: "")
    breaks(test_what_is_missing_is_what_nobody_made_good)


SAID = st.fixed_dictionaries({"citations": st.none() | st.text(max_size=3) | st.lists(st.text(max_size=1) | st.none())})


@given(st.lists(SAID | st.none(), max_size=4))
def test_only_texts_are_sources_and_each_stands_once(outputs: list[Any]) -> None:
    found = list(hierarchy.sources(outputs))
    assert all(isinstance(source, str) for source in found)
    assert len(found) == len(set(found))
