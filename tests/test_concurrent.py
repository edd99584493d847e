import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.types import Command
from makers import scripted
from pydantic import BaseModel
from scripted import Scripted

from graphs import concurrent, critic, pipeline
from graphs.bind import Bindable, bind
from graphs.concurrent import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import fork
from state import concurrent as decide
from state.agent import ESCALATE, Agent, Limits, Text, fallback
from state.concurrent import Choice, best, chunks, collect, concatenate, dealt, first, quorum, same, synthesize, vote
from state.critic import Critique
from state.errors import ContractError, InputError
from state.record import Record, repeated
from state.task import Task
from state.tool import Arguments, Tool, ToolContext


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    return concurrent.build([who, scripted("other", "another view")], aggregate=concatenate())


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


class Question(BaseModel):
    city: str


def agent(name: str, **options: Any) -> Agent:
    return Agent(name=name, responsibility=f"Does {name}.", **options)


def model(name: str, script: Any, *, seconds: float = 0, **options: Any) -> Bound:
    return bind(
        agent(name, **options), Scripted(script=script if callable(script) else lambda m, t: script, seconds=seconds)
    )


def says(name: str, text: str, *, confidence: float | None = None, seconds: float = 0, **options: Any) -> Bound:
    async def say(given: Any) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"text": text, "confidence": confidence}

    return bind(agent(name, **options), say)


def breaks(name: str, **options: Any) -> Bound:
    def broken(given: Any) -> str:
        raise ValueError("out of ink")

    return bind(agent(name, **options), broken)


def echo(name: str = "echo") -> Bound:
    return bind(agent(name), lambda task: task.goal)


def records(home: Persistence, thread: str = "t") -> list[Record]:
    return [item.value for item in home.store.search(("book", thread), limit=1000)]  # type: ignore[misc]


def texts(out: dict[str, Any]) -> list[str]:
    return [r["output"]["text"] for r in out["answer"]["results"]]


async def results_of(graph: Any) -> dict[str, Any]:
    return (await graph.aget_state(CONFIG)).values["results"]


# Who gets which task


async def test_the_same_task_goes_to_every_agent() -> None:
    seen = []

    def see(task: Task) -> str:
        seen.append((task.goal, task.constraints))
        return "x"

    team = [bind(agent(name), see) for name in "abc"]
    out = await build(team).ainvoke({"task": {"goal": "g", "constraints": ["short"]}})
    assert seen == [("g", ["short"])] * 3
    assert [r["agent"] for r in out["answer"]["results"]] == ["a", "b", "c"]
    assert (out["outcome"], out["reason"]) == ("completed", "")


async def test_several_tasks_go_to_one_agent() -> None:
    out = await build(echo()).ainvoke({"task": {"goal": "all", "context": {"tasks": ["one", "two", "three"]}}})
    assert texts(out) == ["one", "two", "three"]


async def test_several_tasks_are_dealt_out_to_several_agents_in_order() -> None:
    graph = build([echo("a"), echo("b")])
    for tasks, hands in ((["1", "2"], ["a", "b"]), (["1", "2", "3"], ["a", "b", "a"]), (["1"], ["a"])):
        out = await graph.ainvoke({"task": {"goal": "all", "context": {"tasks": tasks}}})
        assert texts(out) == tasks
        assert [r["agent"] for r in out["answer"]["results"]] == hands


async def test_a_splitter_makes_the_tasks_and_messages_are_enough() -> None:
    graph = build(echo(), split=lambda task: task.goal.split(), aggregate=concatenate(" | "))
    out = await graph.ainvoke({"messages": [("human", "one two")]})
    assert out["answer"]["text"] == "one | two"


