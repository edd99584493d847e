"""What no database can hold is refused by name, wherever it comes from, and nothing is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from makers import scripted
from pydantic import BaseModel

from graphs import pipeline
from graphs.bind import bind
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent, Limits
from state.errors import InputError
from state.plain import unsavable
from state.tool import Arguments, Tool, ToolContext

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=5)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(DATA)
def test_what_is_said_to_be_savable_can_be_saved_and_nothing_else(value: Any) -> None:
    try:
        JsonPlusSerializer().dumps_typed(value)
        saved = True
    except TypeError:
        saved = False
    assert (unsavable(value) == "") is saved


class Number(BaseModel):
    number: int


class Count(Arguments):
    to: int


@pytest.mark.parametrize("context", [{"a": 10**30}, {"a\udce9": 1}, {"a": ["\udce9"]}])
async def test_an_input_that_cannot_be_saved_is_refused_before_anything_is(context: Any, memory: Persistence) -> None:
    graph = memory.bind(pipeline.build(scripted("worker", "fine")))
    with pytest.raises(InputError, match="cannot be saved"):
        await graph.ainvoke({"task": {"goal": "go", "context": context}}, at("t"))
    assert (await graph.aget_state(at("t"))).created_at is None


async def test_a_model_that_answers_so_is_asked_again(memory: Persistence) -> None:
    worker = scripted("worker", lambda m, t: [("Number", {"number": 10**30 if len(m) < 3 else 7})], output=Number)
    found = await memory.bind(pipeline.build(worker)).ainvoke({"task": "go"}, at("t"))
    assert (found["answer"], found["usage"]["total"]["calls"]) == ({"number": 7}, 2)


async def test_a_function_that_answers_so_has_failed(memory: Persistence) -> None:
    worker = bind(Agent(name="worker", responsibility="Counts.", output=Number), lambda task: {"number": 10**30})
    found = await memory.bind(pipeline.build(worker)).ainvoke({"task": "go"}, at("t"))
    assert found["outcome"] == "failed"
    assert "beyond 64 bits" in found["reason"]


async def test_a_tool_is_not_called_so(memory: Persistence) -> None:
    async def run(given: Count, context: ToolContext) -> int:
        return given.to

    tool = Tool(name="count", description="Counts.", args=Count, run=run)

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("count", {"to": 10**30})]

    agent = scripted("counter", says, tools=(tool,), limits=Limits(repairs=1, steps=2))
    assert isinstance(agent.graph, Graph)
    found = await memory.bind(agent.graph).ainvoke({"task": "count"}, at("t"))
    assert found["messages"][-1].type == "ai"
    assert found["outcome"] in ("completed", "failed", "degraded")
