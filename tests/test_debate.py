import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from costs import formula
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel
from scripted import Scripted

from graphs import debate, orchestrator_worker, react
from graphs.bind import Bindable, bind
from graphs.debate import build
from nodes.agent import Bound
from runtime.cost import calls_of
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state.agent import PERSON, Agent, Invariant, Limits, fallback
from state.debate import Verdict
from state.errors import ContractError
from state.plan import Plan
from state.record import Record, repeated
from state.task import Task


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return debate.build([who, scripted("other", "another view")], judge(1), agreement=lambda answers: True)


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


class Sum(BaseModel):
    value: int


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def kind(text: str) -> str:
    """Which of its three tasks a debater is given."""
    return {"Criticise": "criticise", "Answer": "revise"}.get(text.split()[0], "answer")


def task_in(messages: Any) -> str:
    return kind(messages[1].text)


def says(name: str, first: str, *later: str, seconds: float = 0, **options: Any) -> Bound:
    """A debater who answers, and revises its answer round by round."""
    answers = [first, *later]

    def script(messages: Any, tools: Any) -> str:
        if task_in(messages) == "criticise":
            return f"{name} doubts"
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return bind(agent(name, **options), Scripted(script=script, seconds=seconds))


def fails(name: str, at: str, **options: Any) -> Bound:
    """A debater who fails in one of its three tasks."""

    def work(task: Task) -> str:
        if kind(task.goal) == at:
            raise ValueError("out of ink")
        return f"{name} thinks"

    return bind(agent(name, **options), work)


def judge(*words: Any, **options: Any) -> Bound:
    """A judge whose verdicts are numbers, "tie" or whole verdicts, one after the other, the last again and again."""
    left = list(words)

    def script(messages: Any, tools: Any) -> Any:
        word = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(word, str) and word != "tie":
            word = next(n for n, answer in answers_in(messages).items() if word in str(answer))
        given = (
            {"number": 1, "tie": True} if word == "tie" else word if isinstance(word, dict) else {"number": int(word)}
        )
        return [("Verdict", {"reason": "because", **given})]

    return bind(agent("judge", output=Verdict, **options), Scripted(script=script))


def answers_in(messages: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(messages[1].text.split("## answers\n")[1].split("\n\n##")[0])
    return found


def calls(bound: Bound) -> list[Any]:
    assert isinstance(bound.by, Scripted)
    return bound.by.calls


def shown(bound: Bound, task: str) -> list[str]:
    return [messages[1].text for messages in calls(bound) if task_in(messages) == task]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Answer, criticise, revise, judge


async def test_all_answer_then_criticise_then_revise_and_the_judge_decides() -> None:
    team, chief = [says("ann", "one", "one again"), says("bob", "two", "two again")], judge("two again")
    out = await build(team, chief).ainvoke({"task": "how many?"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("two again", "completed", "bob")
    assert out["reason"] == ""
    assert sorted(out["said"]) == [f"{p}/{n}/{w}" for p, n in (("answer", 0), ("criticise", 1), ("revise", 1))
                                   for w in ("ann", "bob")]  # fmt: skip
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=1, verdicts=1) == 7


async def test_nobody_sees_another_answer_before_having_given_one() -> None:
    team = [says("ann", "one", seconds=0.3), says("bob", "two", seconds=0.3), says("eve", "three", seconds=0.3)]
    began = time.monotonic()
    out = await build(team, judge(1), agreement=lambda answers: True).ainvoke({"task": "how many?"})
    assert time.monotonic() - began < 0.8  # at the same time
    assert out["usage"]["total"]["calls"] == 3
    assert [w for member in team for w in ("one", "two", "three") if w in shown(member, "answer")[0]] == []


async def test_each_criticises_the_others_and_revises_with_what_it_received() -> None:
    team = [says("ann", "one"), says("bob", "two"), says("eve", "three")]
    task = {"goal": "how many?", "constraints": ["in one word"], "context": {"known": "few"}}
    await build(team, judge(1)).ainvoke({"task": task})
    (critic,), (reviser,) = shown(team[0], "criticise"), shown(team[0], "revise")
    assert [
        w for w in ("how many?", "in one word", "few", "one", '"bob"', "two", '"eve"', "three") if w not in critic
    ] == []
    assert [w for w in ("how many?", "in one word", "one", "bob doubts", "eve doubts") if w not in reviser] == []
    assert "ann doubts" not in reviser


@pytest.mark.parametrize("rounds", [1, 2, 3])
async def test_rounds_bounds_the_debate(rounds: int) -> None:
    team = [says("ann", "one"), says("bob", "two")]
    out = await build(team, judge(1), rounds=rounds).ainvoke({"task": "x"})
    assert [len(shown(m, "criticise")) for m in team] == [rounds, rounds]
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=rounds, verdicts=1)
    assert out["outcome"] == "completed"


async def test_a_typed_answer_is_criticised_in_words_and_its_invariants_hold_for_answers_only() -> None:
    def one(name: str, value: int) -> Bound:
        def script(messages: Any, tools: Any) -> Any:
            return f"{name} doubts" if task_in(messages) == "criticise" else [("Sum", {"value": value})]

        even = Invariant(name="even", holds=lambda given, output: output["value"] % 2 == 0, says="even only")
        return bind(agent(name, output=Sum, invariants=(even,)), Scripted(script=script))

    out = await build([one("ann", 2), one("bob", 4)], judge("4")).ainvoke({"task": "x"})
    assert (out["answer"], out["outcome"]) == ({"value": 4}, "completed")
    assert out["said"]["criticise/1/ann"]["output"]["text"] == "ann doubts"


# Agreement


async def test_equal_first_answers_end_it_at_once_without_the_judge() -> None:
    chief = judge(1)
    out = await build([says("ann", "Four."), says("bob", " four")], chief).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], len(calls(chief))) == ("completed", "Four.", 0)
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=0, verdicts=0)


