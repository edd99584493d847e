"""The one way an agent is called.

`call` validates what goes in and what comes out, keeps budgets, limits and the book, retries what is
transient, and follows the agent's failure policy, whoever answers under the contract: a chat model,
a function, a compiled graph, or a person. `as_node` makes a role of a graph out of it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphDrained, is_invalid_resume
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime
from pydantic import BaseModel, ValidationError

from nodes.answer import from_function, from_graph, from_model
from nodes.asked import Asked, failed, flagged
from nodes.person import from_person, stand_in
from nodes.recall import keep, recall
from nodes.replayed import is_ours, kept, replayed
from nodes.request import called
from nodes.review import MOST, reviewed
from runtime.breaker import Admission
from runtime.cost import calls_of
from runtime.failures import failure_of
from runtime.models import name_of
from runtime.run import place_of, run_of, task_id
from runtime.veil import key
from state.agent import Agent, Failure, Person, Reply
from state.budget import Limit
from state.cost import NONE, Calls, total
from state.errors import BudgetError, MotetError, OutputError, StorageError
from state.record import Kind, digest
from state.task import Task
from state.turn import explain

BY_A_PERSON = "answered by a person"

Function = Callable[[Any], Any]
By = BaseChatModel | Pregel[Any, Any, Any, Any] | Function | Person | None


@dataclass(frozen=True, slots=True)
class Bound:
    """A contract and who answers under it; `by` is None where the model of the agent's tier does.

    `model` is the chat model in the loop of an agent with tools, unless it is that of its tier.
    """

    agent: Agent
    by: By = None
    fallbacks: tuple["Bound", ...] = ()
    model: BaseChatModel | None = None

    @property
    def bare(self) -> "Bound":
        """The agent without the loop of its tools: for a pattern that takes its steps itself."""
        return Bound(self.agent, self.model, self.fallbacks) if self.agent.tools and self.graph else self

    @property
    def graph(self) -> Pregel[Any, Any, Any, Any] | None:
        """The compiled graph that answers, if one does."""
        return self.by if isinstance(self.by, Pregel) else None

    @property
    def leaf(self) -> bool:
        """Whether no graph and no person can be met below: such a call needs no node of its own."""
        own = self.graph is None and not isinstance(self.by, Person) and self.agent.on_failure.action != "escalate"
        return own and not self.agent.review and all(b.leaf for b in self.fallbacks)

    @property
    def calls(self) -> Calls:
        """The least and the most model calls that one call of this agent makes."""
        policy = self.agent.on_failure
        if self.graph is not None:
            once = calls_of(self.graph)
        elif self.by is None or isinstance(self.by, BaseChatModel):
            once = Calls(0 if self.agent.cache else 1, 1 + self.agent.limits.repairs)
        else:
            once = NONE
        spare = total(b.calls for b in self.fallbacks).times(0, 1)
        tries = once.times(1, policy.attempts if policy.action == "retry" else 1) + spare
        return tries.times(1, 1 + MOST) if self.agent.review else tries


async def call(
    bound: Bound,
    value: BaseModel | Mapping[str, Any],
    *,
    visit: str,
    config: RunnableConfig,
    runtime: Runtime[Any],
    history: Sequence[AnyMessage] | None = None,
    budget: Limit | None = None,
) -> Reply:
    """Call an agent under its contract.

    `visit` names this call within its graph ("<role>/<round>/<item>"), computed from state alone.
    Where the agent has an input of its own and is handed a Task, that input may stand as JSON in the goal.
    `history`, from a tool loop only, is what was said after the opening: the agent's tools are then
    offered, and the reply may hold tool calls instead of an output. `budget` bounds what this call may use,
    with all that is below it.

    A failure is returned, never raised. What raises: interrupts, drains, and programming errors.
    """
    agent = bound.agent
    try:
        given = _taken(agent, value)
    except ValidationError as error:
        fault = Failure(kind="InputError", message=explain(error), owner="sender", at=agent.name)
        return failed(agent, fault)
    place = place_of(config)
    run = await run_of(place, runtime)
    if budget is not None:
        run.limit_call(place, visit, budget)
    if agent.sensitive:
        await asyncio.to_thread(key)  # read once, and not from the loop
    asked = Asked(
        agent=agent,
        given=given,
        visit=visit,
        place=place,
        run=run,
        runtime=runtime,
        task=task_id(runtime),
        digest=run.book.digest(f"{len(history or ())} {given.model_dump_json()}", sensitive=agent.sensitive),
        history=None if history is None else tuple(history),
    )
    if (before := _asked_a_person(asked)) is not None:
        return await _escalated(asked, before, config)
    reply = await _once(bound, asked, config)
    if reply.error is not None:
        reply = await _after_failure(bound, asked, reply, config)
    if not agent.review or history is not None or isinstance(bound.by, Person) or reply.reason == BY_A_PERSON:
        return reply
    return await reviewed(asked, reply, config, partial(_again, bound, asked, config))


async def _again(bound: Bound, asked: Asked, config: RunnableConfig, task: Task, suffix: str) -> Reply:
    """Another call of an agent whose answer was sent back, within what is left to it."""
    return await call(
        replace(bound, agent=replace(bound.agent, review=False)),
        task,
        visit=asked.visit + suffix,
        config=config,
        runtime=asked.runtime,
        budget=asked.run.ledger.left(asked.place.below(asked.visit).path),
    )


def _taken(agent: Agent, value: BaseModel | Mapping[str, Any]) -> BaseModel:
    """The agent's input, as it is or as JSON in a Task's goal. Raises ValidationError."""
    if isinstance(value, agent.input):
        return value
    raw = value.model_dump() if isinstance(value, BaseModel) else value
    try:
        return agent.input.model_validate(raw)
    except ValidationError:
        if agent.input is Task or not isinstance(goal := raw.get("goal"), str):
            raise
        try:
            inside = json.loads(goal)
        except ValueError:
            inside = None
        if not isinstance(inside, dict):
            raise
    return agent.input.model_validate(inside)


async def _once(bound: Bound, asked: Asked, config: RunnableConfig) -> Reply:
    """One call, without the failure policy. A call that this very task already finished is not made again."""
    if isinstance(bound.by, Person):
        return await from_person(asked, config)
    kind: Kind = (
        "graph" if bound.graph else "model" if bound.by is None or isinstance(bound.by, BaseChatModel) else "function"
    )
    if not (bound.graph is not None and is_ours(bound.graph)) and (said := replayed(asked, kind)) is not None:
        return said
    done = asked.run.book.finished(asked.place.path, asked.visit, kind, task=asked.task, digest=asked.digest)
    if done is not None:
        return Reply(**done["content"])
    if asked.runtime.drain_requested:
        raise GraphDrained(asked.runtime.drain_reason or "shutdown")
    try:
        return await _cached(bound, asked) if asked.agent.cache else await _answer(bound, asked)
    except (GraphBubbleUp, StorageError):
        raise  # what cannot be kept is no agent's failure
    except BudgetError as error:
        fault = Failure(kind="BudgetError", message=str(error), owner="environment", at=asked.agent.name)
        return await kept(asked, kind, replace(failed(asked.agent, fault), outcome="out_of_budget"))
    except Exception as error:  # the policy decides what follows, not an exception that happens to escape
        if is_invalid_resume(error):
            raise  # a person's answer to a question inside did not fit: the question stays open
        return await kept(asked, kind, failed(asked.agent, failure_of(error, at=asked.agent.name)))


async def _answer(bound: Bound, asked: Asked) -> Reply:
    """Ask whoever answers. Raises BreakerError, and asks nobody, where too many calls of the agent failed lately."""
    agent = asked.agent
    with Admission(f"agent {agent.name}", agent.responsibility, agent.instructions, bound.by) as admission:
        try:
            reply = await _answered(bound, asked)
        except Exception as error:
            admission.well = _says(bound, asked, error)
            raise
        admission.well = not flagged(reply) if reply.error is None else _says(bound, asked, reply)
        return reply


def _says(bound: Bound, asked: Asked, what: Exception | Reply) -> Literal[False] | None:
    """Whether a failure is the agent's own, or says nothing of it: None.

    What a model's server does is for its own breaker to count; a function has no other than this.
    """
    if isinstance(what, Reply):
        fault = what.error if what.outcome == "failed" else None
    else:
        ours = isinstance(what, MotetError) and not isinstance(what, OutputError)
        no_failure = ours or isinstance(what, GraphBubbleUp) or is_invalid_resume(what)
        fault = None if no_failure else failure_of(what, at=asked.agent.name)
    if fault is None or asked.left() <= 0:
        return None
    a_function = bound.graph is None and bound.by is not None and not isinstance(bound.by, BaseChatModel)
    return False if fault.owner == "receiver" or a_function else None


async def _answered(bound: Bound, asked: Asked) -> Reply:
    if isinstance(bound.by, Pregel):
        return await from_graph(asked, bound.by)
    if bound.by is None or isinstance(bound.by, BaseChatModel):
        return await from_model(asked, bound.by)
    assert callable(bound.by)
    return await from_function(asked, bound.by)


async def _cached(bound: Bound, asked: Asked) -> Reply:
    who = _who(bound, asked)
    if (kept := await recall(asked, who)) is not None:
        return kept
    reply = await _answer(bound, asked)
    await keep(asked, who, reply)
    return reply


def _who(bound: Bound, asked: Asked) -> str:
    """Who answers, by name: another model, or another function, gives another answer."""
    if bound.by is None:
        return name_of(asked.agent.tier, asked.run.context)
    if isinstance(bound.by, BaseChatModel):
        return f"{type(bound.by).__qualname__} {called(bound.by)} {digest(dict(bound.by._identifying_params))}"
    return f"{getattr(bound.by, '__module__', '')}.{getattr(bound.by, '__qualname__', bound.agent.name)}"


async def _after_failure(bound: Bound, asked: Asked, reply: Reply, config: RunnableConfig) -> Reply:
    agent, policy = bound.agent, bound.agent.on_failure
    assert reply.error is not None
    if reply.outcome == "out_of_budget" or reply.error.owner == "sender":
        return reply
    if policy.action == "retry":
        for _ in range(policy.attempts - 1):
            once_more = max(1, reply.usage.get("calls", 0))  # a team's failure made as many calls as it will make again
            if reply.error.kind == "BreakerError" or asked.left() <= 0 or not asked.run.may_retry(once_more):
                break
            reply = await _once(bound, asked, config)
            if reply.error is None or reply.outcome == "out_of_budget":
                return reply
    if policy.action == "fallback":
        for other in bound.fallbacks:
            instead = await call(
                other,
                asked.given,
                visit=f"{asked.visit}~{other.agent.name}",
                config=config,
                runtime=asked.runtime,
                budget=asked.run.ledger.left(asked.place.below(asked.visit).path),
            )
            if instead.outcome == "out_of_budget":
                return instead
            if instead.ok:
                return replace(instead, reason=f"{other.agent.name} answered for {agent.name}: {reply.reason}")
    if policy.action == "escalate":
        return await _escalated(asked, reply, config)
    if policy.action == "degrade" or not agent.critical:
        return replace(reply, outcome="degraded")
    return reply


def _asked_a_person(asked: Asked) -> Reply | None:
    """The failure that this very task already put to a person: the agent is not called again for it."""
    for record in asked.run.book.of(asked.place.path, _person(asked), "human"):
        if record["task"] == asked.task and asked.agent.on_failure.action == "escalate":
            fault = Failure(
                kind="Escalated",
                message=(record.get("args") or {}).get("failure", "put to a person before"),
                owner="receiver",
                at=asked.agent.name,
            )
            return replace(failed(asked.agent, fault), reason=fault.message)
    return None


def _person(asked: Asked) -> str:
    return f"{asked.visit}~person"


async def _escalated(asked: Asked, reply: Reply, config: RunnableConfig) -> Reply:
    case = {"task": asked.given.model_dump(mode="json"), "failure": reply.reason}
    said, output = await stand_in(asked, config, case, visit=_person(asked), kind="escalation")
    if output is None:
        return replace(reply, outcome="escalated", reason=f"a person declined: {said.message or reply.reason}")
    return Reply(agent=asked.agent.name, output=output, reason=BY_A_PERSON)


def as_node(
    bound: Bound,
    *,
    read: Callable[[Any], BaseModel | Mapping[str, Any]],
    write: Callable[[Any, Reply], dict[str, Any]],
    visit: Callable[[Any], str],
) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A role as a LangGraph node: `read` makes the agent's input of the state, `write` the update of its reply.

    `bound.graph` stands in the node function on purpose: from there LangGraph finds the nested graph
    for its drawings, its sub-states, its streams and its time travel.
    """

    async def role(state: Any, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph
        reply = await call(bound, read(state), visit=visit(state), config=config, runtime=runtime)
        return write(state, reply)

    return role
