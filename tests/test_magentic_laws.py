"""Laws of a magentic team's decisions, without the engine; and the engine against a fuzz of managers."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from laws import breaks
from makers import scripted
from test_magentic import planner, said

from graphs.magentic import build
from runtime.cost import calls_of
from runtime.sync import Graph, wait
from state import magentic
from state.magentic import Bounds, ProgressLedger

WORDS = st.builds(said, done=st.booleans(), loop=st.booleans(), on=st.booleans(), who=st.sampled_from(["worker", "?"]))
BOUNDS = st.builds(Bounds, st.integers(1, 6), st.integers(0, 3), st.integers(0, 2))
STANDING = st.fixed_dictionaries(
    {
        "fault": st.sampled_from(["", "no use"]),
        "round": st.integers(0, 9),
        "stalls": st.integers(0, 5),
        "resets": st.integers(0, 3),
    }
)
STATES: Any = st.fixed_dictionaries(
    {"progress": st.none() | WORDS, "standing": STANDING, "remaining_steps": st.integers(3, 40)}
)


@given(st.integers(0, 9), WORDS, st.booleans())
def test_the_stall_counter_moves_by_one_and_only_a_loop_or_no_progress_raises_it(
    stalls: int, ledger: Any, spoken: bool
) -> None:
    after = magentic.stalls_after(stalls, ledger, spoken=spoken)
    stuck = ledger["in_loop"]["repeats"] or not ledger["progress"]["holds"]
    counts = spoken and not ledger["satisfied"]["holds"]
    assert after == (stalls if not counts else stalls + 1 if stuck else max(0, stalls - 1))


@given(STATES, BOUNDS)
def test_past_a_bound_nothing_but_the_answer_follows(state: Any, bounds: Bounds) -> None:
    move = magentic.next_move(state, bounds)
    if state["standing"]["round"] > bounds.rounds or state["remaining_steps"] < magentic.RESERVE:
        assert move == "answer"
    if move == "plan":
        assert state["standing"]["resets"] < bounds.resets
        assert state["standing"]["stalls"] > bounds.stalls
    if move not in ("answer", "plan", "progress"):
        assert move == state["progress"]["next_speaker"]["speaker"]
        assert not state["standing"]["fault"]


@given(STATES, BOUNDS)
def test_an_end_without_satisfaction_has_a_reason(state: Any, bounds: Bounds) -> None:
    satisfied = state["progress"] is not None and state["progress"]["satisfied"]["holds"]
    if magentic.next_move(state, bounds) == "answer" and not satisfied:
        assert magentic.exhausted(state, bounds)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 9))
def test_the_team_sees_whole_exchanges_and_none_from_before_its_reset(n: int, since: int, window: int) -> None:
    talk: Any = [AIMessage(f"{'To w: ' if i % 2 == 0 else ''}{i}", id=str(i)) for i in range(2 * n)]
    seen = magentic.heard(talk, 2 * min(n, since), window)
    assert seen == talk[2 * max(min(n, since), n - window) :]
    assert len(magentic.exchanges(seen)) == len(seen) // 2


@given(st.lists(WORDS | st.just("gibberish"), min_size=1, max_size=12), BOUNDS)
def test_whatever_the_manager_says_the_turn_ends_within_its_bounds(words: Any, bounds: Bounds) -> None:
    graph, left = built(bounds)
    left[:] = words
    out = wait(graph.ainvoke({"task": "x"}))
    assert out["outcome"] in ("completed", "degraded")
    assert out["answer"] == {"text": "the answer", "citations": [], "confidence": None}
    assert (out["outcome"] == "completed") is bool(out["progress"] and out["progress"]["satisfied"]["holds"])
    assert len(out["talk"]) <= 2 * bounds.rounds
    assert out["standing"]["resets"] <= bounds.resets
    made, bounds_of = out["usage"]["total"]["calls"], calls_of(graph)
    assert bounds_of.most is not None
    assert made <= bounds_of.most
    assert out["outcome"] != "completed" or bounds_of.least <= made
    assert not out["progress"] or ProgressLedger.model_validate(out["progress"])


@cache
def built(bounds: Bounds) -> tuple[Graph, list[Any]]:
    """A team whose manager says what stands in a list, and the last of it again and again."""
    left: list[Any] = []

    def says(messages: Any, tools: Any) -> Any:
        now = left.pop(0) if len(left) > 1 else left[0]
        return now if isinstance(now, str) else [("ProgressLedger", now)]

    manager, hands = scripted("manager", says, output=ProgressLedger), [scripted("worker", "the word")]
    bounds_ = {"max_rounds": bounds.rounds, "max_stalls": bounds.stalls, "max_resets": bounds.resets}
    return build(planner(), manager, hands, scripted("writer", "the answer"), **bounds_), left


def test_a_counter_that_never_falls_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(magentic, "stalls_after", lambda stalls, ledger, *, spoken: stalls + 1)
    breaks(test_the_stall_counter_moves_by_one_and_only_a_loop_or_no_progress_raises_it)


def test_a_bound_that_does_not_bind_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(magentic, "exhausted", lambda state, bounds: "")
    breaks(test_past_a_bound_nothing_but_the_answer_follows)


def test_an_end_that_says_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(magentic, "next_move", lambda state, bounds: "answer")
    breaks(test_an_end_without_satisfaction_has_a_reason)


def test_a_context_that_is_not_reset_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(magentic, "heard", lambda talk, since, window: talk[-2 * window :])
    breaks(test_the_team_sees_whole_exchanges_and_none_from_before_its_reset)