async def test_agreement_after_a_round_ends_it_early() -> None:
    team, chief = [says("ann", "one", "two"), says("bob", "two")], judge(1)
    out = await build(team, chief, rounds=5).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], len(calls(chief))) == ("completed", "two", 0)
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=1, verdicts=0)


async def test_agreement_may_be_a_function_of_the_answers_in_the_order_of_the_debaters() -> None:
    seen: list[Any] = []

    def near(answers: list[dict[str, Any]]) -> bool:
        seen.append([a["text"] for a in answers])
        return len(seen) == 2

    out = await build([says("bob", "10", "11"), says("ann", "12")], judge(1), agreement=near).ainvoke({"task": "x"})
    assert seen == [["10", "12"], ["11", "12"]]
    assert (out["outcome"], out["messages"][-1].name) == ("completed", "bob")


async def test_an_agreement_that_breaks_is_said_and_the_judge_decides() -> None:
    out = await build(
        [says("ann", "one"), says("bob", "two")], judge("two"), agreement=lambda answers: answers[0]["sum"]
    ).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "two")
    assert out["reason"] == "agreement failed: KeyError: 'sum'"


async def test_the_judges_word_may_end_it_early() -> None:
    same = {"number": 1, "agree": True}
    chief = judge({"number": 1}, same)
    out = await build([says("ann", "4"), says("bob", "four")], chief, rounds=3, agreement="judge").ainvoke(
        {"task": "x"}
    )
    assert (out["outcome"], len(calls(chief))) == ("completed", 2)
    assert out["usage"]["total"]["calls"] == formula("debate", debaters=2, rounds=1, verdicts=2)
    never = judge("four")
    out = await build([says("ann", "4"), says("bob", "four")], never, rounds=3, agreement="judge").ainvoke(
        {"task": "x"}
    )
    assert (out["outcome"], out["answer"]["text"], len(calls(never))) == ("completed", "four", 4)


# Failures and limits


@pytest.mark.parametrize("at", ["answer", "criticise", "revise"])
async def test_a_debater_that_fails_is_left_out_and_named(at: str) -> None:
    team = [says("ann", "one"), fails("bob", at), says("eve", "three")]
    out = await build(team, judge("three")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], out["reason"]) == ("degraded", "three", "left out: bob: out of ink")
    assert sorted(next(iter(out["verdicts"].values()))["order"]) == ["ann", "eve"]


@pytest.mark.parametrize("at", ["answer", "criticise", "revise"])
async def test_with_one_left_its_answer_stands_degraded(at: str) -> None:
    chief = judge(1)
    out = await build([fails("bob", at), says("ann", "one")], chief).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"], len(calls(chief))) == ("degraded", "one", 0)
    assert out["reason"] == "left out: bob: out of ink"


