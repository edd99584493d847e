"""The one way a tool is executed: what it refuses, what it hands on, what it books."""

import asyncio
import json
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from scripted import Scripted

from graphs import concurrent, react
from graphs.bind import bind
from nodes.agent import Bound
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import Agent
from state.errors import ToolError
from state.record import digest
from state.tool import Arguments, Effects, Tool, ToolContext


class Place(Arguments):
    name: str


def tool(run: Any, *, effects: Effects = "none", timeout: float = 5.0) -> Tool:
    return Tool(name="visit", description="Visit a place.", args=Place, run=run, effects=effects, timeout=timeout)


async def result_of(home: Persistence, made: Tool, call: Any, **context: Any) -> dict[str, Any]:
    """What one call of a tool gives to the model."""

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [call]

    agent = Agent(name="guide", responsibility="Visits places.", tools=(made,))
    graph = home.bind(react.build(Bound(agent, Scripted(script=says))))
    await graph.ainvoke({"task": "go"}, at("t"), context={"approve": "auto", **context})
    scratch = (await graph.aget_state(at("t"))).values["scratch"]
    message = next(m for m in scratch if isinstance(m, ToolMessage))
    found: dict[str, Any] = json.loads(message.text)
    return found


async def hello(place: Place, context: ToolContext) -> dict[str, str]:
    return {"seen": place.name}


async def test_a_tool_that_is_not_on_the_list_is_refused_when_it_is_executed(memory: Persistence) -> None:
    found = await result_of(memory, tool(hello), ("rob", {"name": "bank"}))
    assert found == {"error": "guide may not use rob", "retryable": False, "suggestion": "use visit"}
    book = (await Book(memory.store, thread="t", branch="main", turn=1).load()).records()
    assert [(r["tool"], r["outcome"]) for r in book if r["kind"] == "tool"] == [("rob", "failed")]


@pytest.mark.parametrize("args", [{"name": "bank", "loudly": True}, {}, {"name": 3}])
async def test_arguments_that_do_not_fit_are_refused_with_what_fits(memory: Persistence, args: dict[str, Any]) -> None:
    found = await result_of(memory, tool(hello), ("visit", args))
    assert "the arguments of visit do not fit" in found["error"]
    assert found["suggestion"] == "visit takes name"


async def test_a_tool_that_hangs_ends_at_its_time_limit(memory: Persistence) -> None:
    async def hang(place: Place, context: ToolContext) -> None:
        await asyncio.sleep(30)

    found = await result_of(memory, tool(hang, timeout=0.05), ("visit", {"name": "bank"}))
    assert found["error"] == "visit did not answer within 0.05 s"
    assert found["retryable"]


async def test_a_tools_own_error_reaches_the_agent_with_its_suggestion(memory: Persistence) -> None:
    async def closed(place: Place, context: ToolContext) -> None:
        raise ToolError("it is closed", retryable=True, suggestion="come back on Monday")

    found = await result_of(memory, tool(closed), ("visit", {"name": "bank"}))
    assert found == {"error": "it is closed", "retryable": True, "suggestion": "come back on Monday"}


async def test_an_unforeseen_exception_is_the_tools_failure_not_the_runs(memory: Persistence) -> None:
    async def breaks(place: Place, context: ToolContext) -> None:
        raise ZeroDivisionError("by zero")

    found = await result_of(memory, tool(breaks), ("visit", {"name": "bank"}))
    assert found["error"] == "visit failed: ZeroDivisionError: by zero"


async def test_a_result_that_is_no_json_is_the_tools_failure(memory: Persistence) -> None:
    async def ring(place: Place, context: ToolContext) -> Any:
        made: dict[str, Any] = {}
        made["again"] = made
        return made

    found = await result_of(memory, tool(ring), ("visit", {"name": "hill"}))
    assert found["error"].startswith("visit returned what is no JSON")


async def test_half_a_character_in_a_result_is_replaced(sqlite: Persistence) -> None:
    async def broken(place: Place, context: ToolContext) -> str:
        return "caf\udce9"

    assert await result_of(sqlite, tool(broken), ("visit", {"name": "hill"})) == {"value": "caf?"}


async def test_a_tool_is_told_who_asks_and_the_key_of_its_call(memory: Persistence) -> None:
    seen: list[ToolContext] = []

    async def look(place: Place, context: ToolContext) -> str:
        seen.append(context)
        return "seen"

    user = {"identity": "ann", "groups": ["staff"]}
    await result_of(memory, tool(look), ("visit", {"name": "bank"}), user=user, max_tokens=100_000)
    (context,) = seen
    assert (context.user.identity, context.user.groups) == ("ann", ("staff",))
    assert context.key
    assert context.tokens_left is not None
    assert context.tokens_left < 100_000


async def test_what_cannot_be_undone_is_not_run_again_where_a_crash_cut_it_off(memory: Persistence) -> None:
    ran: list[str] = []

    async def act(place: Place, context: ToolContext) -> str:
        ran.append(place.name)
        return "done"

    book = Book(memory.store, thread="t", branch="main", turn=1)
    asked = digest(["visit", {"name": "bank"}])
    await book.start("tool", agent="guide", path="", visit="act/1/0", digest=asked, tool="visit")  # and then a kill -9
    found = await result_of(memory, tool(act, effects="irreversible"), ("visit", {"name": "bank"}))
    assert "whether it took effect is unknown" in found["error"]
    assert ran == []


async def test_a_result_that_would_drown_a_prompt_is_cut_and_says_so(memory: Persistence) -> None:
    async def talk(place: Place, context: ToolContext) -> str:
        return "x" * 100_000

    found = await result_of(memory, tool(talk), ("visit", {"name": "bank"}))
    assert "100002 characters" in found["value"]["note"]


async def test_a_budget_that_is_nearly_used_is_said_once(memory: Persistence) -> None:
    agent = Agent(name="guide", responsibility="Talks.")
    graph = memory.bind(react.build(bind(agent, Scripted(script=lambda m, t: "hello"))))
    parts = [p async for p in graph.astream({"task": "go"}, at("t"), stream_mode="custom", context={"max_calls": 1})]
    assert [p["budget"] for p in parts if "budget" in p] == ["calls: 1 of 1 used"]


async def test_functions_and_tools_that_run_graphs_do_not_wait_for_each_other_for_ever(memory: Persistence) -> None:
    inner = react.build(
        Bound(Agent(name="deep", responsibility="Answers."), Scripted(script=lambda m, t: "from below"))
    )

    async def ask(task: Any) -> str:
        found = await inner.ainvoke({"task": task.goal})
        return str(found["answer"]["text"])

    worker = bind(Agent(name="worker", responsibility="Asks below."), ask)
    graph = memory.bind(concurrent.build(worker))
    tasks = {"goal": "all", "context": {"tasks": [f"item {n}" for n in range(6)]}}
    async with asyncio.timeout(20):
        found = await graph.ainvoke({"task": tasks}, at("t"), context={"max_concurrency": 1})
    assert found["outcome"] == "completed"
    assert found["usage"]["deep"]["calls"] == 6
