"""Retries, breakers and deadlines of whole runs, by a clock of their own: nothing storms, nothing begins too late."""

import asyncio
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest
from clock import in_no_time
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from scripted import Scripted

from graphs import concurrent, pipeline
from graphs.bind import bind
from nodes.agent import Bound
from runtime.breaker import RULE, breakers
from runtime.models import register
from state.agent import DEGRADE, Agent, Invariant, Limits, OnFailure, fallback, retry
from state.errors import ToolError
from state.task import Task
from state.tool import Arguments, Tool, ToolContext
from state.turn import Turn

LAYERS = 3
WIDE = 3
CALLS = WIDE**LAYERS  # of a run in which nothing fails


class Server:
    """A model's server. It fails as often as it is told, and knows when it was asked."""

    def __init__(self, failing: float, *, seconds: float = 1.0, seed: int = 0) -> None:
        self.failing, self.dice, self.seconds = failing, random.Random(seed), seconds
        self.asked: list[float] = []

    def model(self) -> Scripted:
        def says(messages: Any, tools: Any) -> AIMessage:
            self.asked.append(time.monotonic() - self.seconds)
            if self.dice.random() < self.failing:
                raise ConnectionError("the server hung up")
            return AIMessage("done")

        return Scripted(script=says, seconds=self.seconds)


def layers(build: Any, leaf: Any, depth: int = LAYERS, name: str = "a", policy: OnFailure | None = None) -> Any:
    """Teams of teams of agents, `WIDE` on each layer, each of which is tried twice."""
    on_failure = policy or retry(2)
    members = []
    for n in range(WIDE):
        own = f"{name}{n}"
        agent = Agent(name=own, responsibility=f"Plays {own}", on_failure=on_failure)
        members.append(bind(agent, leaf() if depth == 1 else layers(build, leaf, depth - 1, own, policy)))
    return build(*members)


def side_by_side(*members: Bound) -> Any:
    return concurrent.build(list(members))


async def again(graph: Any, times: int) -> list[dict[str, Any]]:
    return [await graph.ainvoke({"task": "go"}) for _ in range(times)]


def a_tenth_fails(runs: int) -> None:
    server = Server(0.1)
    found, _ = in_no_time(again(layers(pipeline.build, server.model), runs))
    completed = sum(f["outcome"] == "completed" for f in found)
    print(f"{completed} of {runs} runs, {len(server.asked) / (CALLS * runs):.3f} x the calls")
    assert completed >= 0.99 * runs
    assert len(server.asked) <= 1.15 * CALLS * runs


def test_with_a_tenth_of_all_requests_failing_nearly_all_runs_succeed_at_little_more_cost() -> None:
    a_tenth_fails(6)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_a_tenth_of_all_requests_failing_nearly_all_of_many_runs_succeed() -> None:
    a_tenth_fails(100)


@pytest.mark.parametrize("shared", [True, False])
def test_with_every_request_failing_retries_do_not_storm_on_any_layer(shared: bool) -> None:
    server = Server(1.0)
    one = server.model()
    leaf = (lambda: one) if shared else server.model  # with a model of its own for each, no breaker opens
    found, _ = in_no_time(layers(side_by_side, leaf).ainvoke({"task": "go"}))
    assert found["outcome"] == "failed"
    assert CALLS * 0.7 <= len(server.asked) <= 1.1 * CALLS + 10


def test_a_retry_waits_as_long_as_the_server_asks_for_and_does_not_begin_what_cannot_end() -> None:
    asked: list[float] = []

    def says(messages: Any, tools: Any) -> str:
        asked.append(time.monotonic())
        if len(asked) == 1:
            error = ConnectionError("slow down")
            error.response = SimpleNamespace(headers={"retry-after": "40"})  # as an HTTP client's error has it
            raise error
        return "done"

    agent = Agent(name="speaker", responsibility="Speaks.")
    graph = pipeline.build(bind(agent, Scripted(script=says)))
    found, seconds = in_no_time(graph.ainvoke({"task": "go"}))
    assert (found["outcome"], asked[1] - asked[0]) == ("completed", 40)
    asked.clear()
    found, seconds = in_no_time(graph.ainvoke({"task": "go"}, context={"max_seconds": 30}))
    assert (found["outcome"], len(asked)) == ("failed", 1)
    assert seconds < 1


# deadlines


def test_no_call_begins_after_the_time_of_the_run() -> None:
    server = Server(0.0, seconds=7)
    found, seconds = in_no_time(
        layers(pipeline.build, server.model).ainvoke({"task": "go"}, context={"max_seconds": 20})
    )
    assert found["outcome"] != "completed"
    assert "the time is up" in found["reason"] or "no answer in time" in found["reason"]
    began = server.asked[0]
    assert [round(a - began) for a in server.asked] == [0, 7]  # the third was cut off before it answered
    assert seconds <= 20.1