async def test_with_nobody_left_the_last_answers_count_and_without_any_it_fails() -> None:
    out = await build([fails("ann", "revise"), fails("bob", "revise")], judge(1)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "ann thinks")
    out = await build([fails("ann", "answer"), fails("bob", "answer")], judge(1)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "left out: ann: out of ink; left out: bob: out of ink"


async def test_a_budget_that_is_spent_gives_the_best_answer_so_far() -> None:
    for most in range(1, 7):
        graph = build([says("ann", "one"), says("bob", "two")], judge(1))
        out = await graph.ainvoke({"task": "x"}, context={"max_calls": most, "max_concurrency": 1})
        assert (out["outcome"], out["usage"]["total"]["calls"]) == ("out_of_budget", most)
        assert out["answer"]["text"] in ("one", "two")


@pytest.mark.parametrize("options", [{}, {"agreement": "judge"}])
@pytest.mark.parametrize("limit", range(18, 30))
async def test_it_ends_well_before_the_engines_limit(options: Any, limit: int) -> None:
    graph = build([says("ann", "one"), says("bob", "two")], judge(1), rounds=99, **options)
    out = await graph.ainvoke({"task": "x"}, {"recursion_limit": limit})
    assert out["outcome"] == "degraded"
    assert out["reason"].startswith("cut short after")
    assert out["reason"].endswith("of 99 round(s), before the engine's limit")


async def test_what_a_debate_cost_is_told_against_one_answer() -> None:
    out = await build([says("ann", "one"), says("bob", "two")], judge(1), rounds=2).ainvoke({"task": "x"})
    assert out["cost_factor"] == 2 * (1 + 2 * 2) + 1  # every call of a scripted model has 15 tokens
    functions = [bind(agent(n), lambda task: "one") for n in ("ann", "bob")]
    assert (await build(functions, judge(1)).ainvoke({"task": "x"}))["cost_factor"] is None


async def test_a_fallbacks_tokens_and_those_below_a_debater_count_for_its_first_answer() -> None:
    deep = bind(agent("deep"), react.build(bind(agent("thinker"), Scripted(script=lambda m, t: "one"))))
    lost = fails("lost", "answer", on_failure=fallback(scripted("spare", "two")))
    out = await build([deep, lost], judge(1), agreement=lambda answers: True).ainvoke({"task": "x"})
    assert out["outcome"] == "completed"
    assert out["cost_factor"] == 2


async def test_the_calls_in_the_book_stay_within_what_the_options_allow() -> None:
    tie: Callable[[], Bound] = lambda: judge("tie", "tie", 1, limits=Limits(repairs=0))  # noqa: E731
    for options in ({}, {"rounds": 2, "both_orders": True}, {"agreement": "judge", "tie_break": "another round"}):
        team = [says("ann", "one", limits=Limits(repairs=0)), says("bob", "two", limits=Limits(repairs=0))]
        graph = build(team, tie(), **options)  # type: ignore[arg-type]
        out = await graph.ainvoke({"task": "x"})
        bound = calls_of(graph)
        assert bound.least <= out["usage"]["total"]["calls"] <= (bound.most or 0)
    assert (bound.least, bound.most) == (2 + 1, 2 * (1 + 2 * 2) + 3)
    assert out["usage"]["total"]["calls"] == bound.most


# Threads, people, nesting


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    team = [says("ann", "one"), says("bob", "two")]
    graph = memory.bind(build(team, judge("tie")))
    first = await graph.ainvoke({"task": "first"}, CONFIG)
    second = await graph.ainvoke({"task": "second"}, CONFIG)
    for key in ("said", "verdicts", "cost_factor"):
        assert (key, second[key]) == (key, first[key])
    assert second["usage"] == first["usage"]


@pytest.mark.parametrize("at", ["answer", "criticise", "revise"])
async def test_after_a_crash_only_the_debater_that_did_not_finish_speaks_again(sqlite: Persistence, at: str) -> None:
    ann, count = says("ann", "one"), []

    async def crash_once(task: Any) -> Any:
        now = kind(task.goal)
        count.append(now)
        if count.count(at) == 1 and now == at:
            await asyncio.sleep(0.2)
            raise Crash
        return "two"

    graph = sqlite.bind(build([ann, bind(agent("bob"), crash_once)], judge("two")))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["outcome"], out["answer"]["text"], len(calls(ann))) == ("completed", "two", 3)
    assert sorted(count) == sorted(["answer", "criticise", "revise", at])
    assert repeated(records(sqlite)) == []


async def test_a_fork_judges_the_answer_that_was_put_in_its_place(memory: Persistence) -> None:
    team, chief = [says("ann", "one"), says("bob", "two")], judge("one", "by hand")
    graph = memory.bind(build(team, chief))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("moderate",))
    entry = step.values["said"]["revise/1/bob"] | {"output": {"text": "by hand"}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"said": {"revise/1/bob": entry}})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (out["answer"]["text"], len(calls(team[0])), len(calls(chief))) == ("by hand", 3, 2)


