"""What is given to a bound graph, held against what is open on its thread, before anything is resumed or saved.

The engine itself ignores an unknown id, fails on None or on one answer for several questions, takes an
answer that is sent again for the next question, and drops an open question when new input comes.
"""

import time
from dataclasses import replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import Command, StateSnapshot

from runtime.book import Book
from state.decision import expired
from state.errors import InputError, ThreadError
from state.question import request_of, settled, unnamed, worded

AnyGraph = Pregel[Any, Any, Any, Any]

DISCARD = "discard"  # in a config's `configurable`: new input drops the questions that are open
OPEN = "__interrupt__"  # the engine's channel of questions


async def held(graph: AnyGraph, saver: BaseCheckpointSaver[str], given: Any, config: RunnableConfig) -> Any:
    """What to run a bound graph with: answers by question id, anything else as it is.

    Raises InputError for an answer that does not fit, with the reason and what is open, and ThreadError for
    new input while a question is open, unless `configurable` says to DISCARD it. New input where none was left
    open costs one read.
    """
    where = config.get("configurable") or {}
    if given is None or where.get("checkpoint_ns"):
        return given
    answer = isinstance(given, Command) and (given.resume is not None or not (given.update or given.goto))
    if where.get("checkpoint_id") and not answer:
        return given  # a fork
    thread = str(where["thread_id"])
    saved = await saver.aget_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
    if not answer and not (saved and any(channel == OPEN for _, channel, _ in saved.pending_writes or ())):
        return given
    head = await graph.aget_state({"configurable": {"thread_id": thread}})
    if not answer:
        if head.interrupts and not where.get(DISCARD):
            raise ThreadError(
                f"thread {thread!r} waits: {shown(head)}. Answer with Command(resume=…), or drop that with "
                f"{{'configurable': {{{DISCARD!r}: True}}}}"
            )
        return given
    if (at := where.get("checkpoint_id")) and saved is not None and at != saved.checkpoint["id"]:
        raise InputError(f"step {at} of thread {thread!r} is past: run it with None to be asked again, then answer")
    return replace(given, resume=await answers(graph, thread, head, given.resume))


async def answers(graph: AnyGraph, thread: str, head: StateSnapshot, given: Any) -> dict[str, Any]:
    """Answers by question id, each held against its question. Raises InputError with the reason and what is open."""
    open_ = {i.id: i.value for i in head.interrupts}
    if not open_:
        raise InputError(f"thread {thread!r} asks nothing: leave the answer out")
    branch, turn = head.values.get("branch") or "main", head.values.get("turn") or 0
    book = await Book(graph.store, thread=thread, branch=branch, turn=turn).load()
    here = {i.value.get("shown") for i in head.interrupts if isinstance(i.value, dict)}  # cut off once it was answered
    answered = (r for r in book.records() if r["kind"] == "human" and r["outcome"] == "completed")
    said = (r.get("content") for r in answered if r["digest"] not in here)
    return settled(open_, given, now=time.time(), before=unnamed(said))


def shown(head: StateSnapshot) -> str:
    """The open questions of a state in one line."""
    return "; ".join(worded(i.id, i.value) for i in head.interrupts)


def overdue(head: StateSnapshot) -> bool:
    """Whether the time for an answer to an open question is over."""
    requests = (request_of(i.value) for i in head.interrupts)
    return any(expired(request, time.time()) for request in requests if request is not None)


def discarding(config: RunnableConfig) -> RunnableConfig:
    """A config under which new input drops the questions that are open."""
    return {**config, "configurable": {**(config.get("configurable") or {}), DISCARD: True}}


def without(config: RunnableConfig) -> RunnableConfig:
    """A config without DISCARD, which is said once and not kept with the thread."""
    where = {name: value for name, value in (config.get("configurable") or {}).items() if name != DISCARD}
    return {**config, "configurable": where}