async def test_each_of_several_tasks_keeps_what_the_whole_task_says() -> None:
    seen = []

    def see(task: Task) -> str:
        seen.append(task)
        return "x"

    whole = {"goal": "all", "context": {"tasks": ["one", {"goal": "two"}], "known": 1}, "constraints": ["short"]}
    await build(bind(agent("a"), see)).ainvoke({"task": whole})
    assert seen == [Task(goal="one", context={"known": 1}, constraints=["short"]), Task(goal="two")]


async def test_typed_inputs_come_as_data_or_as_json() -> None:
    ask = bind(agent("ask", input=Question), lambda question: question.city)
    several = await build(ask).ainvoke({"task": {"goal": "x", "context": {"tasks": [{"city": "Rome"}]}}})
    single = await build(ask).ainvoke({"task": '{"city": "Paris"}'})
    assert texts(several) + texts(single) == ["Rome", "Paris"]


async def test_a_task_that_does_not_fit_is_the_senders_failure() -> None:
    ask = bind(agent("ask", input=Question), lambda question: question.city)
    out = await build(ask).ainvoke({"task": {"goal": "x", "context": {"tasks": [{"city": "Rome"}, {"town": "Bonn"}]}}})
    assert (out["outcome"], texts(out)) == ("degraded", ["Rome"])
    assert out["reason"].startswith("ask (sender): city: Field required")


@pytest.mark.parametrize("tasks", [[], "one", {"a": 1}, [7]])
async def test_tasks_that_are_no_tasks_are_refused(tasks: Any) -> None:
    with pytest.raises(InputError, match="task"):
        await build(echo()).ainvoke({"task": {"goal": "x", "context": {"tasks": tasks}}})


async def test_a_second_turn_sees_nothing_of_the_first(memory: Persistence) -> None:
    graph = memory.bind(build(echo()))
    await graph.ainvoke({"task": {"goal": "x", "context": {"tasks": ["one", "two"]}}}, CONFIG)
    assert texts(await graph.ainvoke({"task": "three"}, CONFIG)) == ["three"]


# Aggregators


async def test_concatenate_joins_texts_in_the_order_of_the_agents_with_every_source_once() -> None:
    a = model("a", "late [x#1]", seconds=0.05)
    b = model("b", "soon [x#1] [y#2]")
    out = await build([a, b], aggregate=concatenate()).ainvoke({"task": "x"})
    assert out["answer"]["text"] == "late [x#1]\n\nsoon [x#1] [y#2]"
    assert out["answer"]["citations"] == ["x#1", "y#2"]


async def test_the_vote_goes_to_what_most_say() -> None:
    out = await build([says("a", "Rome"), says("b", "Paris."), says("c", "paris")], aggregate=vote()).ainvoke(
        {"task": "x"}
    )
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("Paris.", "completed", "b")


async def test_a_tie_goes_to_the_surer_side_and_is_said() -> None:
    team = [says("a", "Rome", confidence=0.2), says("b", "Paris", confidence=0.9)]
    out = await build(team, aggregate=vote()).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("Paris", "degraded")
    assert out["reason"] == "a tie of 2 answers with 1 vote(s) each"


async def test_a_vote_may_say_what_makes_answers_the_same() -> None:
    team = [says("a", "Rome 1"), says("b", "Oslo"), says("c", "Rome 2")]
    out = await build(team, aggregate=vote(key=lambda output: output["text"][:4])).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("Rome 1", "completed")


async def test_best_is_the_highest_confidence() -> None:
    team = [says("a", "x", confidence=0.5), says("b", "y", confidence=0.7), says("c", "z")]
    out = await build(team, aggregate=best()).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("y", "completed")


async def test_best_without_any_confidence_says_that_it_could_not_compare() -> None:
    out = await build([says("a", "x"), says("b", "y")], aggregate=best()).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("x", "degraded")
    assert "how sure" in out["reason"]


