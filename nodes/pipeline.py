"""The stages of a pipeline."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from nodes.agent import Bound, call
from nodes.asked import failed
from state.agent import Failure, Owner, Reply
from state.blame import says
from state.pipeline import State, Transform, answer_of, outcome_of, plain, rebuilt, returns
from state.task import Task
from state.turn import ended, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """An agent, what its input is made by and its output passed on through, and whether it can be done without."""

    bound: Bound
    input: Transform | None = None
    output: Transform | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        """The agent's name, which is the node's."""
        return self.bound.agent.name

    @property
    def gives(self) -> Any:
        """The type of what it passes on; UNKNOWN where its transform does not say."""
        return self.bound.agent.output if self.output is None else returns(self.output)


def stage(stages: tuple[Stage, ...], at: int) -> Node:
    """One stage: it takes what was handed on last, and hands on what it makes of it."""
    this, last = stages[at], at == len(stages) - 1
    gives = {s.name: s.gives for s in stages}

    async def stage(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = this.bound.graph  # so that LangGraph finds the nested graph from here
        agent = this.bound.agent
        try:
            given = _given(this, state, gives)
        except GraphBubbleUp:
            raise
        except Exception as error:  # data that a transform cannot take fails its stage, not the run
            reply = failed(agent, _fault(error, "its input could not be made", "sender", agent.name))
        else:
            reply = await call(this.bound, given, visit=f"{agent.name}/0", config=config, runtime=runtime)
        value = None
        try:
            value = _handed(this, reply)
        except GraphBubbleUp:
            raise
        except Exception as error:  # as above; what the agent said stays in `stages`
            fault = _fault(error, "its output could not be passed on", "receiver", agent.name)
            return _update(state, this, last, failed(agent, fault), None, said=reply.output)
        return _update(state, this, last, reply, value, said=reply.output)

    return stage


def _update(
    state: State, this: Stage, last: bool, reply: Reply, value: Any, *, said: dict[str, Any] | None
) -> dict[str, Any]:
    """What a stage leaves behind; the last one, and a required one that failed, end the turn."""
    update: dict[str, Any] = {"stages": {this.name: said}} if said is not None else {}
    marks, handed = dict(state.get("marks") or {}), state.get("handed")
    if reply.ok:
        handed = update["handed"] = {"by": this.name, "value": value}
    if reply.outcome != "completed" or reply.reason:
        skipped = this.optional and not reply.ok
        reason = reply.reason or reply.outcome
        reason = reason if says(this.name, reason) else f"{this.name}: {reason}"
        marks[this.name] = {"outcome": reply.outcome, "reason": reason, "skipped": skipped}
        update["marks"] = {this.name: marks[this.name]}
    broken = not this.optional and not reply.ok
    if not (last or broken or (reply.outcome == "out_of_budget" and not this.optional)):
        return update
    outcome, reason = outcome_of(marks)
    if broken:
        outcome = "failed" if reply.outcome == "degraded" else reply.outcome
    if handed is None or reply.ok:
        return update | ended(outcome, reason, answer=answer_of(handed), author=this.name)
    reason = f"{reason}; the answer is what {handed['by']} handed on"
    return update | ended(outcome, reason, answer=answer_of(handed), author=handed["by"])


def _given(this: Stage, state: State, gives: dict[str, Any]) -> Any:
    """The agent's input: by its transform, else as context of the turn's task, else the value itself."""
    agent, task, handed = this.bound.agent, task_of(state), state.get("handed")
    value: Any = task if handed is None else rebuilt(handed["value"], gives[handed["by"]])
    if this.input is not None:
        value = this.input(value)
        return task.model_copy(update={"goal": value}) if agent.input is Task and isinstance(value, str) else value
    if agent.input is not Task:
        return json.loads(task.goal) if handed is None else value
    if handed is None or isinstance(value, Task):
        return value
    return task.model_copy(update={"context": {**task.context, handed["by"]: handed["value"]}})


def _handed(this: Stage, reply: Reply) -> Any:
    if this.output is None or reply.output is None:
        return reply.output
    return plain(this.output(this.bound.agent.output.model_validate(reply.output)))


def _fault(error: Exception, what: str, owner: Owner, at: str) -> Failure:
    message = f"{what}: {type(error).__name__}: {error}"
    return Failure(kind=type(error).__name__, message=message[:400], owner=owner, at=at)
