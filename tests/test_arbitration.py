import asyncio
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel
from scripted import Scripted

from graphs import arbitration, blackboard, concurrent, negotiation
from graphs.arbitration import build
from graphs.bind import Bindable, bind
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import ABORT, PERSON, Agent, Text
from state.arbitration import Ruling, arbitrate, confidence, decide, expertise, priority, recency, record, vote
from state.cost import Calls
from state.errors import ContractError, InputError
from state.record import Record, repeated


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return arbitration.build([who, scripted("other", "something else")], rules=[expertise({"other": -1})])


CONFIG: Any = {"configurable": {"thread_id": "t"}}
NINE, TEN = "It opens at nine.", "It opens at ten."


class Crash(BaseException):
    pass


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def says(name: str, text: str, sure: float | None = None, **options: Any) -> Bound:
    """A side that answers with a text, and says how sure it is."""
    return bind(agent(name, **options), lambda task: {"text": text, "confidence": sure})


def rules_for(number: int, reason: str = "it is sourced") -> Bound:
    return scripted("judge", [("Ruling", {"number": number, "reason": reason})], output=Ruling)


def breaks(name: str, **options: Any) -> Bound:
    def broken(task: Any) -> Any:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def calls(bound: Bound) -> list[Any]:
    assert isinstance(bound.by, Scripted)
    return bound.by.calls


def why(out: dict[str, Any]) -> dict[str, str]:
    """Why each side lost, by its agent; empty for those who won."""
    return {s["agent"]: s["why"] for s in out["ruling"]["sides"]}


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Each way to resolve


async def test_sides_that_agree_are_no_conflict_and_nobody_arbitrates() -> None:
    judge = rules_for(2)
    out = await build([says("a", NINE, 0.5), says("b", "it opens  at NINE", 0.9)], arbiter=judge).ainvoke(
        {"task": "when?"}
    )
    assert (out["outcome"], out["reason"], out["answer"]["confidence"]) == ("completed", "", 0.9)
    assert (out["ruling"]["by"], why(out), calls(judge)) == ("agreement", {"a": "", "b": ""}, [])


@pytest.mark.parametrize(
    ("rule", "winner", "reason"),
    [
        (priority("b", "a"), "b", "by priority: 1 against 2 of b"),
        (priority("b"), "b", "by priority: 0 against 1 of b"),
        (confidence(), "a", "by confidence: 0.4 against 0.8 of a"),
        (expertise({"b": 2, "a": 1}), "b", "by expertise: 1 against 2 of b"),
        (vote({"b": 3}), "b", "by vote: 1 against 3 of b"),
    ],
)
async def test_a_rule_decides_and_says_why_the_other_side_lost(rule: Any, winner: str, reason: str) -> None:
    out = await build([says("a", NINE, 0.8), says("b", TEN, 0.4)], rules=[rule]).ainvoke({"task": "when?"})
    loser = "b" if winner == "a" else "a"
    assert (out["outcome"], out["messages"][-1].name) == ("completed", winner)
    assert (out["ruling"]["by"], why(out)) == (rule.name, {winner: "", loser: reason})


async def test_recency_believes_what_was_said_last() -> None:
    results = [{"agent": "old", "text": NINE, "when": 1}, {"agent": "new", "text": TEN, "when": 2}, {"text": "?"}]
    out = await build(rules=[recency()]).ainvoke({"task": {"goal": "when?", "context": {"results": results}}})
    assert (out["answer"]["text"], out["outcome"]) == (TEN, "completed")
    assert why(out) == {
        "old": "by recency: 1 against 2 of new",
        "new": "",
        "side 3": "by recency: nothing against 2 of new",
    }


async def test_a_vote_believes_the_most() -> None:
    team = [says("a", NINE), says("b", TEN), says("c", "it opens at ten")]
    out = await build(team, rules=[vote()]).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], why(out)["a"]) == (TEN, "by vote: 1 against 2 of b, c")
    assert [s["won"] for s in out["ruling"]["sides"]] == [False, True, True]


async def test_a_later_rule_decides_what_the_one_before_leaves_tied() -> None:
    team = [says("a", NINE, 0.9), says("b", TEN, 0.9), says("c", "Never.", 0.1)]
    out = await build(team, rules=[confidence(), priority("b", "a", "c")]).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], out["ruling"]["by"]) == (TEN, "priority")
    assert why(out)["c"] == "by confidence: 0.1 against 0.9 of a, b"


