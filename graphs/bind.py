"""Who answers under a contract: the only place that gives a tool-using agent its loop."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.pregel import Pregel

from graphs import react
from nodes.agent import Bound, By
from state.agent import ABORT, Agent, Person
from state.errors import ContractError

Bindable = Agent | Bound | Pregel[Any, Any, Any, Any] | Callable[[Any], Any]


def bind(who: Bindable, by: By = None) -> Bound:
    """Bind an agent to who answers: `by`, else the loop of its tools, else the model of its tier.

    A bare graph or function gets a contract of its own: named after it, a Task in, a Text out.
    Raises ContractError for what cannot answer, or a fallback that answers in another form.
    """
    if isinstance(who, Bound):
        return who
    if not isinstance(who, Agent):
        return Bound(_contract(who), who)
    if by is not None and not isinstance(by, BaseChatModel | Pregel | Person) and not callable(by):
        raise ContractError(
            f"agent {who.name!r}: {type(by).__name__} cannot answer; give a chat model, a graph, a function or PERSON"
        )
    if who.cache and "<" in getattr(by, "__qualname__", ""):
        raise ContractError(
            f"agent {who.name!r}: a function made inside another has no name of its own, so its answers cannot be "
            "cached; define it at the top of a module, or drop cache=True"
        )
    if who.tools and not isinstance(by, BaseChatModel | None):
        raise ContractError(
            f"agent {who.name!r}: tools belong to an agent that a model answers for; drop tools, or `by`"
        )
    if who.tools and isinstance(by, BaseChatModel | None):
        # the policy is followed, and the answer reviewed, once: by the door around the loop
        return Bound(who, react.build(Bound(replace(who, on_failure=ABORT, review=False), by)), _fallbacks(who), by)
    return Bound(who, by, _fallbacks(who))


def _fallbacks(agent: Agent) -> tuple[Bound, ...]:
    bounds = tuple(bind(other) for other in agent.on_failure.to)
    for other in bounds:
        if other.agent.output is not agent.output or other.agent.input is not agent.input:
            raise ContractError(
                f"agent {agent.name!r}: its fallback {other.agent.name!r} must take {agent.input.__name__} "
                f"and return {agent.output.__name__}, as it does"
            )
    return bounds


def _contract(who: Pregel[Any, Any, Any, Any] | Callable[[Any], Any]) -> Agent:
    if not isinstance(who, Pregel) and not callable(who):
        raise ContractError(f"{who!r} is no agent: give an Agent, a compiled graph or a function")
    name = who.name if isinstance(who, Pregel) else getattr(who, "__name__", type(who).__name__)
    doc = "" if isinstance(who, Pregel) else (inspect.getdoc(who) or "").split("\n")[0]
    slug = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "agent"
    return Agent(name=slug if slug[0].isalpha() else f"a_{slug}", responsibility=doc or f"Answers as {name}")
