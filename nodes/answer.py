"""Who answers behind the door: a chat model, a function, a graph. Only `nodes.agent` uses this."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, message_to_dict
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.pregel import Pregel

from nodes.asked import Asked, checked, finished, violated
from nodes.meter import Meter
from nodes.prompt import mending, opening, read_answer, render, tool_specs, unreadable, whole_message
from nodes.request import Request
from runtime.run import told
from state.agent import Agent, Failure, Reply, Text
from state.budget import Limit
from state.errors import OutputError
from state.record import usage_by_agent
from state.task import Task
from state.usage import total


async def from_model(asked: Asked, llm: BaseChatModel | None) -> Reply:
    """Ask a chat model; send back what does not validate, or breaks an invariant, with the exact fault."""
    agent, looping = asked.agent, asked.history is not None
    request = Request(asked, llm, tool_specs(agent, with_tools=looping))
    said = [*opening(agent, asked.given), *(asked.history or ())]
    fault, corrected = "", False
    for _ in range(agent.limits.repairs + 1):
        message = whole_message(await request.send(said))
        if fault := unreadable(message):
            await request.fail(fault)
            said += mending(message, fault)
            continue
        if looping and any(c["name"] != agent.output.__name__ for c in message.tool_calls):
            return await request.close(Reply(agent=agent.name, output=None, message=message_to_dict(message)))
        try:
            output = read_answer(agent, message)
        except OutputError as error:
            fault = str(error)
            await request.fail(fault)
            said += mending(message, fault)
            continue
        broken = violated(asked, output)
        if broken and not corrected:
            corrected, fault = True, broken
            await request.fail(broken)
            said += mending(message, broken)
            continue
        return await request.close(finished(agent, output, flag=broken))
    raise OutputError(f"no valid answer after {agent.limits.repairs} repair(s): {fault}")


async def from_function(asked: Asked, function: Callable[[Any], Any]) -> Reply:
    """Call a Python function with the validated input; sync ones run on a thread."""
    record = await asked.run.book.start("function", **asked.about())
    try:
        async with asked.run.room.place(), asyncio.timeout(asked.seconds_left()):
            raw = await function(asked.given) if _is_async(function) else await asyncio.to_thread(function, asked.given)
        output = checked(asked.agent, raw)
    except GraphBubbleUp:
        raise
    except BaseException as error:
        await asked.run.book.end(record, "failed", owner="receiver", reason=f"{type(error).__name__}: {error}"[:400])
        raise
    reply = finished(asked.agent, output, flag=violated(asked, output))
    await asked.run.book.end(record, "completed", **asked.shown(reply))
    return reply


def _is_async(function: Callable[[Any], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def from_graph(asked: Asked, graph: Pregel[Any, Any, Any, Any]) -> Reply:
    """Run a nested graph: one of ours by its shared channels, any other by `messages`, metered."""
    agent, book = asked.agent, asked.run.book
    place = asked.place.below(asked.visit)
    ours = "outcome" in graph.channels and "task" in graph.channels
    config = told(place)
    config["recursion_limit"] = int((graph.config or {}).get("recursion_limit", 1000))
    if agent.limits.tokens_per_run is not None:
        asked.run.limit_call(asked.place, asked.visit, Limit(tokens=agent.limits.tokens_per_run))
    open_ = [r for r in book.of(asked.place.path, asked.visit, "graph") if not r["outcome"] and r["task"] == asked.task]
    record = open_[-1] if open_ else await book.start("graph", **asked.about())
    try:
        if ours:
            task = asked.given if isinstance(asked.given, Task) else Task(goal=asked.given.model_dump_json())
            reply = _ours(agent, await graph.ainvoke({"task": task.model_dump(mode="json")}, config))
        else:
            config["callbacks"] = [Meter(asked, place)]
            found = await graph.ainvoke({"messages": [HumanMessage(render(asked.given))]}, config)
            reply = finished(agent, checked(agent, {"text": found["messages"][-1].text}))
    except GraphBubbleUp:
        raise  # it is not over: a question inside, or a drain
    except BaseException as error:
        if not is_invalid_resume(error):
            await book.end(record, "failed", owner="receiver", reason=f"{type(error).__name__}: {error}"[:400])
        raise
    used = total(usage_by_agent(book.under(place.path)).values())
    reply = replace(reply, usage=used)
    await book.end(record, reply.outcome, reason=reply.reason, **asked.shown(reply))
    return reply


def _ours(agent: Agent, found: dict[str, Any]) -> Reply:
    outcome, reason, answer = found.get("outcome") or "failed", found.get("reason") or "", found.get("answer")
    if answer is None or outcome == "failed":  # what a failed graph has is not what was asked of it
        fault = Failure(kind="NestedFailure", message=reason or "no answer", owner="receiver", at=agent.name)
        return Reply(agent=agent.name, output=None, outcome=outcome, reason=f"{agent.name}: {reason}", error=fault)  # type: ignore[arg-type]  # written by our own patterns
    if agent.output is Text and "text" not in answer:  # its answer has a form of its own; its last message says it
        answer = {"text": found["messages"][-1].text}
    return replace(finished(agent, checked(agent, answer)), outcome=outcome, reason=reason)  # type: ignore[arg-type]  # as above