async def test_a_judge_names_the_best_without_knowing_whose_it_is() -> None:
    judge = model("judge", [("Choice", {"number": 2, "reason": "clear"})], output=Choice)
    team = [says("ann", "x", confidence=0.9), breaks("bob"), says("cid", "y")]
    out = await build(team, aggregate=best(judge)).ainvoke({"task": "the task"})
    assert (out["answer"]["text"], out["messages"][-1].name) == ("y", "cid")
    prompt = judge.by.calls[0][1].text  # type: ignore[union-attr]
    assert "the task" in prompt
    assert not [name for name in ("ann", "bob", "cid") if name in prompt]


async def test_a_judge_who_names_nobody_leaves_it_to_confidence() -> None:
    judge = model("judge", [("Choice", {"number": 7})], output=Choice)
    team = [says("a", "x", confidence=0.1), says("b", "y", confidence=0.2)]
    out = await build(team, aggregate=best(judge)).ainvoke({"task": "x"})
    assert (out["answer"]["text"], out["outcome"]) == ("y", "degraded")
    assert "candidate 7 of 2" in out["reason"]


async def test_a_synthesizer_sees_every_result_by_name_and_what_is_missing() -> None:
    writer = model("writer", "the whole")
    out = await build([says("a", "one"), breaks("b"), says("c", "two")], aggregate=writer).ainvoke({"task": "the goal"})
    assert (out["answer"]["text"], out["outcome"]) == ("the whole", "degraded")
    assert out["messages"][-1].name == "writer"
    prompt = writer.by.calls[0][1].text  # type: ignore[union-attr]
    assert prompt.startswith("the goal")
    assert "## a\n" in prompt
    assert "## c\n" in prompt
    assert "## missing\nb: out of ink" in prompt


@pytest.mark.parametrize("aide", [synthesize(breaks("writer")), best(breaks("writer", output=Choice))])
async def test_an_aggregating_agent_that_fails_leaves_the_best_there_is(aide: Any) -> None:
    out = await build([says("a", "one", confidence=0.9), says("b", "two")], aggregate=aide).ainvoke({"task": "x"})
    assert out["answer"]["text"].startswith("one")
    assert (out["outcome"], out["reason"]) == ("degraded", "writer: out of ink")


async def test_a_function_of_all_results_may_aggregate() -> None:
    def longest(results: list[dict[str, Any]]) -> str:
        return max((r["output"]["text"] for r in results), key=len)

    out = await build([says("a", "x"), says("b", "yyy")], aggregate=longest).ainvoke({"task": "x"})
    assert out["answer"] == {"text": "yyy", "citations": [], "confidence": None}
    data = await build([says("a", "x")], aggregate=lambda results: {"n": len(results)}).ainvoke({"task": "x"})
    assert data["answer"] == {"n": 1}
    typed = await build([says("a", "x")], aggregate=lambda results: Text(text="t")).ainvoke({"task": "x"})
    assert typed["answer"]["text"] == "t"


async def test_a_function_that_fails_fails_the_turn_by_its_name() -> None:
    def mine(results: list[dict[str, Any]]) -> str:
        raise ZeroDivisionError("oh")

    out = await build([says("a", "x")], aggregate=mine).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "mine failed: ZeroDivisionError: oh"


# Races


async def test_the_first_valid_result_wins_and_the_rest_are_cancelled_and_recorded(sqlite: Persistence) -> None:
    slow = model("slow", "late", seconds=30)
    graph = sqlite.bind(build([slow, model("fast", "soon", seconds=0.05)], aggregate=first()))
    began = time.monotonic()
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    assert time.monotonic() - began < 5
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("soon", "completed", "")
    assert {r["agent"]: r["outcome"] for r in records(sqlite)} == {"slow": "cancelled", "fast": "completed"}
    assert (await results_of(graph))["slow/0/0"]["outcome"] == "cancelled"
    assert out["usage"]["slow"]["calls"] == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_failure_wins_no_race() -> None:
    team = [breaks("a"), says("b", "soon", seconds=0.05), says("c", "late", seconds=30)]
    out = await asyncio.wait_for(build(team, aggregate=first()).ainvoke({"task": "x"}), 5)
    assert (out["answer"]["text"], out["outcome"], out["reason"]) == ("soon", "degraded", "a: out of ink")


