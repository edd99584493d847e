"""The decisions of a debate, without the engine."""

import random
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import breaks

from benchmarks.actors import Skill
from benchmarks.debate import critic_row, debate_row
from state import debate as decide
from state.debate import Verdict

NAMES = ("ann", "bob", "eve", "zoe")
TEAM = st.lists(st.sampled_from(NAMES), unique=True, min_size=2)
SEED, ROUND, DICE = st.integers(0, 2**32), st.integers(0, 9), st.integers(0, 99)


@st.composite
def debates(draw: Any) -> dict[str, Any]:
    """All that was said in some debate: whoever failed says nothing more."""
    said, alive = {}, list(draw(TEAM))
    for n in range(draw(st.integers(0, 2)) + 1):
        for phase in ("criticise", "revise") if n else ("answer",):
            for name in list(alive):
                outcome = draw(st.sampled_from(["completed", "completed", "degraded", "failed"]))
                output = None if outcome == "failed" else {"text": f"{phase} {n} {name}"}
                if output is None:
                    alive.remove(name)
                said[f"{phase}/{n}/{name}"] = {"by": name, "phase": phase, "round": n, "output": output,
                                               "outcome": outcome, "reason": f"{name} at {n}"}  # fmt: skip
    return said


def mixed(names: Any, dice: int) -> list[str]:
    """The same in some other order of arrival."""
    return random.Random(dice).sample(sorted(names), len(names))


@given(debates(), DICE)
def test_nothing_depends_on_the_order_of_arrival(said: dict[str, Any], dice: int) -> None:
    other = {visit: said[visit] for visit in mixed(said, dice)}
    for read in (decide.in_debate, decide.answers_of):
        assert read(other, NAMES) == read(said, NAMES)
        assert list(read(other, NAMES)) == list(read(said, NAMES))
    assert decide.criticisms_of(other, 1, NAMES) == decide.criticisms_of(said, 1, NAMES)
    assert decide.faults(other) == decide.faults(said)


@given(debates())
def test_who_failed_once_is_out_and_named_and_the_others_stand_with_their_newest_answer(said: dict[str, Any]) -> None:
    failed = {s["by"] for s in said.values() if s["output"] is None}
    alive = decide.in_debate(said, sorted({s["by"] for s in said.values()}))
    assert failed.isdisjoint(alive)
    assert failed | set(alive) == {s["by"] for s in said.values()}
    assert all(f"left out: {name}" in decide.faults(said) for name in failed)
    last = max(s["round"] for s in said.values())
    for name, answer in decide.answers_of(said, alive).items():
        newest = max(n for n in range(last + 1) if f"{'revise' if n else 'answer'}/{n}/{name}" in said)
        assert answer["text"].endswith(f"{newest} {name}")
        assert not answer["text"].startswith("criticise")


@given(TEAM, SEED, ROUND, DICE)
def test_the_order_is_the_seeds_and_nobody_is_lost(names: list[str], seed: int, round_: int, dice: int) -> None:
    order = decide.shuffled(names, seed, round_)
    assert sorted(order) == sorted(names)
    assert decide.shuffled(mixed(names, dice), seed, round_) == order


def looks(order: list[str], pick: Any) -> list[dict[str, Any]]:
    """What a judge says of both orders: `pick` names a place in the order it sees."""
    return [{"winner": decide.winner_of(Verdict(number=pick(o) + 1), o)} for o in (order, decide.turned(order))]


@given(TEAM, SEED)
def test_a_judge_of_answers_is_heard_and_a_judge_of_places_never_decides(names: list[str], seed: int) -> None:
    order = decide.shuffled(names, seed, 1)
    for name in names:
        assert decide.ruling(looks(order, lambda o, name=name: o.index(name))) == name
    for place in range(len(names)):
        assert decide.ruling(looks(order, lambda o, place=place: place)) == ""


@given(TEAM, st.integers(1, 9), st.booleans())
def test_a_verdict_names_one_who_is_there_or_nobody(names: list[str], number: int, tie: bool) -> None:
    winner = decide.winner_of(Verdict(number=number, tie=tie), names)
    assert winner in ("", None, *names)
    assert (winner == "") is tie
    assert (winner is None) is (not tie and number > len(names))


@given(st.lists(st.integers(1, 999), min_size=2, max_size=4), st.integers(0, 9999), st.sampled_from(["", "work/0/s1"]))
def test_the_cost_factor_is_all_tokens_over_the_mean_of_the_first_answers(first: list[int], rest: int, at: str) -> None:
    def record(path: str, visit: str, tokens: int, kind: str = "model") -> Any:
        return {"kind": kind, "path": path, "visit": visit, "tokens_in": tokens, "tokens_out": 0, "outcome": ""}

    own = [record(at, f"answer/0/{NAMES[n]}", tokens) for n, tokens in enumerate(first)]
    below = f"{at}/answer/0/{NAMES[0]}".strip("/")
    own[0] = record(below, "think/1", first[0])
    book = [*own, record(at, "revise/1/ann", rest), record(at, "answer/0/ann", 9**9, kind="graph")]
    expected = (sum(first) + rest) / (sum(first) / len(first))
    assert decide.cost_factor(book, at) == pytest.approx(expected, abs=0.01)
    assert decide.cost_factor(book[-2:], at) is None


def test_answers_agree_but_for_what_does_not_matter() -> None:
    same = [{"text": "Four."}, {"text": " four", "confidence": 0.5}, {"text": "FOUR", "citations": ["a#b"]}]
    assert all(decide.alike(some) for some in permutations(same))
    assert not decide.alike([*same, {"text": "five"}])
    assert (
        decide.surest({"a": {}, "b": {"confidence": 0.2}, "c": {"confidence": 0.2}, "d": {"confidence": "high"}}) == "b"
    )


def test_with_agents_of_stated_skill_accuracy_and_tokens_are_as_predicted() -> None:
    assert debate_row(2, 1, Skill(), seed=7, trials=25).within
    assert critic_row(3, Skill(), seed=7, trials=25).within


# Each law can fail


def test_a_debate_that_reads_by_arrival_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    def newest(said: Any, names: Any) -> Any:
        given = {s["by"]: s["output"] for s in said.values() if s["phase"] != "criticise" and s["output"] is not None}
        return {name: given[name] for name in names if name in given}

    monkeypatch.setattr(decide, "answers_of", newest)
    breaks(test_nothing_depends_on_the_order_of_arrival)


def test_a_debate_that_keeps_who_failed_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "in_debate", lambda said, names: list(names))
    breaks(test_who_failed_once_is_out_and_named_and_the_others_stand_with_their_newest_answer)


def test_a_shuffle_of_the_order_of_arrival_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "shuffled", lambda names, seed, round_: list(names))
    breaks(test_the_order_is_the_seeds_and_nobody_is_lost)


def test_a_ruling_by_the_first_look_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "ruling", lambda verdicts: verdicts[0]["winner"])
    breaks(test_a_judge_of_answers_is_heard_and_a_judge_of_places_never_decides)


def test_a_second_look_that_leaves_an_answer_in_its_place_breaks_its_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "turned", lambda order: order[::-1])
    breaks(test_a_judge_of_answers_is_heard_and_a_judge_of_places_never_decides)
