"""The decisions of a router, without the engine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from state import router as decide

NAMES = st.lists(st.sampled_from("abcd"), unique=True, min_size=1)


@given(NAMES, st.sets(st.sampled_from("abcd")), st.booleans())
def test_a_choice_is_sound_exactly_when_all_are_known_and_no_more_than_wanted(
    names: list[str], known: set[str], several: bool
) -> None:
    sound = set(names) <= known and (several or len(names) == 1)
    assert (decide.misnamed(names, sorted(known), several=several) == "") is sound


@given(NAMES, st.data())
def test_nothing_incomplete_is_ever_completed(names: list[str], data: Any) -> None:
    ends = {n: data.draw(st.sampled_from(["completed", "degraded", "failed", "out_of_budget"])) for n in names}
    results = {
        n: {"output": None if end == "failed" else {"text": n}, "outcome": end, "reason": n} for n, end in ends.items()
    }
    outcome, reason, answer = decide.conclusion(results, names, "")
    assert (outcome == "completed") is (set(ends.values()) == {"completed"})
    assert (answer is None) is (set(ends.values()) == {"failed"})
    assert all(n in reason for n in names)


def test_a_question_that_only_repeats_the_task_is_no_question() -> None:
    assert decide.question_of({"question": "Which one?"}, "go", {"a": "Does A."}) == "Which one?"
    assert decide.question_of({"question": "GO "}, "go", {"a": "Does A."}) == "What is this about? a: Does A."


# Each law can fail


def test_a_router_that_knows_everybody_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "misnamed", lambda names, known, several: "")
    breaks(test_a_choice_is_sound_exactly_when_all_are_known_and_no_more_than_wanted)


def test_a_conclusion_that_forgets_who_failed_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "conclusion", lambda results, chosen, flaw: ("completed", " ".join(chosen), {}))
    breaks(test_nothing_incomplete_is_ever_completed)
