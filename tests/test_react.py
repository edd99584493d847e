import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.types import Command
from pydantic import BaseModel
from scripted import Scripted

from graphs import react
from graphs.bind import Bindable, bind
from graphs.react import build
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.sync import Graph
from state.agent import Agent, Limits
from state.errors import ContractError, InputError, ToolError
from state.react import next_move, same_call
from state.record import Record, repeated
from state.tool import Arguments, Tool, ToolContext


def make(who: Bindable) -> Graph:
    """What the conformance suite runs."""
    bound = bind(who)
    return bound.graph if isinstance(bound.graph, Graph) else react.build(bound)


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Crash(BaseException):
    pass


class Place(Arguments):
    city: str


class Report(BaseModel):
    city: str
    degrees: int


def tool(name: str, run: Callable[[Place], Any], effects: Any = "none", **options: Any) -> Tool:
    async def use(given: Place, context: ToolContext) -> Any:
        made = run(given)
        return await made if asyncio.iscoroutine(made) else made

    return Tool(name=name, description=f"Does {name}.", args=Place, run=use, effects=effects, **options)


def weather(log: list[str] | None = None) -> Tool:
    def run(place: Place) -> str:
        (log if log is not None else []).append(place.city)
        return f"{len(place.city)} degrees in {place.city}"

    return tool("weather", run)


def turns(*said: Any) -> Scripted:
    """A model that says one thing after the other: text, or tool calls; the last one again and again."""
    return Scripted(script=lambda m, t: said[min(sum(x.type == "ai" for x in m), len(said) - 1)])


def loop(model: Scripted, *tools: Tool, **options: Any) -> Graph:
    bound = bind(Agent(name="clerk", responsibility="Answers.", tools=tools, **options), model)
    return bound.graph if isinstance(bound.graph, Graph) else build(bound)


def results(model: Scripted) -> list[dict[str, Any]]:
    """What the tools said, as the model saw it in its last call."""
    return [json.loads(m.text) for m in model.calls[-1] if m.type == "tool"]


def records(home: Persistence) -> list[Record]:
    return [item.value for item in home.store.search(("book",), limit=1000)]  # type: ignore[misc]


# Think, act, observe, answer


async def test_it_thinks_calls_tools_observes_and_answers() -> None:
    model = turns([("weather", {"city": "Rome"})], "4 degrees")
    out = await loop(model, weather()).ainvoke({"task": "how cold is Rome?"})
    assert (out["answer"]["text"], out["outcome"], out["messages"][-1].name) == ("4 degrees", "completed", "clerk")
    assert [m.type for m in model.calls[1]] == ["system", "human", "ai", "tool"]
    assert results(model) == [{"value": "4 degrees in Rome"}]
    assert out["usage"]["clerk"]["calls"] == 2


async def test_the_exchange_with_tools_is_no_part_of_the_conversation() -> None:
    out = await loop(turns([("weather", {"city": "Rome"})], "cold"), weather()).ainvoke({"task": "x"})
    assert [m.type for m in out["messages"]] == ["human", "ai"]


async def test_an_agent_without_tools_answers_at_once() -> None:
    model = turns("hello")
    out = await loop(model).ainvoke({"task": "x"})
    assert (out["answer"]["text"], len(model.calls)) == ("hello", 1)


async def test_independent_calls_run_at_the_same_time_and_answer_in_their_order() -> None:
    async def slow(place: Place) -> str:
        await asyncio.sleep(0.3 if place.city == "Rome" else 0.2)
        return place.city

    model = turns([("look", {"city": c}) for c in ("Rome", "Oslo", "Bonn")], "done")
    began = time.monotonic()
    await loop(model, tool("look", slow)).ainvoke({"task": "x"})
    assert time.monotonic() - began < 0.65
    assert [r["value"] for r in results(model)] == ["Rome", "Oslo", "Bonn"]


async def test_the_answer_comes_in_the_agents_schema() -> None:
    model = turns([("weather", {"city": "Rome"})], [("Report", {"city": "Rome", "degrees": 4})])
    out = await loop(model, weather(), output=Report).ainvoke({"task": "x"})
    assert out["answer"] == {"city": "Rome", "degrees": 4}


async def test_an_answer_that_does_not_fit_goes_back_with_the_exact_error() -> None:
    model = turns([("Report", {"city": "Rome"})], [("Report", {"city": "Rome", "degrees": 4})])
    out = await loop(model, weather(), output=Report).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["degrees"]) == ("completed", 4)
    assert "degrees: Field required" in model.calls[1][-1].text


async def test_a_second_turn_begins_with_an_empty_scratch(memory: Persistence) -> None:
    model = turns([("weather", {"city": "Rome"})], "done")
    graph = memory.bind(loop(model, weather()))
    await graph.ainvoke({"task": "one"}, CONFIG)
    await graph.ainvoke({"task": "two"}, CONFIG)
    assert [len(call) for call in model.calls] == [2, 4, 2, 4]


