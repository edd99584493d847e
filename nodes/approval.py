"""What the gate of a tool loop lets pass: each call as it was shown, or as it was edited, and nothing else."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from pydantic import ValidationError

from nodes import human
from runtime.run import context_of
from state.agent import Agent
from state.decision import DENIED, LATE, ActionRequest, Decisions
from state.policy import named
from state.react import irreversible, same_call
from state.record import digest
from state.turn import explain
from tools.guard import find

Call = dict[str, Any]


async def decided(
    calls: list[Call],
    before: Mapping[str, Any] | None,
    *,
    agent: Agent,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
) -> dict[str, Any]:
    """A decision, by its place, for each call that waits for one; decisions go by place, as ids may repeat.

    One that was made `before` counts only for the very call that was shown, and for what it let pass: if
    either has changed since, the call is asked about as it is now. One question stands for all of them.
    """
    kept = {n: d for n, d in (before or {}).items() if int(n) < len(calls) and _stands(calls[int(n)], d)}
    scopes = context_of(runtime).approvals
    waiting = {
        str(n): call
        for n, call in enumerate(calls)
        if str(n) not in kept and (irreversible([call], agent.tools) or named(scopes, agent.name, call["name"]))
    }
    if not waiting:
        return kept

    def refuse(said: Decisions) -> str:
        pairs = zip(waiting.values(), said.decisions, strict=True)
        faults = (_unfit(agent, c["name"], d.args or {}) for c, d in pairs if d.type == "edit")
        return next(filter(None, faults), "")

    said = await human.approve(
        [ActionRequest(name=c["name"], args=c["args"], description=_describe(agent, c)) for c in waiting.values()],
        agent=agent.name,
        visit=visit,
        config=config,
        runtime=runtime,
        refuse=refuse,
        undoable={t.name for t in agent.tools if t.effects != "irreversible"},
    )
    made = {n: _bound(c, d.model_dump(mode="json")) for (n, c), d in zip(waiting.items(), said, strict=True)}
    return kept | made


def passed(call: Call, decision: Mapping[str, Any]) -> Call:
    """The call as a decision lets it run."""
    args = decision["args"] if decision["type"] == "edit" else call["args"]
    return {"name": call["name"], "args": args}


def rejected(decision: Mapping[str, Any]) -> str:
    """What the agent is told of a call that was not let pass."""
    why = decision.get("message") or "no reason given"
    return f"rejected: {why}" if why in (DENIED, LATE) else f"rejected by a person: {why}"


def _bound(call: Call, decision: dict[str, Any]) -> dict[str, Any]:
    return {**decision, "for": digest(same_call(call)), "runs": digest(same_call(passed(call, decision)))}


def _stands(call: Call, decision: Mapping[str, Any]) -> bool:
    """Whether a decision was made about this very call, and lets pass what it let pass then."""
    marks = {name: decision.get(name) for name in ("for", "runs")}
    return marks == {name: _bound(call, dict(decision))[name] for name in marks}


def _unfit(agent: Agent, name: str, args: dict[str, Any]) -> str:
    tool = find(agent.tools, name)
    try:
        if tool is not None:
            tool.args.model_validate(args)
    except ValidationError as error:
        return f"{name}: the edited arguments do not fit: {explain(error)}"
    return ""


def _describe(agent: Agent, wanted: Call) -> str:
    tool = find(agent.tools, wanted["name"])
    return f"{agent.name} wants to run {wanted['name']}: {tool.description if tool else ''}".strip()
