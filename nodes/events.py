"""The roles of publish and subscribe: the place where events are published, those who react, and who answers."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from nodes.agent import Bound, as_node, call
from nodes.post import post
from state.agent import Agent, Outcome, Reply, Text
from state.events import (
    WORLD,
    Draft,
    Entry,
    Published,
    Rules,
    State,
    TaskCompleted,
    TaskPublished,
    due,
    handled,
    last_answer,
    problems,
    settled,
)
from state.events import publish as published
from state.task import Task
from state.turn import ended, reasons, steps_left, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_WAVE = 2  # super-steps from one publication to the next
LAST_STEPS = 6  # kept for the end

REACT = "An event happened in the course of this task. Do your part, as far as the event asks for it."
SYNTHESIZE = (
    "Answer the goal from what was done, with sources as [file#section]. Add nothing that is not in it. "
    "Say plainly what is missing."
)


def publish(rules: Rules, answer: str, *, synthesized: bool) -> Node:
    """What was brought is published and put into mailboxes; what is due goes out; when nothing is, the turn ends."""
    order = list(rules.subscribers)

    async def publish(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        now, task = time.time(), task_of(state)
        reactions = sorted(
            (state.get("reactions") or {}).values(), key=lambda reaction: (reaction["n"], order.index(reaction["by"]))
        )
        log, drafts = settled(state.get("log") or [], reactions)
        if not log:
            drafts = [Draft(WORLD, TaskPublished.__name__, {"goal": task.goal})]
        wave = published(
            log,
            state.get("boxes") or {},
            drafts,
            rules,
            conversation=state.get("asked") or "",
            now=now,
            deadline=task.deadline,
        )
        await post(wave.sent, config=config, runtime=runtime)
        boxes, ready, log = due(wave.boxes, wave.log, rules, now=now)
        lost = [*(state.get("lost") or []), *wave.lost]
        if ready and steps_left(state) < LAST_STEPS:
            lost, ready = [*lost, *(f"{r['type']} for {r['to']}" for r in ready)], []
        update: dict[str, Any] = {
            "log": log,
            "boxes": boxes,
            "due": ready,
            "lost": lost,
            "reactions": Overwrite({}),
        }
        worst = next((r for r in reactions if r["outcome"] == "out_of_budget"), None)
        if worst is not None:
            best, author = _best(log, answer)
            return update | ended("out_of_budget", worst["reason"], answer=best, author=author)
        if ready or (synthesized and len(log) > 1):
            return update
        best, author = _best(log, answer)
        end = _conclusion(log, lost, rules, best, author)
        if answer and best is not None and author != answer:
            return update | end | {"outcome": "degraded", "reason": reasons(end["reason"], f"{answer} did not answer")}
        return update | end

    return publish


def send(state: State, otherwise: str) -> list[Send | str]:
    """Everything that is due to its subscriber, at once; to the end when nothing is."""
    if state.get("outcome"):
        return ["finish"]
    task = state["task"]
    return [Send(event["to"], {**event, "task": task}) for event in state["due"]] or [otherwise]


def react(bound: Bound) -> Node:
    """One subscriber's reaction to one event: what it publishes in its turn, or how it failed."""
    agent = bound.agent

    async def react(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        visit = f"{agent.name}/{sent['n']}"
        reply = await call(bound, _shown(agent, sent), visit=visit, config=config, runtime=runtime)
        reaction = {
            "n": sent["n"],
            "by": agent.name,
            "ok": reply.ok,
            "events": _events(agent, reply.output),
            "outcome": reply.outcome,
            "reason": "" if reply.outcome == "completed" else reply.reason,
        }
        return {"reactions": {visit: reaction}}

    return react


def synthesize(bound: Bound, rules: Rules) -> Node:
    """One answer from all that was done."""

    def read(state: State) -> Task:
        done = [e for e in state["log"] if e["by"] != WORLD]
        context = {f"{e['type']} {e['n']} by {e['by']}": e["data"] for e in done}
        if missing := problems(state["log"], state["lost"], rules):
            context["missing"] = {"reasons": missing}
        task = task_of(state)
        return task.model_copy(update={"context": {**task.context, "instructions": SYNTHESIZE, **context}})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.output is not None:
            return _conclusion(state["log"], state["lost"], rules, reply.output, reply.agent, reply)
        return _conclusion(state["log"], state["lost"], rules, *last_answer(state["log"]), reply)

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/0")


def _shown(agent: Agent, sent: Mapping[str, Any]) -> Task | dict[str, Any]:
    """The event itself, for an agent whose input it is; for others the task, with what happened in its course."""
    if agent.input is not Task:
        return dict(sent["data"])
    task = task_of({"task": sent["task"]})
    if sent["type"] == TaskPublished.__name__:
        return task
    event = {"type": sent["type"], "published by": sent["by"], **sent["data"]}
    return task.model_copy(update={"context": {**task.context, "your part": REACT, "event": event}})


def _events(agent: Agent, output: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What an output publishes: itself, as an event of its type; the events in it; a Text as TaskCompleted."""
    if output is None:
        return []
    if agent.output is Published:
        return list(output["events"])
    if agent.output is Text:
        return [{"type": TaskCompleted.__name__, "data": {"by": agent.name, **output}}]
    return [{"type": agent.output.__name__, "data": output}]


def _best(log: Sequence[Entry], answer: str) -> tuple[dict[str, Any] | None, str]:
    """The answer of the one who gives it, or else whatever was completed last; and whose it is."""
    best, author = last_answer(log, answer)
    return (best, author) if best is not None else last_answer(log)


def _conclusion(
    log: Sequence[Entry],
    lost: Sequence[str],
    rules: Rules,
    answer: dict[str, Any] | None,
    author: str,
    reply: Reply | None = None,
) -> dict[str, Any]:
    """The end of a turn: degraded by what nobody dealt with; what somebody did deal with is said."""
    missing = problems(log, lost, rules)
    outcome: Outcome = "degraded" if missing or answer is None else "completed"
    why = "" if answer is not None or missing else "nobody completed the task"
    if reply is not None and reply.outcome != "completed":
        outcome, why = weaker(reply.outcome), reply.reason
    return ended(outcome, reasons(why, *missing, *handled(log)), answer=answer, author=author)
