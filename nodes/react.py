"""The roles of the tool loop: think, ask at the gate, act."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage, messages_from_dict
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from pydantic import ValidationError

from nodes import human
from nodes.agent import Bound, call
from state.agent import Agent
from state.decision import ActionRequest, Decisions
from state.react import State, irreversible, same_call
from state.task import Task
from state.turn import concluded, ended, explain, steps_left, task_of
from tools.guard import execute, find

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
    """One question for all calls of the batch that cannot be undone; decisions go by position, as ids may repeat."""

    async def gate(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        waiting = {n: c for n, c in enumerate(calls_of(state)) if irreversible([c], agent.tools)}
        actions = [
            ActionRequest(name=c["name"], args=c["args"], description=_describe(agent, c)) for c in waiting.values()
        ]

        def refuse(said: Decisions) -> str:
            pairs = zip(waiting.values(), said.decisions, strict=True)
            faults = (_unfit(agent, c["name"], d.args or {}) for c, d in pairs if d.type == "edit")
            return next(filter(None, faults), "")

        said = await human.approve(
            actions, agent=agent.name, visit=f"gate/{state['steps']}", config=config, runtime=runtime, refuse=refuse
        )
        return {"decisions": {str(n): d.model_dump(mode="json") for n, d in zip(waiting, said, strict=True)}}

    return gate


def act(agent: Agent) -> Node:
    """All calls of the batch at once, each through the guard; a repeated one is answered from memory."""

    async def act(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        decided, known = state.get("decisions") or {}, _results(state.get("scratch") or [])
        begun: dict[str, asyncio.Task[dict[str, Any]]] = {}

        async def one(n: int, wanted: dict[str, Any]) -> ToolMessage:
            decision = decided.get(str(n)) or {"type": "approve"}
            args = decision["args"] if decision["type"] == "edit" else wanted["args"]
            same = same_call({"name": wanted["name"], "args": args})
            if decision["type"] == "reject":
                why = decision.get("message") or "no reason given"
                result: dict[str, Any] = {"error": f"rejected by a person: {why}", "retryable": False, "suggestion": ""}
            elif same in known:
                result = {"note": AGAIN, "value": known[same]}
            elif same in begun:
                result = {"note": AGAIN, **await begun[same]}
            else:
                visit = f"act/{state['steps']}/{n}"
                work = execute(agent, wanted["name"], args, visit=visit, config=config, runtime=runtime)
                begun[same] = asyncio.create_task(work)
                result = await begun[same]
            return ToolMessage(
                json.dumps(result, ensure_ascii=False),
                tool_call_id=wanted["id"],
                name=wanted["name"],
                id=f"result-{wanted['id']}-{state['steps']}-{n}",
                artifact={"edited": args} if decision["type"] == "edit" else None,
                status="error" if "error" in result else "success",
            )

        ends = await asyncio.gather(*(one(n, c) for n, c in enumerate(calls_of(state))), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):  # a drain, once the tools at work have come to their end
                raise end
        return {"scratch": ends, "decisions": {}}

    return act


def calls_of(state: State) -> list[dict[str, Any]]:
    """The tool calls that the model's last turn asks for."""
    scratch = state.get("scratch") or []
    last = scratch[-1] if scratch else None
    return [dict(c) for c in last.tool_calls] if isinstance(last, AIMessage) else []


def _results(scratch: list[AnyMessage]) -> dict[str, Any]:
    """Results by call as it was run, of all that went well this turn. They stand in the order of the calls."""
    out: dict[str, Any] = {}
    calls: list[dict[str, Any]] = []
    for message in scratch:
        if isinstance(message, AIMessage):
            calls = [dict(c) for c in message.tool_calls]
        elif isinstance(message, ToolMessage) and calls:
            asked = calls.pop(0)
            if message.status == "success":
                ran = asked | {"args": (message.artifact or {}).get("edited", asked["args"])}
                out[same_call(ran)] = json.loads(message.text).get("value")
    return out


def _best(scratch: list[AnyMessage]) -> dict[str, Any] | None:
    """What a loop that was stopped has: the last words of its model, if it said any."""
    said = next((m.text for m in reversed(scratch) if isinstance(m, AIMessage) and m.text.strip()), None)
    return {"text": said, "citations": [], "confidence": None} if said else None


def _unfit(agent: Agent, name: str, args: dict[str, Any]) -> str:
    tool = find(agent.tools, name)
    try:
        if tool is not None:
            tool.args.model_validate(args)
    except ValidationError as error:
        return f"{name}: the edited arguments do not fit: {explain(error)}"
    return ""


def _describe(agent: Agent, wanted: dict[str, Any]) -> str:
    tool = find(agent.tools, wanted["name"])
    return f"{agent.name} wants to run {wanted['name']}: {tool.description if tool else ''}".strip()
