"""Everything composes: three levels of patterns, each pattern once on every level, around one agent at the bottom."""

from typing import Any

import pytest
from langgraph.types import Command
from makers import MAKERS, scripted
from test_conformance import acting, records

from graphs.bind import Bindable, bind
from motet.nested import namespaces
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.agent import Agent
from state.record import repeated

TEAMS = sorted(set(MAKERS) - {"react"})  # one agent with tools has nobody below it: it stands at the bottom
NAMED = [
    ("orchestrator_worker", "debate", "react"),
    ("hierarchy", "market", "pipeline"),
    ("magentic", "handoff", "react"),
]
ROUND = [(one, TEAMS[n - 1], TEAMS[n - 2]) for n, one in enumerate(TEAMS)]
stacks = pytest.mark.parametrize("stack", [*NAMED, *ROUND], ids="-".join)


def stacked(stack: tuple[str, ...], who: Bindable) -> Graph:
    """Each pattern around the one after it, the last around somebody."""
    *above, last = stack
    graph = MAKERS[last](who)
    for depth, name in enumerate(reversed(above)):
        graph = MAKERS[name](bind(Agent(name=f"team_{depth}", responsibility="Works as a team."), graph))
    return graph


@stacks
async def test_a_question_at_the_bottom_is_answered_from_outside_and_its_effect_happens_once(
    stack: tuple[str, ...], sqlite: Persistence
) -> None:
    log: list[str] = []
    graph = sqlite.bind(stacked(stack, acting(log)))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    assert log == []
    waiting = await graph.aget_state(at("t"), subgraphs=True)
    assert [q.value["action_requests"][0]["name"] for q in waiting.interrupts] == ["act"]
    assert max(n["inside"].count("|") for n in namespaces(waiting)) >= 1  # every level has a state of its own
    found = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), at("t"), durability="sync")
    assert found["outcome"] == "completed", found["reason"]
    assert len(log) == 1
    assert repeated(await records(sqlite)) == []


@stacks
async def test_what_the_bottom_uses_is_counted_at_the_top_and_its_budget_is_that_of_the_whole(
    stack: tuple[str, ...],
) -> None:
    found = await stacked(stack, scripted("worker", "the answer")).ainvoke({"task": "go"})
    assert found["outcome"] == "completed", found["reason"]
    assert found["usage"]["worker"]["calls"] == 1
    most = found["usage"]["total"]["calls"] - 1
    short = await stacked(stack, scripted("worker", "the answer")).ainvoke({"task": "go"}, context={"max_calls": most})
    assert short["outcome"] == "out_of_budget"
    assert short["usage"]["total"]["calls"] <= most


@stacks
async def test_the_words_of_the_bottom_are_streamed_and_the_drawing_sees_it(stack: tuple[str, ...]) -> None:
    graph = stacked(stack, scripted("worker", "the answer"))
    drawn = {node.split(":")[-1] for node in graph.get_graph(xray=True).nodes}
    assert "finish" in drawn
    depth = 0
    async for space, _ in graph.astream({"task": "go"}, stream_mode="updates", subgraphs=True):
        depth = max(depth, len(space))
    assert depth >= 2


@pytest.mark.parametrize("stack", NAMED, ids="-".join)
async def test_a_fork_at_the_bottom_goes_its_own_way_and_repeats_nothing_before_it(
    stack: tuple[str, ...], memory: Persistence
) -> None:
    log: list[str] = []
    graph = memory.bind(stacked(stack, acting(log)))
    await graph.ainvoke({"task": "go"}, at("t"), durability="sync")
    state = await graph.aget_state(at("t"), subgraphs=True)
    deepest: Any = max(namespaces(state), key=lambda n: n["inside"].count("|"))["inside"]
    head = await graph.aget_state(at("t", namespace=deepest))
    calls = len([r for r in await records(memory) if r["kind"] == "model"])
    branch = await fork(graph, "t", head.config["configurable"]["checkpoint_id"], namespace=deepest)
    await graph.ainvoke(None, at("t"), durability="sync")  # up to the question, which is open again
    found = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), at("t"), durability="sync")
    assert (found["outcome"], len(log)) == ("completed", 1)
    after = [r for r in await records(memory, branch=branch) if r["kind"] == "model"]
    assert len(after) > calls
    assert repeated(after) == []
