"""Forks and effects: what had happened by the forked step never happens again, nor around a nested graph."""

from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command
from makers import MAKERS
from scripted import Scripted

from graphs.bind import bind
from graphs.compile import compiled
from nodes.agent import call
from nodes.turn import begin, finish
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import Agent
from state.context import Context
from state.cost import Calls
from state.record import repeated
from state.tool import Arguments, Tool, ToolContext
from state.turn import Given, Result, Turn, concluded, task_of
from tools.guard import execute

APPROVE = Command(resume={"decisions": [{"type": "approve"}]})


class Place(Arguments):
    to: str


class Outer(Turn):
    pass


def around(sent: list[str]) -> Graph:
    """A node with an effect before and after the nested graph that it calls; that has one of its own."""

    async def run(place: Any, context: ToolContext) -> str:
        sent.append(place.to)
        return "sent"

    def tool(effects: Any) -> Tool:
        return Tool(name="send", description="Sends.", args=Place, run=run, effects=effects)

    def clerk(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("send", {"to": "inside"})]

    inner = bind(
        Agent(name="clerk", responsibility="Sends letters", tools=(tool("irreversible"),)), Scripted(script=clerk)
    )
    team = bind(Agent(name="team", responsibility="Works as a team"), MAKERS["critic"](inner))
    chief = Agent(name="chief", responsibility="Sends before and after", tools=(tool("irreversible"),))

    async def outer(state: Outer, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = team.graph
        await execute(chief, "send", {"to": "before"}, visit="before", config=config, runtime=runtime)
        reply = await call(team, task_of(state), visit="team", config=config, runtime=runtime)
        await execute(chief, "send", {"to": "after"}, visit="after", config=config, runtime=runtime)
        return concluded(reply)

    return compiled(
        StateGraph(Outer, context_schema=Context, input_schema=Given, output_schema=Result)
        .add_node("begin", begin(Outer))
        .add_node("outer", outer)
        .add_node("finish", finish())
        .add_edge(START, "begin")
        .add_edge("begin", "outer")
        .add_edge("outer", "finish")
        .add_edge("finish", END),
        name="around",
        agents=[team, bind(chief)],
        steps=3,
        calls=Calls(1, None),
    )


async def inside(graph: Graph, *next_: str) -> tuple[str, str]:
    """The namespace of the loop of tools, and its step before some nodes."""
    outer = next(t for t in (await graph.aget_state(at("t"), subgraphs=True)).tasks if t.name == "outer")
    generate = next(t for t in outer.state.tasks if t.name == "generate")
    namespace = generate.state.config["configurable"]["checkpoint_ns"]
    steps = [s async for s in graph.aget_state_history(at("t", namespace=namespace))]
    return namespace, next(s for s in steps if s.next == next_).config["configurable"]["checkpoint_id"]


@pytest.mark.parametrize("changed", [False, True])
async def test_a_fork_inside_repeats_no_effect_of_the_node_around_it(changed: bool, sqlite: Persistence) -> None:
    sent: list[str] = []
    graph = sqlite.bind(around(sent))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    assert sent == ["before"]
    namespace, step = await inside(graph, "think")
    await graph.ainvoke(APPROVE, at("t"), durability="sync")
    assert sent == ["before", "inside", "after"]
    values = {"reason": "another"} if changed else None
    branch = await fork(graph, "t", step, namespace=namespace, values=values)
    waiting = await graph.ainvoke(None, at("t"), durability="sync")
    assert waiting["__interrupt__"]  # what was approved on one branch is asked again on another
    assert sent == ["before", "inside", "after"]
    found = await graph.ainvoke(APPROVE, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    assert sent == ["before", "inside", "after", "inside", "after"]  # what came after the step is new on the branch
    records = (await Book(sqlite.store, thread="t", branch=branch, turn=1).load()).records()
    assert repeated(records) == []


async def test_a_fork_behind_an_effect_inside_repeats_neither_that_nor_the_one_around_it(sqlite: Persistence) -> None:
    sent: list[str] = []
    graph = sqlite.bind(around(sent))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    namespace, _ = await inside(graph, "gate")
    await graph.ainvoke(APPROVE, at("t"), durability="sync")
    steps = [s async for s in graph.aget_state_history(at("t", namespace=namespace))]
    last = next(s for s in steps if s.next == ("finish",)).config["configurable"]["checkpoint_id"]
    await fork(graph, "t", last, namespace=namespace)
    found = await graph.ainvoke(None, at("t"), durability="sync")
    assert found["outcome"] == "completed"
    assert sent == ["before", "inside", "after", "after"]


async def test_an_effect_that_was_at_work_when_the_step_was_saved_is_known_on_the_branch(sqlite: Persistence) -> None:
    graph = sqlite.bind(around([]))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    book = Book(sqlite.store, thread="t", branch="main", turn=1)
    begun = await book.start("tool", agent="chief", path="", visit="beside", tool="send")
    later = await graph.aupdate_state(at("t"), {"reason": "later"}, as_node="begin")
    await book.start("tool", agent="chief", path="", visit="afterwards", tool="send")
    branch = await fork(graph, "t", later["configurable"]["checkpoint_id"])
    records = (await Book(sqlite.store, thread="t", branch=branch, turn=1).load()).records()
    assert {r["visit"]: r["outcome"] for r in records if r["kind"] == "tool"} == {"before": "completed", "beside": ""}
    assert begun["outcome"] == ""
