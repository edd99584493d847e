"""The judge of a debate: what it sees, ties, and who breaks them."""

from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from test_debate import CONFIG, agent, answers_in, calls, judge, records, says

from graphs.bind import bind
from graphs.debate import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from state.debate import Verdict


async def orders(seed: int, *names: str) -> list[list[str]]:
    chief = judge(1)
    team = [says(name, f"by {n}") for n, name in enumerate(names)]
    out = await build(team, chief).ainvoke({"task": "x"}, context={"seed": seed})
    assert [name for name in names if name in calls(chief)[0][1].text] == []
    return [v["order"] for v in out["verdicts"].values()]


async def test_the_judge_sees_no_names_and_an_order_that_the_seed_shuffles() -> None:
    names = ("annabel", "robert", "evelyn")
    found = [await orders(seed, *names) for seed in range(6)]
    assert len({tuple(o) for (o,) in found}) > 1
    assert [await orders(seed, *reversed(names)) for seed in range(6)] == found


async def test_in_both_orders_the_judge_looks_twice_and_a_better_answer_wins_both_times(memory: Persistence) -> None:
    chief = judge("two")
    graph = memory.bind(build([says("ann", "one"), says("bob", "two")], chief, both_orders=True))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "two")
    first, second = (list(answers_in(messages).values()) for messages in calls(chief))
    assert first == second[::-1]
    assert sorted(r["visit"] for r in records(memory) if r["agent"] == "judge") == ["judge/1/0", "judge/1/1"]
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=1, verdicts=2)


async def test_a_judge_that_always_picks_the_first_contradicts_itself_which_is_a_tie() -> None:
    out = await build([says("ann", "one"), says("bob", "two")], judge(1), both_orders=True).ainvoke({"task": "x"})
    assert (out["outcome"], out["reason"]) == ("degraded", "no decision between ann, bob")


async def test_a_tie_without_a_decision_gives_all_answers_and_prefers_none() -> None:
    out = await build([says("ann", "one"), says("bob", "two")], judge("tie")).ainvoke({"task": "x"})
    assert (out["outcome"], out["messages"][-1].name) == ("degraded", "debate")
    assert sorted(out["answer"]["text"].split("\n\n")) in (["Answer 1: one", "Answer 2: two"],
                                                           ["Answer 1: two", "Answer 2: one"])  # fmt: skip


async def test_another_round_may_break_a_tie_and_is_bounded() -> None:
    def team() -> list[Bound]:
        return [says("ann", "one"), says("bob", "two")]

    out = await build(team(), judge("tie", "two"), tie_break="another round").ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "two")
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=2, verdicts=2)
    out = await build(team(), judge("tie"), tie_break="another round", tie_rounds=2).ainvoke({"task": "x"})
    assert out["reason"] == "no decision between ann, bob"
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=3, verdicts=3)


async def tied(memory: Persistence, *decisions: Any) -> Any:
    graph = memory.bind(build([says("ann", "one"), says("bob", "two")], judge("tie"), tie_break="human"))
    waiting = await graph.ainvoke({"task": "how many?"}, CONFIG)
    (question,) = waiting["__interrupt__"]
    assert (question.value["kind"], question.value["case"]["task"]) == ("escalation", "how many?")
    assert sorted(a["text"] for a in question.value["case"]["answers"].values()) == ["one", "two"]
    assert "ann" not in str(question.value)
    for decision in decisions:
        out = await graph.ainvoke(Command(resume={"decisions": [decision], "by": "joe"}), CONFIG)
    return question.value["case"]["answers"], out


async def test_a_person_may_break_a_tie(memory: Persistence) -> None:
    answers, out = await tied(memory, {"type": "respond", "message": "2"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", answers["2"]["text"])
    assert out["reason"] == "a tie, decided by joe"


async def test_a_person_who_declines_leaves_it_undecided_and_a_wrong_number_leaves_it_open(memory: Persistence) -> None:
    with pytest.raises(Exception, match="from 1 to 2"):
        await tied(memory, {"type": "respond", "message": "3"})
    out = await memory.bind(build([says("ann", "one"), says("bob", "two")], judge("tie"), tie_break="human")).ainvoke(
        Command(resume={"decisions": [{"type": "reject"}]}), CONFIG
    )
    assert (out["outcome"], out["reason"]) == ("degraded", "no decision between ann, bob")


async def test_a_judge_that_fails_or_names_nobody_leaves_the_surest_answer() -> None:
    lost = bind(agent("judge", output=Verdict), lambda task: 1 / 0)
    for chief, why in ((lost, "judge: division by zero"), (judge(7), "judge names answer 7 of 2")):
        out = await build([says("ann", "one"), says("bob", "two")], chief).ainvoke({"task": "x"})
        assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "one", f"no verdict: {why}")