async def test_people_debate_and_judge_and_criticise_in_plain_words(memory: Persistence) -> None:
    ann, chief = bind(agent("ann", output=Sum), PERSON), bind(agent("judge", output=Verdict), PERSON)
    bob = bind(agent("bob", output=Sum), lambda task: {"value": 2})
    graph = memory.bind(build([ann, bob], chief))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    for words in ('{"value": 3}', "bob is wrong", '{"value": 4}', '{"number": 1}'):
        assert [q.value["kind"] for q in out["__interrupt__"]] == ["input"]
        out = await graph.ainvoke(Command(resume={"decisions": [{"type": "respond", "message": words}]}), CONFIG)
    assert out["outcome"] == "completed"
    assert out["answer"]["value"] in (4, 2)
    assert out["said"]["criticise/1/ann"]["output"]["text"] == "bob is wrong"


async def test_patterns_debate_and_a_debate_is_a_worker() -> None:
    thinker = bind(agent("thinker"), react.build(bind(agent("mind"), Scripted(script=lambda m, t: "deep"))))
    inner = build([thinker, says("bob", "two")], judge("deep"))
    assert "thinker" in [name for name, _ in inner.get_subgraphs()]
    plan = {"steps": [{"id": "s1", "worker": "debaters", "task": "think about it", "needs": []}]}
    outer = orchestrator_worker.build(
        scripted("planner", [("Plan", plan)], output=Plan),
        [bind(agent("debaters"), inner)],
        scripted("writer", lambda m, t: "so " + ("deep" if "deep" in m[1].text else "what")),
    )
    out = await outer.ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "so deep")
    assert {n: u["calls"] for n, u in out["usage"].items()} == {
        **{"planner": 1, "mind": 3, "bob": 3, "judge": 1, "writer": 1},
        "total": 9,
    }


async def test_in_a_debate_within_a_debate_the_question_is_not_lost() -> None:
    pair = [says("cat", "three"), says("dan", "four")]
    inner = bind(agent("pair"), build(pair, judge("four")))
    await build([inner, says("bob", "two")], judge("two")).ainvoke({"task": "how many?"})
    for task in ("answer", "criticise", "revise"):
        assert all("how many?" in text for text in shown(pair[0], task))
    assert [w for w in ("bob doubts", "dan doubts") if w not in shown(pair[0], "revise")[-1]] == []


# What build refuses


def two() -> list[Bound]:
    return [says("ann", "one"), says("bob", "two")]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build(two()[:1], judge(1)), "`debaters` has 1"),
        (lambda: build([says("a", "x"), says("a", "y")], judge(1)), "'a'.*rename"),
        (lambda: build([says("a", "x"), says("judge", "y")], judge(1)), "'judge'.*rename"),
        (lambda: build([says("a", "x"), bind(agent("b", output=Sum), lambda t: 1)], judge(1)), "'b' returns Sum"),
        (lambda: build([says("a", "x"), bind(agent("b", input=Sum), lambda t: "")], judge(1)), "'b' takes Sum"),
        (lambda: build(two(), says("judge", "x")), "'judge' must return a Verdict"),
        (lambda: build(two(), judge(1), rounds=0), "`rounds`"),
        (lambda: build(two(), judge(1), tie_rounds=0), "`tie_rounds`"),
        (lambda: build(two(), judge(1), agreement="all"), "`agreement` is 'all'"),  # type: ignore[arg-type]
        (lambda: build(two(), judge(1), tie_break="coin"), "`tie_break` is 'coin'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in debate.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("advocate", "moderate", False),
        ("begin", "advocate", False),
        ("begin", "sceptic", False),
        ("count", "finish", False),
        ("decide", "advocate", True),
        ("decide", "count", True),
        ("decide", "sceptic", True),
        ("finish", "__end__", False),
        ("judge", "decide", False),
        ("moderate", "advocate", True),
        ("moderate", "count", True),
        ("moderate", "judge", True),
        ("moderate", "sceptic", True),
        ("sceptic", "moderate", False),
    ]
    asking = build(two(), judge(1), tie_break="human").get_graph().edges
    assert {(e.source, e.target) for e in asking} >= {("decide", "person"), ("person", "count")}


async def test_the_default_graph_runs_without_a_key(tmp_path: Any) -> None:
    (tmp_path / "tides.md").write_text("# Tides\n\nThe tide rises twice a day, every 12 hours and 25 minutes.\n")
    out = await debate.graph.ainvoke({"task": "How often does the tide rise?"}, context={"docs": str(tmp_path)})
    assert (out["outcome"], "twice a day" in out["answer"]["text"]) == ("completed", True)