# Repetition, errors, what is not allowed


async def test_a_repeated_call_is_answered_from_memory_with_a_note() -> None:
    log: list[str] = []
    again = [("weather", {"city": "Rome"})]
    model = turns(again, again, "done")
    out = await loop(model, weather(log)).ainvoke({"task": "x"})
    assert (log, out["outcome"]) == (["Rome"], "completed")
    first, second = results(model)
    assert second["value"] == first["value"]
    assert "this very call before" in second["note"]


async def test_the_same_call_twice_in_one_batch_runs_once() -> None:
    log: list[str] = []
    model = turns([("weather", {"city": "Rome"}), ("weather", {"city": "Rome"})], "done")
    await loop(model, weather(log)).ainvoke({"task": "x"})
    assert log == ["Rome"]
    assert [r["value"] for r in results(model)] == ["4 degrees in Rome"] * 2
    assert "note" in results(model)[1]


async def test_a_tool_that_returned_nothing_is_not_run_again_either() -> None:
    log: list[str] = []
    again = [("drop", {"city": "Rome"})]
    await loop(turns(again, again, "done"), tool("drop", lambda place: log.append(place.city))).ainvoke({"task": "x"})
    assert log == ["Rome"]


async def test_ids_that_a_model_uses_twice_mix_up_no_results() -> None:
    def call(city: str) -> AIMessage:
        return AIMessage("", tool_calls=[{"name": "weather", "args": {"city": city}, "id": "call_0"}])

    log: list[str] = []
    model = turns(call("Rome"), call("Oslo"), call("Rome"), "done")
    await loop(model, weather(log)).ainvoke({"task": "x"})
    assert log == ["Rome", "Oslo"]
    assert [r["value"] for r in results(model)] == [f"4 degrees in {c}" for c in ("Rome", "Oslo", "Rome")]


async def test_a_tool_error_comes_back_with_whether_to_retry_and_what_to_do() -> None:
    def fails(place: Place) -> str:
        raise ToolError("the line is busy", retryable=True, suggestion="try in a minute")

    model = turns([("look", {"city": "Rome"})], "could not")
    out = await loop(model, tool("look", fails)).ainvoke({"task": "x"})
    assert results(model) == [{"error": "the line is busy", "retryable": True, "suggestion": "try in a minute"}]
    assert out["outcome"] == "completed"


async def test_a_call_that_failed_may_be_made_again() -> None:
    tries = iter([ToolError("busy", retryable=True), None])

    def once(place: Place) -> str:
        if error := next(tries):
            raise error
        return "there"

    again = [("look", {"city": "Rome"})]
    model = turns(again, again, "done")
    await loop(model, tool("look", once)).ainvoke({"task": "x"})
    assert results(model)[1] == {"value": "there"}


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("launch", {"city": "Rome"}, "clerk may not use launch"),
        ("weather", {"town": "Rome"}, "the arguments of weather do not fit: city: Field required"),
        ("weather", {"city": "Rome", "force": True}, "force: Extra inputs are not permitted"),
    ],
)
async def test_what_is_not_allowed_is_refused_when_it_is_executed(name: str, args: Any, said: str) -> None:
    log: list[str] = []
    model = turns([(name, args)], "done")
    await loop(model, weather(log)).ainvoke({"task": "x"})
    assert log == []
    assert said in results(model)[0]["error"]
    assert "weather" in results(model)[0]["suggestion"] or "city" in results(model)[0]["suggestion"]


async def test_a_slow_tool_ends_at_its_timeout() -> None:
    model = turns([("look", {"city": "Rome"})], "done")
    await asyncio.wait_for(
        loop(model, tool("look", lambda place: asyncio.sleep(30), timeout=0.1)).ainvoke({"task": "x"}), 5
    )
    assert results(model)[0]["retryable"] is True


# Bounds


async def test_the_last_step_is_told_to_answer() -> None:
    def says(messages: Any, tools: Any) -> Any:
        return "so far" if "last step" in messages[1].text else [("weather", {"city": str(len(messages))})]

    model = Scripted(script=says)
    out = await loop(model, weather(), limits=Limits(steps=3)).ainvoke({"task": "x"})
    assert (len(model.calls), out["outcome"], out["answer"]["text"]) == (3, "completed", "so far")


async def test_a_model_that_never_answers_ends_at_the_bound_without_running_more_tools() -> None:
    log: list[str] = []
    model = Scripted(script=lambda m, t: [("weather", {"city": str(len(m))})])
    out = await loop(model, weather(log), limits=Limits(steps=3)).ainvoke({"task": "x"})
    assert (len(model.calls), len(log)) == (3, 2)
    assert (out["outcome"], out["answer"]) == ("failed", None)
    assert out["reason"] == "no answer within 3 steps"


