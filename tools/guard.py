"""The one way a tool is executed: allowlist, arguments, deadline, once-only effects; a result or a typed error."""

import asyncio
import inspect
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphDrained
from langgraph.runtime import Runtime
from pydantic import ValidationError

from runtime import deadline
from runtime.apart import ended, in_a_process, on_a_thread
from runtime.breaker import Admission
from runtime.deadline import within
from runtime.effects import Effect
from runtime.home import files_of
from runtime.replay import recording
from runtime.run import Run, place_of, run_of
from state.agent import Agent
from state.decision import POLICY
from state.errors import BreakerError, ToolError
from state.tool import Tool, ToolContext, movable
from state.turn import explain

LONGEST = 40_000  # characters of one result that reach a model


class _UnsureError(ToolError):
    """Raised when a tool that cannot be undone ended without saying whether it took effect."""


async def execute(
    agent: Agent,
    name: str,
    args: Any,
    *,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    settled: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run one tool for an agent; {"value": …} or {"error", "retryable", "suggestion"}, never a tool's exception.

    The call stands under the key of its visit (`runtime/effects.py`): one that ended is answered from the
    book and does not run again. Raises DoubtError for one that cannot be undone and may have taken effect;
    `settled` is that doubt with somebody's decision, which counts for this attempt alone.
    """
    place = place_of(config)
    run = await run_of(place, runtime)
    tool = find(agent.tools, name)
    effect = Effect(
        run.book, place, visit, agent.name, name, args, tool.effects if tool else "none", sensitive=agent.sensitive
    )
    if (book := recording()) is not None:
        return dict(book.recorded("tool", path=place.path, visit=visit, digest=effect.digest)[0])
    if (known := effect.result) is not None:
        return known
    stands = effect.standing
    if stands == "unkept":
        return {"value": None, "note": f"{name} took effect before; what it returned is not kept"}
    if stands == "doubtful":
        if settled is None or settled["attempt"] != len(effect.attempts):
            raise effect.doubt
        if settled["decision"]["type"] != "approve":
            return await _settle(effect, settled)
    if runtime.drain_requested:
        raise GraphDrained(runtime.drain_reason or "shutdown")
    record = await effect.begin()
    try:
        tool, given = _admitted(agent, name, args)
        if stands == "taken":
            raise ToolError(
                f"{name} was not run: this very call was made before with other arguments",
                suggestion="ask for it in a call of its own, if it is still needed",
            )
        out = await asyncio.to_thread(files_of, place.thread)  # it may have to make the home folder
        async with run.room.place():
            value = await _run(tool, given, _context(run, effect, out))
        return await effect.end(record, "completed", {"value": _bounded(tool, value)})
    except _UnsureError as error:
        raise await effect.lose(record, error.message) from error
    except ToolError as error:
        fault = {"error": error.message, "retryable": error.retryable, "suggestion": error.suggestion}
        return await effect.end(record, "failed", fault)


async def _settle(effect: Effect, settled: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody says became of a call: it happened, with this result, or it is left as it is."""
    decision, by = settled["decision"], settled.get("by") or ""
    said = decision.get("message") or ""
    if decision["type"] == "respond":
        note = "it had no result; a person says that it took effect, and what it returned"
        return await effect.settle("completed", {"value": said, "note": note}, by)
    fault = (
        f"{effect.name} has no result ({settled['why']}): whether it took effect is unknown, so it was not run again"
    )
    suggestion = "say so in your answer, so that a person can check"
    result = {"error": f"{fault}. A person says: {said}" if said else fault, "retryable": False}
    final = {"final": True} if by == POLICY else {}  # where nobody is asked, a loop must not try again by itself
    return await effect.settle("rejected", result | {"suggestion": suggestion} | final, by)


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
    fault = _fault(tool)
    try:
        with Admission(f"tool {tool.name}", tool) as admission:
            value = await _made(tool, given, context, seconds, admission)
            admission.well = True
            return value
    except BreakerError as error:
        raise ToolError(str(error), retryable=True, suggestion="do without it, and say what is missing") from error
    except TimeoutError as error:
        raise fault(
            f"{tool.name} did not answer within {seconds:g} s", retryable=True, suggestion="ask for less at once"
        ) from error
    except (ToolError, GraphBubbleUp):
        raise
    except Exception as error:  # whatever a tool's author did not foresee is the tool's failure, not the run's
        raise fault(f"{tool.name} failed: {type(error).__name__}: {error}"[:400]) from error


async def _made(tool: Tool, given: Any, context: ToolContext, seconds: float, admission: Admission) -> Any:
    """The call itself, where it can do no harm to its caller's time, and whether it says that the tool is not well.

    What a tool refuses in its own words is the fault of the call; a limit that was the run's, not the tool's, says
    nothing.
    """
    if inspect.iscoroutinefunction(tool.run) and not tool.isolated:
        work = tool.run(given, context)
    elif tool.isolated or (movable(tool.run) and movable(tool.args)):
        work = in_a_process(tool.run, given, context)
    else:
        work = on_a_thread(tool.run, given, context)
    try:
        with within(seconds):
            return await ended(work, seconds)
    except ToolError as error:
        admission.well = not error.retryable
        raise
    except GraphBubbleUp:
        raise
    except TimeoutError:
        admission.well = False if seconds == tool.timeout else None
        raise
    except Exception:  # whatever it is, it counts against the tool
        admission.well = False
        raise


def _fault(tool: Tool) -> type[ToolError]:
    """Whatever a tool does not say itself leaves open, where it matters, whether it took effect."""
    return _UnsureError if tool.effects == "irreversible" else ToolError


def _context(run: Run, effect: Effect, out: Path) -> ToolContext:
    seconds = min(math.inf if run.seconds_left is None else run.seconds_left, deadline.left())
    folder = run.context.docs_folder()
    return ToolContext(
        user=run.context.user,
        key=effect.key,
        deadline=None if seconds == math.inf else time.time() + seconds,
        tokens_left=run.ledger.left("").tokens,
        docs=folder,
        out=out,
    )


def _bounded(tool: Tool, value: Any) -> Any:
    """A result as plain JSON data, cut where it would drown a prompt, and saying so. Halves of characters become ?."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _fault(tool)(f"{tool.name} returned what is no JSON: {error}"[:400]) from error
    if len(text) <= LONGEST:
        return json.loads(text)
    return {"cut": text[:LONGEST], "note": f"the result had {len(text)} characters; ask for less"}
