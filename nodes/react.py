"""The roles of the tool loop: think, ask at the gate, act."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes.agent import Bound, call
from nodes.approval import decided, passed, rejected
from nodes.doubt import settle
from state.agent import Agent
from state.effect import undecided
from state.errors import DoubtError
from state.react import State, same_call
from state.task import Task
from state.turn import concluded, ended, steps_left, task_of
from tools.guard import execute

Node = Callable[..., Awaitable[dict[str, Any]]]

LAST = "This is your last step: no more tools. Answer now with what you have, and say what is missing."
AGAIN = "You made this very call before; this is its result again. Do something else, or answer."


def think(bound: Bound) -> Node:
    """The model's turn: it asks for tools, or answers."""
    agent = bound.agent

    async def think(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        step = (state.get("steps") or 0) + 1
        scratch = state.get("scratch") or []
        last = step >= agent.limits.steps or steps_left(state) < 8
        given = task_of(state)
        if last and agent.input is Task:
            given = given.model_copy(update={"constraints": [*given.constraints, LAST]})
        reply = await call(bound, given, visit=f"think/{step}", config=config, runtime=runtime, history=scratch)
        if reply.message is not None and not last:
            return {"scratch": messages_from_dict([reply.message]), "steps": step}
        if reply.message is not None:
            best = _best(scratch)
            return {
                "steps": step,
                **ended("degraded", f"no answer within {step} steps", answer=best, author=agent.name),
            }
        best = None if reply.ok else _best(scratch)
        return {"steps": step, **concluded(reply, best=best)}

    return think


def gate(agent: Agent) -> Node:
    """One question for all calls of the batch that cannot be undone; decisions go by position, as ids may repeat.

    Behind the tools, one for all calls that may have taken effect.
    """

    async def gate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        if doubts := undecided(state.get("doubts")):
            visit = f"gate/{state['steps']}/doubt"
            return {"doubts": await settle(doubts, agent=agent.name, visit=visit, config=config, runtime=runtime)}
        made = await decided(
            calls_of(state), None, agent=agent, visit=f"gate/{state['steps']}", config=config, runtime=runtime
        )
        return {"decisions": made}

    return gate


def act(agent: Agent) -> Node:
    """All calls of the batch at once, each through the guard; a repeated one is answered from memory.

    While it is open whether one of them took effect there are no results: those that ended are in the book.
    """

    async def act(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        # first of all: it may ask, about a call that changed since it was let pass, or that a policy names
        allowed = await decided(
            calls_of(state),
            state.get("decisions"),
            agent=agent,
            visit=f"gate/{state['steps']}",
            config=config,
            runtime=runtime,
        )
        known = _results(state.get("scratch") or [])
        settled = state.get("doubts") or {}
        begun: dict[str, asyncio.Task[dict[str, Any]]] = {}

        async def one(n: int, wanted: dict[str, Any]) -> ToolMessage:
            decision = allowed.get(str(n)) or {"type": "approve"}
            args = passed(wanted, decision)["args"]
            same = same_call({"name": wanted["name"], "args": args})
            if decision["type"] == "reject":
                result: dict[str, Any] = {"error": rejected(decision), "retryable": False, "suggestion": ""}
            elif same in known:
                result = {**known[same], "note": AGAIN}
            elif same in begun:
                result = {"note": AGAIN, **await begun[same]}
            else:
                visit = f"act/{state['steps']}/{n}"
                begun[same] = asyncio.create_task(
                    execute(
                        agent,
                        wanted["name"],
                        args,
                        visit=visit,
                        config=config,
                        runtime=runtime,
                        settled=settled.get(visit),
                    )
                )
                result = await begun[same]
            marks = {"edited": args} if decision["type"] == "edit" else {}
            if result.get("final"):
                marks["final"] = True
            return ToolMessage(
                json.dumps(result, ensure_ascii=False),
                tool_call_id=wanted["id"],
                name=wanted["name"],
                id=f"result-{wanted['id']}-{state['steps']}-{n}",
                artifact=marks or None,
                status="error" if "error" in result else "success",
            )

        ends = await asyncio.gather(*(one(n, c) for n, c in enumerate(calls_of(state))), return_exceptions=True)
        doubts = {}
        for end in ends:
            if isinstance(end, DoubtError):
                doubts[end.visit] = end.doubt
            elif isinstance(end, BaseException):  # a drain, once the tools at work have come to their end
                raise end
        return {"doubts": doubts} if doubts else {"scratch": ends, "decisions": {}, "doubts": {}}

    return act


def calls_of(state: State) -> list[dict[str, Any]]:
    """The tool calls that the model's last turn asks for."""
    scratch = state.get("scratch") or []
    last = scratch[-1] if scratch else None
    return [dict(c) for c in last.tool_calls] if isinstance(last, AIMessage) else []


def _results(scratch: list[AnyMessage]) -> dict[str, dict[str, Any]]:
    """Results by call as it was run, of all that went well this turn, or must not be tried again.

    They stand in the order of the calls.
    """
    out: dict[str, dict[str, Any]] = {}
    calls: list[dict[str, Any]] = []
    for message in scratch:
        if isinstance(message, AIMessage):
            calls = [dict(c) for c in message.tool_calls]
        elif isinstance(message, ToolMessage) and calls:
            asked = calls.pop(0)
            marks = message.artifact or {}
            if message.status == "success" or marks.get("final"):
                out[same_call(asked | {"args": marks.get("edited", asked["args"])})] = json.loads(message.text)
    return out


def _best(scratch: list[AnyMessage]) -> dict[str, Any] | None:
    """What a loop that was stopped has: the last words of its model, if it said any."""
    said = next((m.text for m in reversed(scratch) if isinstance(m, AIMessage) and m.text.strip()), None)
    return {"text": said, "citations": [], "confidence": None} if said else None
