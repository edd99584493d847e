from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from state.plan import Plan, circle, faults, inputs_of, missing, progress


def plan(*steps: tuple[str, list[str]], **options: Any) -> Plan:
    return Plan.model_validate(
        {"steps": [{"id": i, "worker": "w", "task": "t", "needs": n} | options for i, n in steps]}
    )


def done(text: str = "x") -> dict[str, Any]:
    return {"output": {"text": text}, "reason": "", "outcome": "completed", "fatal": False}


def lost(reason: str = "broke", *, fatal: bool = True) -> dict[str, Any]:
    return {"output": None, "reason": reason, "outcome": "failed", "fatal": fatal}


@st.composite
def sound(draw: st.DrawFn) -> Plan:
    """Plans whose needs point backwards, told in any order."""
    count = draw(st.integers(1, 8))
    steps = [
        {
            "id": f"s{n}",
            "worker": "w",
            "task": "t",
            "needs": [f"s{m}" for m in sorted(draw(st.sets(st.integers(0, n - 1))))] if n else [],
            "critical": draw(st.booleans()),
        }
        for n in range(count)
    ]
    return Plan.model_validate({"steps": draw(st.permutations(steps))})


def test_a_plan_has_at_least_one_step_and_no_unknown_field() -> None:
    for wrong in ({"steps": []}, {"steps": [{"id": "a", "worker": "w", "task": "t", "who": "x"}]}):
        with pytest.raises(ValidationError):
            Plan.model_validate(wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (plan(("a", []), ("a", [])), "the id 'a' stands 2 times"),
        (plan(("a", []), worker="x"), "step 'a': no worker is called 'x'; there are v, w"),
        (plan(("a", ["b"])), "step 'a' needs 'b', which is no step"),
        (plan(("a", ["a"])), "the steps 'a' need each other in a circle"),
        (
            plan(("a", ["c"]), ("b", ["a"]), ("c", ["b"]), ("d", [])),
            "the steps 'a', 'b', 'c' need each other in a circle",
        ),
    ],
)
def test_every_fault_is_named_exactly(wrong: Plan, said: str) -> None:
    assert faults(wrong, ["w", "v"]) == [said]


def test_all_faults_are_named_at_once() -> None:
    wrong = plan(("a", ["b"]), ("a", ["c"]), worker="x")
    assert len(faults(wrong, ["w"])) == 5


def test_a_step_may_need_what_an_earlier_plan_finished() -> None:
    assert faults(plan(("b", ["a"])), ["w"]) == ["step 'b' needs 'a', which is no step"]
    assert faults(plan(("b", ["a"])), ["w"], done=["a"]) == []


@given(sound())
def test_a_plan_whose_needs_point_backwards_is_sound_in_any_order(made: Plan) -> None:
    assert faults(made, ["w"]) == []
    assert circle(made) == []


@given(sound(), st.data())
def test_a_need_that_points_forwards_too_makes_a_circle(made: Plan, data: Any) -> None:
    steps = [s for s in made.steps if s.needs]
    if not steps:
        return
    step = data.draw(st.sampled_from(steps))
    other = next(s for s in made.steps if s.id == step.needs[0])
    other.needs.append(step.id)
    assert {step.id, other.id} <= set(circle(made))


@given(sound(), st.data())
def test_every_step_ends_done_failed_or_skipped_and_never_begins_before_its_needs(made: Plan, data: Any) -> None:
    results: dict[str, Any] = {}
    for _ in made.steps:
        now = progress(made, results)
        if not now.ready:
            break
        chosen = data.draw(st.sampled_from(now.ready))
        step = next(s for s in made.steps if s.id == chosen)
        assert all(results[need]["output"] is not None for need in step.needs)
        assert inputs_of(step, results) == {need: results[need]["output"] for need in step.needs}
        results[step.id] = data.draw(st.sampled_from([done(), lost(fatal=True), lost(fatal=False)]))
    end = progress(made, results)
    assert end.over
    good = {i for i, r in results.items() if r["output"] is not None}
    assert sorted([*good, *end.failed, *end.skipped]) == sorted(s.id for s in made.steps)
    assert set(end.broken) == {s.id for s in made.steps if s.critical and s.id in end.failed and results[s.id]["fatal"]}
    assert bool(missing(made, results)) is bool(end.failed or end.skipped)


def test_what_is_missing_is_said_with_its_reason_and_what_it_took_along() -> None:
    made = plan(("a", []), ("b", ["a"]), ("c", []))
    assert missing(made, {"a": lost("no ink"), "c": done()}) == "a (no ink); b (skipped: it needs what is missing)"
    assert missing(made, {"a": done(), "b": done(), "c": done()}) == ""