async def test_a_judge_names_the_side_that_is_right() -> None:
    judge = rules_for(2)
    out = await build([says("a", NINE), says("b", TEN)], arbiter=judge).ainvoke({"task": "when does it open?"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == (TEN, "completed", "b")
    assert (out["ruling"]["by"], why(out)) == ("judge", {"a": "by judge: it is sourced", "b": ""})
    shown = calls(judge)[0][1].text
    assert [w for w in ("when does it open?", NINE, TEN, "contradict") if w not in shown] == []


async def test_the_arbiter_hears_only_the_sides_that_the_rules_left_standing() -> None:
    judge = rules_for(2)
    team = [says("a", NINE, 0.1), says("b", TEN, 0.9), says("c", "Never.", 0.9)]
    out = await build(team, rules=[confidence()], arbiter=judge).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], NINE in calls(judge)[0][1].text) == ("Never.", False)
    assert why(out) == {"a": "by confidence: 0.1 against 0.9 of b, c", "b": "by judge: it is sourced", "c": ""}


async def test_an_arbiter_may_answer_in_its_own_words() -> None:
    out = await build([says("a", NINE), says("b", TEN)], arbiter=says("middle", "Half past nine.")).ainvoke(
        {"task": "?"}
    )
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == (
        "Half past nine.",
        "completed",
        "middle",
    )
    assert set(why(out).values()) == {"by middle: another answer is taken"}


async def test_any_graph_arbitrates_and_is_given_every_side() -> None:
    seen: list[Any] = []

    def settles(task: Any) -> str:
        seen.extend(task.context["results"])
        return TEN

    inner = build(arbiter=bind(agent("inner"), settles))
    outer = build([says("a", NINE, 0.3), says("b", TEN)], arbiter=bind(agent("panel"), inner))
    assert "panel" in [name for name, _ in outer.get_subgraphs()]
    out = await outer.ainvoke({"task": "when?"})
    assert (out["answer"]["text"], why(out)) == (TEN, {"a": "by panel: another answer is taken", "b": ""})
    assert [(s["agent"], s["output"]["text"], s["confidence"]) for s in seen] == [("a", NINE, 0.3), ("b", TEN, None)]


async def test_a_negotiation_arbitrates_and_may_end_between_the_sides() -> None:
    early, late = (negotiation.party(n, prefers={"opens": p}) for n, p in (("early", "low"), ("late", "high")))
    talks = bind(agent("talks"), negotiation.build([early, late], issues={"opens": [9, 10, 11]}))
    out = await build([says("a", "It opens at 9."), says("b", "It opens at 11.")], arbiter=talks).ainvoke({"task": "?"})
    assert (out["outcome"], '"opens": 10' in out["answer"]["text"]) == ("completed", True)
    assert why(out) == dict.fromkeys("ab", "by talks: another answer is taken")


@pytest.mark.parametrize(
    ("output", "message"), [(Ruling, '{"number": 2, "reason": "I was there"}'), (Text, TEN)], ids=["number", "words"]
)
async def test_a_person_arbitrates_with_every_side_before_them(output: Any, message: str, memory: Persistence) -> None:
    graph = memory.bind(build([says("a", NINE), says("b", TEN)], arbiter=bind(agent("ann", output=output), PERSON)))
    (question,) = (await graph.ainvoke({"task": "when?"}, CONFIG))["__interrupt__"]
    assert [s["agent"] for s in question.value["case"]["task"]["context"]["results"]] == ["a", "b"]
    said = {"decisions": [{"type": "respond", "message": message}]}
    out = await graph.ainvoke(Command(resume=said), CONFIG)
    assert (out["answer"]["text"], out["outcome"], out["ruling"]["by"]) == (TEN, "completed", "ann")


async def test_a_person_who_declines_leaves_it_open(memory: Persistence) -> None:
    graph = memory.bind(build([says("a", NINE), says("b", TEN)], arbiter=bind(agent("ann"), PERSON)))
    await graph.ainvoke({"task": "when?"}, CONFIG)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "not mine"}]}), CONFIG)
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", NINE)
    assert out["reason"] == "nothing decides between a, b; ann: declined: not mine"


async def test_a_typed_result_keeps_its_form() -> None:
    class Hours(BaseModel):
        opens: int

    team = [bind(agent(n, output=Hours), lambda task, at=at: {"opens": at}) for n, at in (("a", 9), ("b", 10))]
    out = await build(team, rules=[priority("b")]).ainvoke({"task": "when?"})
    assert out["answer"] == {"opens": 10}


async def test_a_key_says_what_agrees() -> None:
    team = [says("a", "About nine."), says("b", "Exactly nine.")]
    out = await build(team, rules=[priority("a")], key=lambda output: output["text"].split()[-1]).ainvoke({"task": "?"})
    assert out["ruling"]["by"] == "agreement"


# Sides


