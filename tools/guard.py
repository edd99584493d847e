"""The one way a tool is executed: allowlist, arguments, deadline, record; a result or a typed error."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphDrained
from langgraph.runtime import Runtime
from pydantic import ValidationError

from runtime.home import files_of
from runtime.run import Place, Run, place_of, run_of
from state.agent import Agent
from state.errors import ToolError
from state.record import record_id
from state.tool import Tool, ToolContext
from state.turn import explain

LONGEST = 40_000  # characters of one result that reach a model


async def execute(
    agent: Agent, name: str, args: Any, *, visit: str, config: RunnableConfig, runtime: Runtime[Any]
) -> dict[str, Any]:
    """Run one tool for an agent; {"value": …} or {"error", "retryable", "suggestion"}, never an exception.

    A call that this visit already finished is answered from the book, so that nothing runs twice
    after a crash.
    """
    place = place_of(config)
    run = await run_of(place, runtime)
    asked = run.book.digest([name, args], sensitive=agent.sensitive)
    known = {"args": args, "sensitive": True} if agent.sensitive else {"args": args}
    begun = any(
        not r["outcome"] or (r["outcome"] == "completed" and r["digest"] == asked)  # with a result that is not kept
        for r in run.book.of(place.path, visit, "tool")
    )
    for done in reversed(run.book.of(place.path, visit, "tool")):
        if done["outcome"] == "completed" and done["digest"] == asked and "content" in done:
            return dict(done["content"])
    if runtime.drain_requested:
        raise GraphDrained(runtime.drain_reason or "shutdown")
    record = await run.book.start(
        "tool", agent=agent.name, path=place.path, visit=visit, digest=asked, tool=name, **known
    )
    try:
        tool, given = _admitted(agent, name, args)
        if begun and tool.effects == "irreversible":
            raise ToolError(
                f"{name} was interrupted by a crash: whether it took effect is unknown, so it was not run again",
                suggestion="say so in your answer, so that a person can check",
            )
        out = await asyncio.to_thread(files_of, place.thread)  # it may have to make the home folder
        async with run.room.place():
            value = await _run(tool, given, _context(run, place, visit, tool, out))
        result = {"value": _bounded(name, value)}
    except ToolError as error:
        result = {"error": error.message, "retryable": error.retryable, "suggestion": error.suggestion}
    if "error" in result:
        await run.book.end(record, "failed", owner="receiver", reason=result["error"])
    else:
        await run.book.end(record, "completed", content=result)
    return result


def find(tools: Sequence[Tool], name: str) -> Tool | None:
    """The tool of that name on a list."""
    return next((t for t in tools if t.name == name), None)


def _admitted(agent: Agent, name: str, args: Any) -> tuple[Tool, Any]:
    tool = find(agent.tools, name)
    if tool is None:
        mine = ", ".join(t.name for t in agent.tools) or "no tool at all"
        raise ToolError(f"{agent.name} may not use {name}", suggestion=f"use {mine}")
    try:
        return tool, tool.args.model_validate(args)
    except ValidationError as error:
        fields = ", ".join(tool.args.model_fields) or "nothing"
        raise ToolError(
            f"the arguments of {name} do not fit: {explain(error)}", suggestion=f"{name} takes {fields}"
        ) from error


async def _run(tool: Tool, given: Any, context: ToolContext) -> Any:
    seconds = tool.timeout
    if context.deadline is not None:
        seconds = min(seconds, context.deadline - time.time())
    if seconds <= 0:
        raise ToolError(f"there was no time left for {tool.name}", suggestion="answer with what you have")
    try:
        async with asyncio.timeout(seconds):
            return await tool.run(given, context)
    except TimeoutError as error:
        raise ToolError(
            f"{tool.name} did not answer within {seconds:g} s", retryable=True, suggestion="ask for less at once"
        ) from error
    except (ToolError, GraphBubbleUp):
        raise
    except Exception as error:  # whatever a tool's author did not foresee is the tool's failure, not the run's
        raise ToolError(f"{tool.name} failed: {type(error).__name__}: {error}"[:400]) from error


def _context(run: Run, place: Place, visit: str, tool: Tool, out: Path) -> ToolContext:
    left = run.seconds_left
    folder = run.context.docs_folder()
    return ToolContext(
        user=run.context.user,
        key=record_id(place.thread, place.branch, place.turn, place.path, visit, 1, tool.name),
        deadline=None if left is None else time.time() + left,
        tokens_left=run.ledger.left("").tokens,
        docs=folder,
        out=out,
    )


def _bounded(name: str, value: Any) -> Any:
    """A result as plain JSON data, cut where it would drown a prompt, and saying so. Halves of characters become ?."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"{name} returned what is no JSON: {error}"[:400]) from error
    if len(text) <= LONGEST:
        return json.loads(text)
    return {"cut": text[:LONGEST], "note": f"the result had {len(text)} characters; ask for less"}