def test_a_team_has_no_more_time_than_its_own_limit_and_says_whose_limit_it_was() -> None:
    server = Server(0.0, seconds=4)
    team = Agent(name="team", responsibility="Works.", limits=Limits(seconds_per_call=10))
    graph = pipeline.build(bind(team, layers(pipeline.build, server.model)))
    found, seconds = in_no_time(graph.ainvoke({"task": "go"}))
    assert found["outcome"] == "failed"
    assert "team (environment): no answer within 10 s" in found["reason"]
    assert len(server.asked) == 2
    assert seconds <= 1.2 * 10


def test_a_tasks_own_deadline_holds_for_all_that_is_done_for_it() -> None:
    server = Server(0.0, seconds=4)
    graph = layers(pipeline.build, server.model)
    task = Task(goal="go", deadline=time.time() + 10).model_dump(mode="json")
    _, seconds = in_no_time(graph.ainvoke({"task": task}))
    assert seconds <= 1.2 * 10


@pytest.mark.parametrize("built", [True, False])
def test_a_graph_that_hangs_is_cut_off_at_its_agents_limit(built: bool) -> None:
    async def hangs(state: Any) -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    if built:  # it has our channels, and a node that knows no door
        graph: Any = StateGraph(Turn)
    else:
        graph = StateGraph(MessagesState)
    graph = graph.add_node("hangs", hangs).add_edge(START, "hangs").add_edge("hangs", END).compile()
    agent = Agent(name="foreign", responsibility="Hangs.", limits=Limits(seconds_per_call=10))
    found, seconds = in_no_time(pipeline.build(bind(agent, graph)).ainvoke({"task": "go"}))
    assert found["reason"] == "foreign (environment): no answer in time"
    assert seconds <= 1.2 * 10


def test_what_a_tool_runs_has_no_more_time_than_the_tool() -> None:
    server = Server(0.0, seconds=4)
    inside, left = layers(pipeline.build, server.model), []

    async def delegates(given: Arguments, context: ToolContext) -> str:
        left.append(context.deadline - time.time() if context.deadline else 0)
        return str((await inside.ainvoke({"task": "go"}))["outcome"])

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("delegate", {})]

    tool = Tool(name="delegate", description="Delegates.", args=Arguments, run=delegates, timeout=10)
    agent = Agent(name="boss", responsibility="Delegates.", tools=(tool,))
    found, seconds = in_no_time(
        pipeline.build(bind(agent, Scripted(script=says))).ainvoke({"task": "go"}, context={"max_seconds": 60})
    )
    assert found["outcome"] == "completed"
    assert len(server.asked) in (2, 3)
    assert all(a - server.asked[0] < 10 for a in server.asked)
    assert seconds <= 1.2 * 10
    assert 0 < left[0] <= 60


def test_a_fallback_has_time_when_the_first_used_up_its_own() -> None:
    slow, quick = Server(0.0, seconds=90), Server(0.0, seconds=1)
    other = bind(Agent(name="other", responsibility="Helps."), quick.model())
    team = Agent(name="team", responsibility="Works.", limits=Limits(seconds_per_call=10), on_failure=fallback(other))
    found, seconds = in_no_time(pipeline.build(bind(team, layers(pipeline.build, slow.model))).ainvoke({"task": "go"}))
    assert found["answer"]["text"] == "done"
    assert "other answered for team: team (environment): no answer within 10 s" in found["reason"]
    assert seconds <= 12 + 1


def test_a_call_waits_for_a_place_no_longer_than_the_run_has_time() -> None:
    server = Server(0.0, seconds=8)
    found, seconds = in_no_time(
        layers(side_by_side, server.model).ainvoke({"task": "go"}, context={"max_seconds": 10, "max_concurrency": 1})
    )
    assert found["outcome"] != "completed"
    assert len(server.asked) == 1
    assert seconds <= 12


# breakers


def test_a_model_that_keeps_failing_is_not_asked_until_it_has_rested_and_then_carefully() -> None:
    server = Server(1.0, seconds=0.1)
    graph = pipeline.build(bind(Agent(name="speaker", responsibility="Speaks."), server.model()))

    async def work() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        failed = await again(graph, 12)
        before = len(server.asked)
        refused = await again(graph, 5)
        assert len(server.asked) == before, "it was asked while its breaker was open"
        await asyncio.sleep(RULE.rest)
        server.failing = 0.0
        mended = await again(graph, 5)
        assert [f["outcome"] for f in mended] == ["completed"] * 5
        return [*failed, *refused], refused[-1]

    (_, last), _ = in_no_time(work())
    assert RULE.least <= len(server.asked) - 5 <= RULE.least + 3
    assert last["outcome"] == "failed"
    assert "speaker (environment): model scripted is not called: 20 of its last 20 calls failed" in last["reason"]