async def test_the_last_words_are_the_best_answer_at_the_bound() -> None:
    def says(messages: Any, tools: Any) -> Any:
        call = {"name": "weather", "args": {"city": str(len(messages))}, "id": f"c{len(messages)}"}
        return AIMessage("probably 4", tool_calls=[call])

    out = await loop(Scripted(script=says), weather(), limits=Limits(steps=2)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("degraded", "probably 4")


async def test_a_budget_that_is_spent_ends_the_loop() -> None:
    model = turns([("weather", {"city": "Rome"})], "done")
    out = await loop(model, weather()).ainvoke({"task": "x"}, context={"max_calls": 1})
    assert (out["outcome"], len(model.calls)) == ("out_of_budget", 1)


async def test_the_recursion_limit_leaves_room_for_every_step() -> None:
    model = Scripted(script=lambda m, t: [("weather", {"city": str(len(m))})] if len(m) < 60 else "done")
    out = await loop(model, weather(), limits=Limits(steps=40)).ainvoke({"task": "x"})
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "done")


# Approval


def sending(log: list[str]) -> Tool:
    return tool("send", lambda place: log.append(place.city), effects="irreversible")


def decide(*decisions: Any) -> Command[Any]:
    return Command(resume={"decisions": list(decisions), "by": "ann"})


async def test_one_question_stands_for_all_calls_of_a_batch_that_cannot_be_undone(memory: Persistence) -> None:
    log: list[str] = []
    calls = [("send", {"city": "Rome"}), ("weather", {"city": "Oslo"}), ("send", {"city": "Bonn"})]
    model = turns(calls, "done")
    graph = memory.bind(loop(model, weather(log), sending(log)))
    out = await graph.ainvoke({"task": "x"}, CONFIG)
    (question,) = out["__interrupt__"]
    assert [a["args"]["city"] for a in question.value["action_requests"]] == ["Rome", "Bonn"]
    assert log == []
    out = await graph.ainvoke(decide({"type": "approve"}, {"type": "reject", "message": "not Bonn"}), CONFIG)
    assert sorted(log) == ["Oslo", "Rome"]
    assert results(model)[2]["error"] == "rejected by a person: not Bonn"
    assert out["outcome"] == "completed"


async def test_an_edited_call_runs_as_edited(memory: Persistence) -> None:
    log: list[str] = []
    graph = memory.bind(loop(turns([("send", {"city": "Rome"})], "done"), sending(log)))
    await graph.ainvoke({"task": "x"}, CONFIG)
    await graph.ainvoke(decide({"type": "edit", "args": {"city": "Oslo"}}), CONFIG)
    assert log == ["Oslo"]


async def test_the_call_that_was_edited_away_is_run_when_it_is_asked_for_again(memory: Persistence) -> None:
    log: list[str] = []
    graph = memory.bind(loop(turns([("send", {"city": "Rome"})], [("send", {"city": "Rome"})], "done"), sending(log)))
    await graph.ainvoke({"task": "x"}, CONFIG)
    await graph.ainvoke(decide({"type": "edit", "args": {"city": "Oslo"}}), CONFIG)
    await graph.ainvoke(decide({"type": "approve"}), CONFIG)
    assert log == ["Oslo", "Rome"]


async def test_an_edit_that_the_tool_would_refuse_is_refused_and_the_question_stays_open(memory: Persistence) -> None:
    log: list[str] = []
    graph = memory.bind(loop(turns([("send", {"city": "Rome"})], "done"), sending(log)))
    await graph.ainvoke({"task": "x"}, CONFIG)
    with pytest.raises(Exception, match="send: the edited arguments do not fit: town"):
        await graph.ainvoke(decide({"type": "edit", "args": {"city": "Oslo", "town": "Oslo"}}), CONFIG)
    assert (await graph.aget_state(CONFIG)).interrupts
    await graph.ainvoke(decide({"type": "edit", "args": {"city": "Oslo"}}), CONFIG)
    assert log == ["Oslo"]


@pytest.mark.parametrize("task", ["hello", "[1]", "3"])
async def test_a_task_that_is_no_typed_input_fails_by_what_does_not_fit(task: str) -> None:
    out = await loop(turns("never said"), input=Report).ainvoke({"task": task})
    assert (out["outcome"], out["reason"][:14]) == ("failed", "clerk (sender)")
    assert "degrees" in out["reason"]


async def test_half_a_character_of_a_model_does_not_stop_the_run(sqlite: Persistence) -> None:
    model = turns([("weather", {"city": "Rom\ud83d"})], "warm \ud83d")
    out = await sqlite.bind(loop(model, weather())).ainvoke({"task": "x"}, CONFIG)
    assert (out["outcome"], out["answer"]["text"]) == ("completed", "warm ?")
    assert results(model)[0]["value"] == "4 degrees in Rom?"


