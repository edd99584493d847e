"""What does not come back: its caller does, within its limit, and nothing late is ever committed."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blocking
import pytest
from blocking import Slow
from langchain_core.messages import ToolMessage
from makers import scripted

from graphs import pipeline, react
from graphs.bind import bind
from nodes.agent import Bound
from runtime.persistence import Persistence
from runtime.travel import at
from state.agent import Agent, Limits
from state.errors import ContractError
from state.task import Task
from state.tool import Tool, ToolContext

LIMIT = 3.0  # seconds: long enough for a worker process to start on a busy machine
LATEST = 1.2


def tool(run: Callable[..., Any], *, timeout: float = LIMIT, isolated: bool = False) -> Tool:
    return Tool(name="work", description="Works.", args=Slow, run=run, timeout=timeout, isolated=isolated)


def using(made: Tool, **given: Any) -> Bound:
    """An agent that calls the tool once, and then says what came of it."""

    def says(messages: Any, tools: Any) -> Any:
        return "done" if messages[-1].type == "tool" else [("work", given)]

    found = scripted("guide", says, tools=(made,))
    assert found.graph is not None
    return found


async def called(home: Persistence, made: Tool, *, thread: str = "t", **given: Any) -> dict[str, Any]:
    """What a tool gave to the model."""
    graph = home.bind(react.build(using(made, **given).bare))
    await graph.ainvoke({"task": "go"}, at(thread), context={"approve": "auto"})
    scratch = (await graph.aget_state(at(thread))).values["scratch"]
    found: dict[str, Any] = json.loads(next(m for m in scratch if isinstance(m, ToolMessage)).text)
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread or process does."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # it knows no event of ours
            await asyncio.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process ends, if one waits for it a little."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


async def test_a_tool_that_blocks_is_killed_at_its_limit_with_all_that_it_started(
    memory: Persistence, tmp_path: Path
) -> None:
    runs = [blocking.sleeps, blocking.backtracks, blocking.shells, blocking.blocks]
    logs = {run: tmp_path / run.__name__ for run in runs}
    tools = [tool(run, isolated=run is blocking.blocks) for run in runs]
    found = await asyncio.gather(
        *(called(memory, t, thread=run.__name__, log=str(logs[run])) for t, run in zip(tools, runs, strict=True))
    )
    assert {f["error"] for f in found} == {f"work did not answer within {LIMIT:g} s"}
    records = [i.value for i in await memory.store.asearch(("book",), limit=1000)]
    took = [r["latency_ms"] / 1000 for r in records if r["kind"] == "tool"]
    assert len(took) == len(runs)
    assert max(took) <= LATEST * LIMIT
    for log in logs.values():
        pid, *more = log.read_text().split()
        assert gone(int(pid))
        assert more == []


async def test_a_closure_that_blocks_is_left_behind_and_its_result_is_dropped(memory: Persistence) -> None:
    ended: list[str] = []

    def sleeps(given: Slow, context: ToolContext) -> str:
        time.sleep(0.8)
        ended.append("late")
        return "late"

    found = await called(memory, tool(sleeps, timeout=0.3))
    assert found["error"] == "work did not answer within 0.3 s"
    before = await _all(memory)
    await until(lambda: bool(ended))
    await asyncio.sleep(0.05)
    assert await _all(memory) == before
    assert '"late"' not in before


async def test_a_coroutine_that_ignores_its_cancellation_is_left_behind(memory: Persistence) -> None:
    ended: list[str] = []

    async def stubborn(given: Slow, context: ToolContext) -> str:
        until = time.monotonic() + 1.0
        while (left := until - time.monotonic()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                continue
        ended.append("late")
        return "late"

    found = await called(memory, tool(stubborn, timeout=0.5))
    assert found["error"] == "work did not answer within 0.5 s"
    assert not ended, "its caller waited for it"
    before = await _all(memory)
    await until(lambda: bool(ended))
    assert await _all(memory) == before


async def test_a_function_that_blocks_is_left_behind_and_its_agent_has_failed(memory: Persistence) -> None:
    ended: list[str] = []

    def sleeps(task: Task) -> str:
        time.sleep(0.8)
        ended.append("late")
        return "late"

    slow = bind(Agent(name="slow", responsibility="Sleeps.", limits=Limits(seconds_per_call=0.3)), sleeps)
    found = await memory.bind(pipeline.build(slow)).ainvoke({"task": "go"}, at("t"))
    assert not ended
    assert found["reason"] == "slow (environment): no answer in time"
    before = await _all(memory)
    await until(lambda: bool(ended))
    assert await _all(memory) == before


async def test_a_run_that_is_cancelled_stops_its_tool_and_commits_nothing_late(
    memory: Persistence, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    graph = memory.bind(react.build(using(tool(blocking.sleeps, timeout=20.0), log=str(log)).bare))
    running = asyncio.create_task(graph.ainvoke({"task": "go"}, at("t")))
    await until(log.exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gone(int(log.read_text().split()[0]))
    stands = await graph.aget_state(at("t"))
    assert stands.next == ("act",)


async def test_a_plain_tool_is_told_who_asks_and_serves_from_another_process(memory: Persistence) -> None:
    found = await called(memory, tool(blocking.quick, timeout=20.0))
    assert found["value"]["pid"] != os.getpid()
    assert found["value"]["user"] == "anonymous"
    assert found["value"]["key"]


async def test_a_plain_tools_own_error_reaches_the_agent_with_its_suggestion(memory: Persistence) -> None:
    found = await called(memory, tool(blocking.refuses, timeout=20.0))
    assert found == {"error": "it is closed", "retryable": True, "suggestion": "come back on Monday"}


async def test_a_tool_that_takes_its_process_with_it_takes_no_other(memory: Persistence) -> None:
    found = await called(memory, tool(blocking.dies, timeout=20.0))
    assert found["error"] == "work failed: ChildProcessError: its process ended (exit status 7)"


def test_what_no_other_process_can_load_cannot_be_isolated() -> None:
    with pytest.raises(ContractError, match="at the top of a module"):
        tool(lambda given, context: "here", isolated=True)


async def _all(home: Persistence) -> str:
    """Everything that is saved, as text."""
    book = [i.value for i in await home.store.asearch(("book",), limit=1000)]
    steps = [s.checkpoint async for s in home.saver.alist(at("t"))]
    return json.dumps([book, steps], default=str)