async def test_all_sides_are_asked_at_the_same_time_and_hear_nothing_of_each_other() -> None:
    at_work, most = 0, 0

    async def works(task: Any) -> str:
        nonlocal at_work, most
        at_work, most = at_work + 1, max(most, at_work + 1)
        await asyncio.sleep(0.05)
        at_work -= 1
        assert task.context == {"shop": "ours"}
        return NINE

    team = [bind(agent(name), works) for name in "abc"]
    await build(team, rules=[vote()]).ainvoke({"task": {"goal": "when?", "context": {"shop": "ours"}}})
    assert most == 3


async def test_results_that_are_there_already_are_arbitrated_without_asking_anybody() -> None:
    side = scripted("a", NINE)
    results = [NINE, {"agent": "board", "text": TEN, "citations": ["hours.md#sunday"], "confidence": 0.9}]
    task = {"goal": "when?", "context": {"results": results}}
    out = await build([side], rules=[confidence()]).ainvoke({"task": task})
    assert (out["answer"], calls(side)) == ({"text": TEN, "citations": ["hours.md#sunday"], "confidence": 0.9}, [])
    assert why(out) == {"side 1": "by confidence: nothing against 0.9 of board", "board": ""}


async def test_results_of_another_form_are_taken_whole() -> None:
    out = await build(rules=[vote()]).ainvoke(
        {"task": {"goal": "?", "context": {"results": [{"x": 1}, {"x": 2}, {"x": 1}]}}}
    )
    assert (out["answer"], out["outcome"]) == ({"x": 1}, "completed")


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ({}, "nothing to arbitrate"),
        ({"results": []}, "at least one"),
        ({"results": "nine"}, "must be a list"),
        ({"results": [NINE, 7]}, "result 2 is 7"),
        ({"results": [{"text": NINE, "confidence": 9}]}, "result 1: confidence"),
        ({"results": [{"text": ""}]}, "either a text or an output"),
    ],
)
async def test_sides_that_cannot_be_read_are_refused_with_the_mend(context: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        await build(rules=[vote()]).ainvoke({"task": {"goal": "when?", "context": context}})


# What nothing decides, and what fails


async def test_what_nothing_decides_is_degraded_with_the_surest_side() -> None:
    out = await build([says("a", NINE, 0.2), says("b", TEN, 0.7)], rules=[vote()]).ainvoke({"task": "when?"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", TEN)
    assert out["reason"] == "nothing decides between a, b"
    assert (out["ruling"]["by"], why(out)["a"]) == ("", "nothing decides between a, b, and another is taken")


async def test_a_judge_who_names_nobody_leaves_it_open() -> None:
    out = await build([says("a", NINE), says("b", TEN)], arbiter=rules_for(3)).ainvoke({"task": "when?"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", NINE)
    assert out["reason"] == "nothing decides between a, b; judge named side 3 of 2"


@pytest.mark.parametrize("options", [{}, {"on_failure": ABORT}])
async def test_an_arbiter_that_fails_leaves_the_best_side(options: Any) -> None:
    out = await build([says("a", NINE), says("b", TEN)], arbiter=breaks("judge", **options)).ainvoke({"task": "when?"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", NINE)
    assert "judge: out of ink" in out["reason"]


async def test_a_side_that_fails_is_kept_with_its_reason_and_the_turn_is_not_whole() -> None:
    out = await build([says("a", NINE), breaks("b")], rules=[vote()]).ainvoke({"task": "when?"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", NINE, "b: out of ink")
    assert why(out) == {"a": "", "b": "b: out of ink"}


async def test_without_any_side_there_is_no_answer() -> None:
    out = await build([breaks("a"), breaks("b")], rules=[vote()]).ainvoke({"task": "when?"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "no side brought a result: a: out of ink; b: out of ink"


async def test_a_budget_that_is_spent_leaves_the_best_side() -> None:
    team = [scripted("a", NINE), scripted("b", TEN)]
    out = await build(team, arbiter=rules_for(2)).ainvoke({"task": "when?"}, context={"max_calls": 2})
    assert (out["outcome"], out["answer"]["text"], out["usage"]["total"]["calls"]) == ("out_of_budget", NINE, 2)


# As a resolver elsewhere


async def test_rules_are_an_aggregator_of_concurrent() -> None:
    team = [says("a", NINE, 0.9), says("b", TEN, 0.4)]
    out = await concurrent.build(team, aggregate=arbitrate(priority("b", "a"))).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == (TEN, "completed", "b")
    tied = await concurrent.build(team, aggregate=arbitrate(vote())).ainvoke({"task": "when?"})
    assert (tied["outcome"], tied["reason"]) == ("degraded", "nothing decides between a, b")


async def test_the_aggregator_can_hand_up_every_side_with_why_it_lost() -> None:
    team = [says("a", NINE, 0.9), says("b", TEN, 0.4)]
    out = await concurrent.build(team, aggregate=arbitrate(confidence(), sides=True)).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], out["outcome"]) == (NINE, "completed")
    assert [s["why"] for s in out["answer"]["ruling"]["sides"]] == ["", "by confidence: 0.4 against 0.9 of a"]


async def test_an_arbitration_resolves_the_conflicts_of_a_blackboard() -> None:
    team = [scripted("a", NINE), scripted("b", TEN)]
    sources = [blackboard.Source(who=t, writes=["hours"]) for t in team]
    panel = bind(agent("panel"), build(rules=[priority("b")]))
    out = await blackboard.build(sources, at_once=None, max_retries=0, resolve=panel).ainvoke({"task": "when?"})
    assert (out["answer"]["text"], out["outcome"]) == (TEN, "completed")


# Threads


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    graph = memory.bind(build([says("a", NINE)], rules=[vote()]))
    results = {"results": [NINE, TEN, TEN]}
    first = await graph.ainvoke({"task": {"goal": "one", "context": results}}, CONFIG)
    out = await graph.ainvoke({"task": "two"}, CONFIG)
    assert (len(first["ruling"]["sides"]), len(out["ruling"]["sides"])) == (3, 1)


async def test_after_a_crash_among_the_sides_those_who_spoke_are_not_asked_again(sqlite: Persistence) -> None:
    first, count = scripted("a", NINE), []

    async def crash_once(task: Any) -> str:
        count.append(1)
        if len(count) == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return TEN

    graph = sqlite.bind(build([first, bind(agent("b"), crash_once)], rules=[priority("b")]))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], out["answer"]["text"], len(calls(first)), len(count)) == ("completed", TEN, 1, 2)
    assert repeated(records(sqlite)) == []


async def test_a_fork_arbitrates_the_side_that_was_put_in_its_place(memory: Persistence) -> None:
    first = scripted("a", NINE)
    graph = memory.bind(build([first, scripted("b", TEN)], rules=[confidence(), priority("a")]))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("weigh",))
    other = step.values["results"]["b"] | {"confidence": 1.0}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"results": {"b": other}})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["answer"]["text"], len(calls(first))) == (TEN, 1)


# Options, cost and drawing


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build([agent("a")]), "nothing can decide; give `rules`"),
        (lambda: build([agent("a")], rules=["priority"]), "'priority'; give a Rule"),  # type: ignore[list-item]
        (lambda: build([agent("a"), agent("a")], rules=[vote()]), "'a'.*rename"),
        (lambda: build([agent("weigh")], rules=[vote()]), "'weigh'.*rename"),
        (lambda: build([agent("a", input=Text)], rules=[vote()]), "'a' takes Text"),
        (lambda: build([agent("a")], arbiter=agent("a")), "'a'.*rename"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


async def test_the_formula_gives_the_calls_that_were_made() -> None:
    for team, verdicts in (([NINE, TEN], 1), ([NINE, NINE, NINE], 0)):
        graph = build([scripted(f"s{n}", text) for n, text in enumerate(team)], arbiter=rules_for(1))
        out = await graph.ainvoke({"task": "when?"})
        made = out["usage"]["total"]["calls"]
        assert formula("arbitration", sides=len(team), verdicts=verdicts) == made
        assert calls_of(graph) == Calls(0, 3 * (len(team) + 1))


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in arbitration.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("arbiter", "finish", False),
        ("begin", "reader", True),
        ("begin", "reckoner", True),
        ("begin", "weigh", True),
        ("finish", "__end__", False),
        ("reader", "weigh", False),
        ("reckoner", "weigh", False),
        ("weigh", "arbiter", True),
        ("weigh", "finish", True),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    results = ["The capital of France is Paris.", "The capital of France is Lyon."]
    task = {"goal": "What is the capital of France?", "context": {"results": results}}
    out = await arbitration.graph.ainvoke({"task": task})
    assert out["outcome"] in ("completed", "degraded")
    assert out["answer"]["text"] in results
    assert len(out["ruling"]["sides"]) == 2


def test_the_record_names_what_brought_no_result_too() -> None:
    sides = [
        {"at": 0, "agent": "a", "output": {"text": NINE}, "reason": "", "confidence": None},
        {"at": 1, "agent": "b", "output": None, "reason": "b: gone", "confidence": None},
    ]
    found = decide(sides[:1], [])
    assert [s["why"] for s in record(sides, found, {"text": NINE})["sides"]] == ["", "b: gone"]