async def test_a_race_that_nobody_wins_is_failed_with_every_failure() -> None:
    out = await build([breaks("a"), breaks("b")], aggregate=first()).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert "a: out of ink; b: out of ink" in out["reason"]


async def test_a_quorum_is_over_when_enough_say_the_same() -> None:
    team = [says("a", "Rome"), says("b", "Paris"), says("c", "paris.", seconds=0.05), says("d", "Oslo", seconds=30)]
    out = await asyncio.wait_for(build(team, aggregate=quorum(2)).ainvoke({"task": "x"}), 5)
    assert (out["answer"]["text"], out["outcome"]) == ("Paris", "completed")


async def test_without_a_quorum_there_is_no_answer() -> None:
    out = await build([says("a", "Rome"), says("b", "Paris")], aggregate=quorum(2)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "no answer was given 2 times: at most 1 of 2 agree"


async def test_one_agent_asked_several_times_makes_a_quorum() -> None:
    answers = iter(["7", "8", "7"])
    ask = bind(agent("ask"), lambda task: next(answers))
    graph = build(ask, split=lambda task: [task] * 3, aggregate=quorum(2))
    assert (await graph.ainvoke({"task": "x"}))["answer"]["text"] == "7"


async def test_whole_graphs_race_too_and_the_loser_stops(sqlite: Persistence) -> None:
    after = Scripted(script=lambda m, t: "never")
    slow = pipeline.build(model("thinks", "late", seconds=30), bind(agent("after"), after))
    quick = pipeline.build(model("knows", "soon", seconds=0.05))
    graph = sqlite.bind(build([bind(agent("slow"), slow), bind(agent("quick"), quick)], aggregate=first()))
    out = await asyncio.wait_for(graph.ainvoke({"task": "x"}, CONFIG), 5)
    assert (out["answer"]["text"], out["outcome"]) == ("soon", "completed")
    ends = {r["agent"]: r["outcome"] for r in records(sqlite) if r["kind"] == "model"}
    assert ends == {"thinks": "cancelled", "knows": "completed"}
    assert after.calls == []
    again = await graph.ainvoke({"task": "y"}, CONFIG)
    assert again["outcome"] == "completed"


async def test_a_race_that_was_won_before_a_crash_stays_won(sqlite: Persistence) -> None:
    calls = []

    async def loses(task: Task) -> str:
        calls.append("loser")
        if len(calls) > 2:
            return "wrong"
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            raise Crash from None  # the process dies just as the race is won
        return "late"

    async def wins(task: Task) -> str:
        calls.append("winner")
        await asyncio.sleep(0.05)
        return "soon"

    def graph() -> Any:
        return sqlite.bind(build([bind(agent("loser"), loses), bind(agent("winner"), wins)], aggregate=first()))

    with pytest.raises(Crash):
        await graph().ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await asyncio.wait_for(graph().ainvoke(None, CONFIG, durability="sync"), 5)
    assert (out["answer"]["text"], out["outcome"]) == ("soon", "completed")
    assert calls == ["loser", "winner"]


async def test_branches_of_one_chunk_race_each_other() -> None:
    async def work(task: Task) -> str:
        await asyncio.sleep(0 if task.goal == "4" else 30)
        return task.goal

    graph = build(bind(agent("a"), work), split=lambda task: list("123456"), chunk=3, aggregate=first())
    assert (await asyncio.wait_for(graph.ainvoke({"task": "x"}), 5))["answer"]["text"] == "4"


async def test_two_races_at_once_do_not_know_of_each_other() -> None:
    def say(task: Task) -> str:
        return task.goal

    async def never(task: Task) -> str:
        await asyncio.sleep(30)
        return "late"

    graph = build([bind(agent("a"), say), bind(agent("b"), never)], aggregate=first())
    outs = await asyncio.wait_for(asyncio.gather(*(graph.ainvoke({"task": str(n)}) for n in range(8))), 10)
    assert [o["answer"]["text"] for o in outs] == [str(n) for n in range(8)]


# Failures and bounds


async def test_a_partial_failure_is_degraded_and_each_failure_attributed() -> None:
    out = await build([says("a", "x"), breaks("b"), breaks("c")]).ainvoke({"task": "x"})
    assert (out["outcome"], texts(out)) == ("degraded", ["x"])
    assert out["reason"] == "b: out of ink; c: out of ink"


@pytest.mark.parametrize(("least", "outcome"), [(1, "degraded"), (2, "degraded"), (3, "failed")])
async def test_min_success_decides_whether_it_failed(least: int, outcome: str) -> None:
    out = await build([says("a", "x"), says("b", "y"), breaks("c")], min_success=least).ainvoke({"task": "x"})
    assert out["outcome"] == outcome
    assert (out["answer"] is None) is (outcome == "failed")
    assert "c: out of ink" in out["reason"]


async def test_more_successes_than_branches_are_refused_before_any_call() -> None:
    ask = Scripted(script=lambda m, t: "x")
    with pytest.raises(InputError, match="1 branch"):
        await build(bind(agent("a"), ask), min_success=2).ainvoke({"task": "x"})
    assert ask.calls == []


async def test_every_branch_has_its_own_timeout() -> None:
    team = [says("a", "x"), says("slow", "y", seconds=30)]
    out = await asyncio.wait_for(build(team, timeout=0.1).ainvoke({"task": "x"}), 5)
    assert (out["outcome"], texts(out)) == ("degraded", ["x"])
    assert out["reason"] == "slow (environment): no answer within 0.1 s"


async def test_an_agents_own_limit_bounds_its_branch_too() -> None:
    slow = says("slow", "y", seconds=30, limits=Limits(seconds_per_call=0.1))
    out = await asyncio.wait_for(build([says("a", "x"), slow]).ainvoke({"task": "x"}), 5)
    assert "slow (environment): no answer in time" in out["reason"]


async def test_a_nested_graph_ends_at_the_branchs_timeout(sqlite: Persistence) -> None:
    line = pipeline.build(model("one", "1"), model("two", "2", seconds=30))
    graph = sqlite.bind(build([says("a", "x"), bind(agent("line"), line)], timeout=1))
    out = await asyncio.wait_for(graph.ainvoke({"task": "x"}, CONFIG), 10)
    assert (out["outcome"], texts(out)) == ("degraded", ["x"])
    assert {r["agent"]: r["outcome"] for r in records(sqlite) if r["kind"] == "model"} == {
        "one": "completed",
        "two": "cancelled",
    }


async def test_wall_time_is_that_of_the_slowest_branch() -> None:
    team = [model(f"a{n}", "x", seconds=0.3) for n in range(8)]
    began = time.monotonic()
    await build(team).ainvoke({"task": "x"})
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("chunk", [1, 4])
async def test_max_concurrency_bounds_what_runs_at_once(chunk: int) -> None:
    now, most = 0, 0

    async def work(task: Task) -> str:
        nonlocal now, most
        now += 1
        most = max(now, most)
        await asyncio.sleep(0.01)
        now -= 1
        return "x"

    graph = build(bind(agent("a"), work), split=lambda task: ["t"] * 12, chunk=chunk)
    await graph.ainvoke({"task": "x"}, context={"max_concurrency": 3})
    assert most == 3


async def test_a_budget_that_is_spent_is_said_with_what_there_is() -> None:
    team = [model("a", "x"), model("b", "y"), model("c", "z")]
    out = await build(team, aggregate=concatenate(), min_success=2).ainvoke({"task": "x"}, context={"max_calls": 2})
    assert out["outcome"] == "out_of_budget"
    assert out["answer"]["text"] == "x\n\ny"
    assert "c (environment): the run's budget is used up" in out["reason"]
    few = await build(team, aggregate=concatenate(), min_success=3).ainvoke({"task": "x"}, context={"max_calls": 1})
    assert (few["outcome"], few["answer"]["text"]) == ("out_of_budget", "x")


async def test_a_fallback_answers_for_its_agent() -> None:
    spare = says("spare", "by the spare")
    a = bind(agent("a", on_failure=fallback(spare)), breaks("a").by)
    for aggregate in (collect(), vote(), first()):
        out = await build([a], aggregate=aggregate).ainvoke({"task": "x"})
        assert (out["outcome"], "by the spare" in str(out["answer"])) == ("completed", True)


# Chunks


async def test_a_chunk_is_one_node_whose_results_are_saved_together(memory: Persistence) -> None:
    graph = memory.bind(build([echo("a"), echo("b")], split=lambda task: [str(n) for n in range(10)], chunk=2))
    steps = [s async for s in graph.astream({"task": "x"}, CONFIG, stream_mode="tasks")]
    begun = [s["name"] for s in steps if "input" in s]
    assert begun == ["begin", "a", "a", "a", "b", "b", "b", "gather", "finish"]
    assert [r["output"]["text"] for r in decide.in_order(await results_of(graph))] == [str(n) for n in range(10)]


async def test_a_large_fan_out_goes_in_chunks() -> None:
    graph = build(echo(), split=lambda task: [str(n) for n in range(2000)], chunk=100, aggregate=concatenate(" "))
    out = await graph.ainvoke({"task": "x"})
    assert out["answer"]["text"].split() == [str(n) for n in range(2000)]


# Durability, forks, people


async def test_after_a_crash_only_what_had_not_finished_runs_again(sqlite: Persistence) -> None:
    calls: list[str] = []

    def work(name: str) -> Callable[[Task], Any]:
        async def run(task: Task) -> str:
            calls.append(task.goal)
            if task.goal == "3" and calls.count("3") == 1:
                await asyncio.sleep(0.2)
                raise Crash
            return task.goal

        return run

    for chunk in (1, 5):
        calls.clear()
        config: Any = {"configurable": {"thread_id": f"t{chunk}"}}
        graph = sqlite.bind(build(bind(agent("a"), work("a")), split=lambda t: list("12345"), chunk=chunk))
        with pytest.raises(Crash):
            await graph.ainvoke({"task": "x"}, config, durability="sync")
        out = await graph.ainvoke(None, config, durability="sync")
        assert texts(out) == list("12345")
        assert sorted(calls) == list("123345")
        assert repeated(records(sqlite, f"t{chunk}")) == []


async def test_a_fork_before_the_results_meet_calls_nobody_again(memory: Persistence) -> None:
    a, writer = Scripted(script=lambda m, t: "one"), Scripted(script=lambda m, t: "whole")
    graph = memory.bind(build([bind(agent("a"), a), says("b", "two")], aggregate=bind(agent("writer"), writer)))
    await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    step = await anext(s async for s in graph.aget_state_history(CONFIG) if s.next == ("gather",))
    changed = {"a/0/0": {**step.values["results"]["a/0/0"], "output": Text(text="by hand").model_dump()}}
    await fork(graph, "t", step.config["configurable"]["checkpoint_id"], values={"results": changed})
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert (len(a.calls), len(writer.calls)) == (1, 2)
    assert "by hand" in writer.calls[1][1].text
    assert out["outcome"] == "completed"


async def test_questions_of_several_branches_stand_together_and_are_answered_one_by_one(memory: Persistence) -> None:
    team = [breaks("a", on_failure=ESCALATE), says("b", "x"), breaks("c", on_failure=ESCALATE)]
    graph = memory.bind(build(team))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    asked = {i.value["action_requests"][0]["name"]: i.id for i in out["__interrupt__"]}
    assert set(asked) == {"a", "c"}
    answer = {"decisions": [{"type": "respond", "message": "by hand"}]}
    out = await graph.ainvoke(Command(resume={asked["c"]: answer}), CONFIG)
    assert [i.id for i in out["__interrupt__"]] == [asked["a"]]
    out = await graph.ainvoke(Command(resume={asked["a"]: {"decisions": [{"type": "reject"}]}}), CONFIG)
    assert (out["outcome"], texts(out)) == ("degraded", ["x", "by hand"])
    assert "a: a person declined" in out["reason"]


# Nested


async def test_patterns_are_branches_and_a_fan_out_is_a_stage() -> None:
    accept = model("judge", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    reviewed = critic.build(model("author", "draft"), [accept])
    fan = build([bind(agent("reviewed"), reviewed), model("other", "else")], aggregate=concatenate("|"))
    out = await pipeline.build(bind(agent("fan"), fan), model("closer", "end")).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "end")
    assert set(out["usage"]) == {"author", "judge", "other", "closer", "total"}


async def test_a_fan_out_in_a_fan_out() -> None:
    inner = build([echo("a"), echo("b")], aggregate=concatenate("+"))
    outer = build(bind(agent("inner"), inner), split=lambda task: ["1", "2"], aggregate=concatenate(" "))
    assert (await outer.ainvoke({"task": "x"}))["answer"]["text"] == "1+1 2+2"


def test_nested_graphs_are_seen_from_outside() -> None:
    outer = build([bind(agent("inner"), build([agent("a"), agent("b")])), agent("c")])
    assert [name for name, _ in outer.get_subgraphs()] == ["inner"]
    assert any(n.startswith("inner:a") for n in outer.get_graph(xray=True).nodes)


# What build refuses


class Nothing(Arguments):
    pass


async def act(given: Nothing, context: ToolContext) -> str:
    return "done"


ACT = Tool(name="act", description="Acts.", args=Nothing, run=act, effects="irreversible")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: build([]), "empty"),
        (lambda: build([agent("a"), agent("a")]), "'a'.*rename"),
        (lambda: build([agent("gather")]), "'gather'.*rename"),
        (lambda: build([agent("a")], aggregate=agent("a")), "'a'.*rename"),
        (lambda: build([agent("a")], aggregate=7), "aggregate"),
        (lambda: build([agent("a")], aggregate=best(agent("j"))), "'j' must return a Choice"),
        (lambda: build([agent("a")], aggregate=agent("w", input=Question)), "'w' must take a Task, not Question"),
        (lambda: build([agent("a")], min_success=0), "min_success"),
        (lambda: build([agent("a")], min_success=1, aggregate=first()), "leave `min_success` out"),
        (lambda: build([agent("a")], timeout=0), "timeout"),
        (lambda: build([agent("a")], chunk=0), "chunk"),
        (lambda: build([agent("a", on_failure=ESCALATE)], chunk=2), "'a'.*`chunk` at 1"),
        (lambda: build([bind(agent("g"), build([agent("a")]))], chunk=2), "'g'.*`chunk` at 1"),
        (lambda: build([agent("a", on_failure=ESCALATE)], aggregate=first()), "'a' may ask a person"),
        (lambda: build([agent("a", tools=(ACT,))], aggregate=quorum(1)), "'a' may ask a person"),
        (lambda: quorum(0), "at least 1"),
    ],
)
def test_what_cannot_work_is_refused_with_the_mend(make: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        make()


# The decisions, without the engine

RESULTS = st.lists(
    st.tuples(st.sampled_from(["Rome", "rome.", "Paris", "Oslo"]), st.none() | st.floats(0, 1)), min_size=1, max_size=7
).map(
    lambda said: [
        {"at": n, "agent": f"a{n}", "output": {"text": t, "confidence": c}, "outcome": "completed", "confidence": c}
        for n, (t, c) in enumerate(said)
    ]
)
SETTLING: list[Callable[[Any], decide.Settled]] = [
    lambda found: decide.elected(found, same),
    lambda found: decide.agreed(found, 2, same),
    decide.surest,
]


@given(RESULTS, st.randoms(use_true_random=False))
def test_no_decision_depends_on_the_order_of_arrival(found: list[Any], chance: random.Random) -> None:
    mixed = list(found)
    chance.shuffle(mixed)
    for settle in SETTLING:
        assert settle(mixed) == settle(found)
    by_visit = {str(f["at"]): f for f in mixed}
    assert decide.in_order(by_visit) == found


@given(RESULTS)
def test_the_elected_answer_has_no_fewer_votes_than_any_other_and_a_tie_is_said(found: list[Any]) -> None:
    votes = [same(f["output"]) for f in found]
    settled = decide.elected(found, same)
    assert settled.answer is not None
    most = max(votes.count(v) for v in votes)
    assert votes.count(same(settled.answer)) == most
    assert bool(settled.flaw) is (len({v for v in votes if votes.count(v) == most}) > 1)


@given(RESULTS, st.integers(1, 4))
def test_a_quorum_has_an_answer_exactly_when_enough_say_the_same(found: list[Any], k: int) -> None:
    votes = [same(f["output"]) for f in found]
    settled = decide.agreed(found, k, same)
    assert (settled.answer is not None) is any(votes.count(v) >= k for v in votes)


@given(RESULTS)
def test_the_surest_is_no_less_sure_than_any_other_and_the_first_of_equals(found: list[Any]) -> None:
    taken = next(f for f in found if f["agent"] == decide.surest(found).by)
    level = [f["confidence"] if f["confidence"] is not None else -1 for f in found]
    assert taken["at"] == level.index(max(level))


@given(st.integers(1, 30), st.integers(1, 5), st.integers(1, 7))
def test_every_task_is_dealt_once_and_in_chunks_no_larger_than_asked(tasks: int, agents: int, size: int) -> None:
    names = [f"a{n}" for n in range(agents)]
    branches = dealt(Task(goal="x", context={"tasks": [str(n) for n in range(tasks)]}), names)
    assert [b["given"]["goal"] for b in branches] == [str(n) for n in range(tasks)]
    assert len({b["visit"] for b in branches}) == tasks
    parts = chunks(branches, size)
    assert all(0 < len(part) <= size for _, part in parts)
    assert all(b["agent"] == name for name, part in parts for b in part)
    assert sorted(b["at"] for _, part in parts for b in part) == list(range(tasks))


def test_sources_confidence_case_and_spaces_make_no_other_answer() -> None:
    assert same({"text": "  The  Same.", "confidence": 1}) == same({"text": "the same", "citations": ["x#1"]})
    assert same({"text": "the same"}) != same({"text": "another"})


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in concurrent.graph.get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("begin", "figures", True),
        ("begin", "texts", True),
        ("figures", "gather", False),
        ("finish", "__end__", False),
        ("gather", "finish", True),
        ("gather", "synthesizer", True),
        ("synthesizer", "finish", False),
        ("texts", "gather", False),
    ]
    plain = sorted((e.source, e.target, e.conditional) for e in build([agent("a")]).get_graph().edges)
    assert plain == [
        ("__start__", "begin", False),
        ("a", "gather", False),
        ("begin", "a", True),
        ("finish", "__end__", False),
        ("gather", "finish", False),
    ]


async def test_the_default_graph_runs_without_a_key() -> None:
    task = {"goal": "What is the capital of France?", "context": {"atlas": "Paris is the capital of France."}}
    out = await concurrent.graph.ainvoke({"task": task})
    assert out["outcome"] == "completed"
    assert "Paris" in out["answer"]["text"]
    assert out["usage"]["total"]["calls"] == 4  # one branch looks in the documents first
