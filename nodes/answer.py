"""Who answers behind the door: a chat model, a function, a graph. Only `nodes.agent` uses this."""

import asyncio
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, message_to_dict
from langgraph.errors import GraphBubbleUp, is_invalid_resume
from langgraph.pregel import Pregel

from nodes.asked import Asked, checked, cut_short, failed, finished, violated
from nodes.meter import Meter
from nodes.prompt import mending, opening, read_answer, render, tool_specs, unreadable, whole_message
from nodes.replayed import is_ours
from nodes.request import Request
from runtime.apart import ended, on_a_thread
from runtime.deadline import within
from runtime.run import told
from state.agent import Agent, Failure, Reply, Text
from state.blame import passed_up
from state.budget import Limit
from state.errors import OutputError
from state.record import usage_by_agent
from state.task import Task
from state.usage import total

LATE = 1.1  # times its limit, after which a graph of ours that does not end by itself is cut off


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
    """Call a Python function with the validated input; sync ones run on a thread, and are left there when late."""
    record = await asked.run.book.start("function", **asked.about())
    asked.run.functions += 1
    try:
        async with asked.run.room.place(asked.left()):
            seconds = asked.seconds_left(asked.agent.limits.seconds)
            work = function(asked.given) if _is_async(function) else on_a_thread(function, asked.given)
            with within(seconds):
                raw = await ended(work, seconds)
        output = checked(asked.agent, raw)
    except GraphBubbleUp:
        raise
    except BaseException as error:
        await asked.run.book.end(record, **cut_short(error))
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
    ours = is_ours(graph)
    config = told(place)
    config["recursion_limit"] = int((graph.config or {}).get("recursion_limit", 1000))
    if agent.limits.tokens_per_run is not None:
        asked.run.limit_call(asked.place, asked.visit, Limit(tokens=agent.limits.tokens_per_run))
    open_ = [r for r in book.of(asked.place.path, asked.visit, "graph") if not r["outcome"] and r["task"] == asked.task]
    record = open_[-1] if open_ else await book.start("graph", **asked.about())
    limit, began = agent.limits.seconds_per_call, time.monotonic()
    try:
        seconds = asked.seconds_left(math.inf if limit is None else limit)
        if ours:
            task = asked.given if isinstance(asked.given, Task) else Task(goal=asked.given.model_dump_json())
            with within(seconds):  # its own doors heed that, and it ends with the best it has
                async with asyncio.timeout(None if limit is None else seconds * LATE):
                    found = await graph.ainvoke({"task": task.model_dump(mode="json")}, config)
            reply = _ours(agent, found)
            if not reply.ok and limit is not None and time.monotonic() >= began + limit and asked.left() > 0:
                raise TimeoutError(f"no answer within {limit:g} s; {reply.reason}")
        else:
            config["callbacks"] = [Meter(asked, place)]
            with within(seconds):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    found = await graph.ainvoke({"messages": [HumanMessage(render(asked.given))]}, config)
            reply = finished(agent, checked(agent, {"text": found["messages"][-1].text}))
        if reply.ok and not reply.reason and (broken := violated(asked, reply.output or {})):
            reply = replace(finished(agent, reply.output or {}, flag=broken), citations=reply.citations)
    except GraphBubbleUp:
        raise  # it is not over: a question inside, or a drain
    except BaseException as error:
        if not is_invalid_resume(error):
            await book.end(record, **cut_short(error))
        raise
    used = total(usage_by_agent(book.under(place.path)).values())
    reply = replace(reply, usage=used)
    await book.end(record, reply.outcome, reason=reply.reason, **asked.shown(reply))
    return reply


def _ours(agent: Agent, found: dict[str, Any]) -> Reply:
    outcome, reason, answer = found.get("outcome") or "failed", found.get("reason") or "", found.get("answer")
    if answer is None or outcome == "failed":  # what a failed graph has is not what was asked of it
        fault = Failure(kind="NestedFailure", message="no answer", owner="receiver", at=agent.name)
        return replace(failed(agent, passed_up(fault, reason) if reason else fault), outcome=outcome)  # type: ignore[arg-type]  # written by our own patterns
    if agent.output is Text and "text" not in answer:  # its answer has a form of its own; its last message says it
        answer = {"text": found["messages"][-1].text}
    return replace(finished(agent, checked(agent, answer)), outcome=outcome, reason=reason)  # type: ignore[arg-type]  # as above
