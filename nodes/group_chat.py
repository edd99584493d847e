"""The roles of a group chat: who selects, who speaks, who sums up, who answers."""

from collections.abc import Awaitable, Callable, Mapping
from time import time as now
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes.agent import Bound, as_node, call
from runtime.run import place_of
from runtime.stop import stopped
from state.agent import Person, Reply
from state.answers import in_words
from state.condition import Conversation
from state.group_chat import (
    Floor,
    State,
    assigned,
    concluding,
    granted,
    heard,
    opened,
    remarked,
    seen_by,
    summarized,
    taken,
    tokens_of,
)
from state.speaker import Rules, candidates, following, read_name
from state.task import Task
from state.turn import task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

SELECT = "Name the participant who should speak next, so that the conversation brings the task further."
SPEAK = (
    "You are {name}, in a conversation about this task with {others}. It is your turn: answer the others, and bring "
    "the task further. Speak for yourself only, and do not repeat what was said."
)
SUMMARIZE = "Sum up the conversation so far: who said what, what is agreed, and what is open. Add nothing."
ANSWER = "Answer the goal from this conversation. Say plainly where its participants disagree, and what is missing."


def first(rules: Rules) -> Node:
    """Who speaks first, where a function says who speaks."""

    async def select(state: State) -> dict[str, Any]:
        return assigned(rules, state, opened(now()), Conversation(team=rules.team, candidates=rules.team))

    return select


def select(bound: Bound, rules: Rules, team: Mapping[str, str]) -> Node:
    """A manager's word on who speaks next, asked again when it names nobody who may; then the next in turn speaks.

    `team` has what each participant is responsible for. Where only one may speak, nobody is asked.
    """

    def read(state: State) -> Task:
        floor = state["floor"]
        able = candidates(rules, floor["last"])
        task = task_of(state)
        names = "\n".join(f"- {name}: {team[name]}" for name in able)
        context = {**task.context, "task": task.goal, "participants": names}
        if floor["fault"]:
            context["refused"] = f"{floor['fault']}. Name one of: {', '.join(able)}"
        return Task(goal=SELECT, context=context | seen_by(rules, state, bound.agent.name))

    async def select(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        floor = state["floor"] or opened(now())
        able = candidates(rules, floor["last"])
        if len(able) == 1:
            return {"floor": {**floor, "next": able[0]}}
        visit = f"select/{floor['turns'] + 1}/{floor['asked']}"
        reply = await call(bound, read({**state, "floor": floor}), visit=visit, config=config, runtime=runtime)
        floor = {**floor, "tokens": floor["tokens"] + tokens_of(reply), "asked": floor["asked"] + 1}
        instead = following(rules.team, floor["last"], able)
        remarks = remarked(state, bound.agent.name, reply)
        if _ends(bound, reply):
            return {"floor": floor} | remarks | concluding(floor, remarks["faults"], reply.outcome, "")
        if reply.output is None:
            return {"floor": {**floor, "next": instead}} | remarks
        said = reply.output.get("speaker")
        name, fault = read_name(said if isinstance(said, str) else in_words(reply.output), able, rules.team)
        if fault and floor["asked"] <= rules.max_reasks:
            return remarks | granted(state, floor, "", fault, "asked again")
        return remarks | granted(state, floor, name or instead, fault, f"{instead} in turn")

    return select


def speak(bound: Bound, rules: Rules) -> Node:
    """A participant's turn. One that fails is skipped, and the participant named."""
    name = bound.agent.name
    orders = SPEAK.format(name=name, others=", ".join(other for other in rules.team if other != name))
    kind: Callable[..., AnyMessage] = HumanMessage if isinstance(bound.by, Person) else AIMessage

    async def speak(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        floor, task = state["floor"], task_of(state)
        turn = floor["turns"] + 1
        context = {**task.context, "instructions": orders, **seen_by(rules, state, name)}
        given = task.model_copy(update={"context": context})
        reply = await call(bound, given, visit=f"{name}/{turn}", config=config, runtime=runtime)
        said = None
        if reply.output is not None:
            said = kind(in_words(reply.output), name=name, id=f"talk-{state['turn']}-{turn}")
        stop = await stopped(runtime.store, place_of(config).thread, floor["since"]) if rules.listens else ""
        last = _ends(bound, reply)
        return taken(rules, state, reply, said, who=name, at=now(), stop=stop, last=last)

    return speak


def summarize(bound: Bound, rules: Rules) -> Node:
    """The messages that left everybody's window, and the summary before, in one new summary."""

    def old(state: State) -> int:
        return len(state["talk"]) - rules.widest

    def read(state: State) -> Task:
        context = {"task": task_of(state).goal, "instructions": SUMMARIZE}
        before = (state.get("summary") or {}).get("text")
        if before:
            context["earlier"] = before
        return Task(goal=SUMMARIZE, context=context | heard(state["talk"][summarized(state) : old(state)]))

    def write(state: State, reply: Reply) -> dict[str, Any]:
        floor: Floor = {**state["floor"], "tokens": state["floor"]["tokens"] + tokens_of(reply)}
        remarks = remarked(state, bound.agent.name, reply)
        if _ends(bound, reply):
            return {"floor": floor} | remarks | concluding(floor, remarks["faults"], reply.outcome, "")
        before = (state.get("summary") or {}).get("text", "")
        text = before if reply.output is None else in_words(reply.output)
        return {"floor": floor, "summary": {"text": text, "upto": old(state)}} | remarks

    return as_node(bound, read=read, write=write, visit=lambda state: f"summarize/{state['floor']['turns']}")


def answer(bound: Bound, rules: Rules) -> Node:
    """One answer from the conversation, written by an agent; without it, the last word is the answer."""

    def read(state: State) -> Task:
        task = task_of(state)
        context = {**task.context, "instructions": ANSWER, **seen_by(rules, state, bound.agent.name)}
        if state["outcome"] != "completed":
            context["missing"] = state["reason"]
        return task.model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        written = {"answer": reply.output, "author": reply.agent} if reply.ok else {}
        if reply.outcome == "completed":
            return written
        worse = reply.outcome if reply.ok else weaker(reply.outcome)
        kept = state["outcome"] != "completed" and worse != "out_of_budget"
        reason = f"{state['reason']}; {reply.reason}"
        return {**written, "outcome": state["outcome"] if kept else worse, "reason": reason}

    return as_node(bound, read=read, write=write, visit=lambda state: "answer/0")


def _ends(bound: Bound, reply: Reply) -> bool:
    """Whether a reply ends the conversation: nothing is left to spend, or its agent aborts."""
    aborts = bound.agent.on_failure.action == "abort" and reply.outcome == "failed"
    return reply.outcome == "out_of_budget" or aborts