async def test_a_rejection_is_never_lifted_by_another_call_under_the_same_id(memory: Persistence) -> None:
    log: list[str] = []
    calls = [{"name": "send", "args": {"city": c}, "id": "call_0"} for c in ("Rome", "Oslo")]
    graph = memory.bind(loop(turns(AIMessage("", tool_calls=calls), "done"), sending(log)))
    await graph.ainvoke({"task": "x"}, CONFIG)
    await graph.ainvoke(decide({"type": "reject"}, {"type": "approve"}), CONFIG)
    assert log == ["Oslo"]


async def test_a_wrong_answer_is_refused_and_the_question_stays_open(memory: Persistence) -> None:
    log: list[str] = []
    graph = memory.bind(loop(turns([("send", {"city": "Rome"})], "done"), sending(log)))
    await graph.ainvoke({"task": "x"}, CONFIG)
    with pytest.raises(Exception, match=r"1 decision\(s\) are needed"):
        await graph.ainvoke(decide({"type": "approve"}, {"type": "approve"}), CONFIG)
    assert (await graph.aget_state(CONFIG)).interrupts
    await graph.ainvoke(decide({"type": "approve"}), CONFIG)
    assert log == ["Rome"]


@pytest.mark.parametrize(("policy", "sent"), [("auto", ["Rome"]), ("deny", [])])
async def test_a_run_may_decide_beforehand(policy: str, sent: list[str]) -> None:
    log: list[str] = []
    model = turns([("send", {"city": "Rome"})], "done")
    out = await loop(model, sending(log)).ainvoke({"task": "x"}, context={"approve": policy})
    assert (log, out["outcome"]) == (sent, "completed")


# Durability


async def test_after_a_crash_among_tools_none_that_finished_runs_again(sqlite: Persistence) -> None:
    log: list[str] = []

    async def run(place: Place) -> str:
        log.append(place.city)
        if place.city == "Oslo" and log.count("Oslo") == 1:
            await asyncio.sleep(0.2)
            raise Crash
        return place.city

    model = turns([("look", {"city": c}) for c in ("Rome", "Oslo", "Bonn")], "done")
    graph = sqlite.bind(loop(model, tool("look", run)))
    with pytest.raises(Crash):
        await graph.ainvoke({"task": "x"}, CONFIG, durability="sync")
    out = await graph.ainvoke(None, CONFIG, durability="sync")
    assert sorted(log) == ["Bonn", "Oslo", "Oslo", "Rome"]
    assert (out["outcome"], len(model.calls)) == ("completed", 2)
    assert repeated(records(sqlite)) == []


# What build refuses, and pure decisions


def test_the_loop_refuses_who_is_no_chat_model() -> None:
    with pytest.raises(ContractError, match="'clerk' is answered for by a function"):
        build(Bound(Agent(name="clerk", responsibility="Answers."), lambda task: "x"))


@pytest.mark.parametrize("given_", [{}, {"task": " "}, {"messages": []}])
async def test_an_empty_input_is_refused(given_: Any) -> None:
    with pytest.raises(InputError, match="empty"):
        await react.graph.ainvoke(given_)


CALLS = st.lists(st.sampled_from(["read", "write", "other"]).map(lambda name: {"name": name, "args": {}, "id": name}))
TOOLS = (tool("read", lambda place: ""), tool("write", lambda place: "", effects="irreversible"))


@given(CALLS, st.integers(1, 20), st.integers(0, 30))
def test_nothing_irreversible_goes_to_the_tools_without_the_gate(calls: Any, steps: int, remaining: int) -> None:
    move = next_move(calls, TOOLS, steps, 12, remaining)
    assert (move == "finish") is (not calls or steps >= 12 or remaining < 4)
    if move == "act":
        assert all(c["name"] != "write" for c in calls)


def test_a_call_is_the_same_whatever_the_order_of_its_arguments() -> None:
    assert same_call({"name": "a", "args": {"x": 1, "y": 2}}) == same_call({"name": "a", "args": {"y": 2, "x": 1}})
    assert same_call({"name": "a", "args": {"x": 1}}) != same_call({"name": "b", "args": {"x": 1}})


# The drawing


def test_the_drawing_reads_like_the_figure() -> None:
    edges = sorted((e.source, e.target, e.conditional) for e in loop(turns("x"), weather()).get_graph().edges)
    assert edges == [
        ("__start__", "begin", False),
        ("act", "gate", True),
        ("act", "think", True),
        ("begin", "think", False),
        ("finish", "__end__", False),
        ("gate", "act", False),
        ("think", "act", True),
        ("think", "finish", True),
        ("think", "gate", True),
    ]