def test_the_model_after_it_answers_where_a_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Server(1.0, seconds=0.1), Server(0.0, seconds=0.1)
    register("first", first.model)
    register("second", second.model)
    monkeypatch.setenv("MOTET_WORKER", "first, second")
    graph = pipeline.build(Agent(name="speaker", responsibility="Speaks."))
    found, _ = in_no_time(again(graph, 12))
    assert {f["outcome"] for f in found} == {"completed"}
    assert len(second.asked) == 12
    assert RULE.least <= len(first.asked) <= RULE.least + 3, "its breaker spared it, and its retries, the rest"
    assert {b["stands"] for b in breakers() if b["what"] == "model first"} == {"open"}


def test_an_agent_that_keeps_violating_its_invariants_is_given_a_rest() -> None:
    calls: list[str] = []

    async def short(task: Task) -> str:
        calls.append(task.goal)
        return "no"

    agent = Agent(
        name="writer",
        responsibility="Writes.",
        invariants=(Invariant(name="length", holds=lambda i, o: len(o["text"]) > 10, says="say more"),),
    )
    found, _ = in_no_time(again(pipeline.build(bind(agent, short)), RULE.least + 5))
    assert {f["outcome"] for f in found[: RULE.least]} == {"degraded"}
    assert len(calls) == RULE.least
    assert found[-1]["outcome"] == "failed"
    assert "writer (environment): agent writer is not called: 20 of its last 20 calls failed" in found[-1]["reason"]


def test_an_open_breaker_routes_to_the_fallback_without_a_call() -> None:
    calls: list[str] = []

    async def breaks(task: Task) -> str:
        calls.append("first")
        raise ValueError("out of ink")

    async def helps(task: Task) -> str:
        return "helped"

    other = bind(Agent(name="other", responsibility="Helps."), helps)
    agent = Agent(name="writer", responsibility="Writes.", on_failure=fallback(other))
    found, _ = in_no_time(again(pipeline.build(bind(agent, breaks)), RULE.least + 5))
    assert {f["answer"]["text"] for f in found} == {"helped"}
    assert len(calls) == RULE.least
    assert "agent writer is not called" in found[-1]["reason"]


def test_what_says_nothing_about_an_agent_is_not_held_against_it() -> None:
    server = Server(0.0, seconds=30)
    graph = pipeline.build(bind(Agent(name="speaker", responsibility="Speaks."), server.model()))

    async def work() -> list[dict[str, Any]]:
        late = [await graph.ainvoke({"task": "go"}, context={"max_seconds": 5}) for _ in range(25)]
        return [*late, await graph.ainvoke({"task": "go"})]

    (*late, last), _ = in_no_time(work())
    assert "completed" not in {f["outcome"] for f in late}
    assert last["outcome"] == "completed"


def test_a_nested_failure_names_the_way_down_and_whose_it_was() -> None:
    server = Server(1.0, seconds=0.1)
    found, _ = in_no_time(layers(pipeline.build, server.model, policy=DEGRADE).ainvoke({"task": "go"}))
    assert found["reason"].startswith("a0 > a00 > a000 (environment): the server hung up")


def test_a_tool_that_keeps_failing_is_not_run_and_its_agent_is_told() -> None:
    ran: list[str] = []

    async def breaks(given: Arguments, context: ToolContext) -> str:
        ran.append("ran")
        raise ZeroDivisionError("by zero")

    heard: list[str] = []

    def says(messages: Any, tools: Any) -> Any:
        if messages[-1].type != "tool":
            return [("divide", {})]
        heard.append(messages[-1].text)
        return "done"

    tool = Tool(name="divide", description="Divides.", args=Arguments, run=breaks)
    agent = Agent(name="clerk", responsibility="Counts.", tools=(tool,))
    in_no_time(again(pipeline.build(bind(agent, Scripted(script=says))), RULE.least + 3))
    assert len(ran) == RULE.least
    assert "by zero" in heard[0]
    assert "tool divide is not called: 20 of its last 20 calls failed" in heard[-1]


def test_a_tool_that_refuses_what_it_is_asked_is_well() -> None:
    ran: list[str] = []

    async def refuses(given: Arguments, context: ToolContext) -> str:
        ran.append("ran")
        raise ToolError("there is no such page")

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("read", {})]

    tool = Tool(name="read", description="Reads.", args=Arguments, run=refuses)
    agent = Agent(name="reader", responsibility="Reads.", tools=(tool,))
    in_no_time(again(pipeline.build(bind(agent, Scripted(script=says))), RULE.least + 3))
    assert len(ran) == RULE.least + 3
