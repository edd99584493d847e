"""From a wired builder to a graph of this house: linted, named, bounded, with its sync façade."""

from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.graph import StateGraph

from nodes.agent import Bound
from nodes.request import called
from runtime import fingerprint
from runtime.cost import declare
from runtime.lint import lint
from runtime.sync import Graph
from runtime.veil import VEILED, veils
from state.agent import Person
from state.cost import Calls
from state.errors import ContractError
from state.task import Task

MARGIN = 8  # super-steps beside those of the bounds: begin, finish, and a person's detours


def compiled(
    builder: StateGraph[Any, Any, Any, Any], *, name: str, agents: Sequence[Bound], steps: int, calls: Calls
) -> Graph:
    """Compile a pattern. `steps` is the most super-steps its bounds allow; the recursion limit follows.

    `calls` are the least and the most model calls that its options allow.

    Raises ContractError when the wiring cannot work, naming the node and the mend.
    """
    lint(builder, name)
    limits = [int((b.graph.config or {}).get("recursion_limit", 0)) for b in agents if b.graph is not None]
    declare(builder, calls)
    fingerprint.declare(builder, [c for b in agents for c in contracts(b)])
    graph = builder.compile(name=name)
    graph.__class__ = Graph
    return graph.with_config(  # type: ignore[return-value]  # a copy of the same class
        recursion_limit=max([steps + MARGIN, *limits]),
        tags=[f"pattern:{name}"],
        metadata={"pattern": name},
        configurable={VEILED: True} if any(map(sensitive, agents)) else {},
    )


def contracts(bound: Bound) -> list[fingerprint.Contract]:
    """What a thread depends on of an agent, and of those that may answer in its stead."""
    by, model = bound.by, bound.by if isinstance(bound.by, BaseChatModel) else bound.model
    kind = "a graph" if bound.graph else "a person" if isinstance(by, Person) else "a function"
    if by is None or isinstance(by, BaseChatModel):
        kind = "a model"
    own = fingerprint.Contract(bound.agent, kind, called(model) if model is not None else "")
    return [own, *(c for other in bound.fallbacks for c in contracts(other))]


def sensitive(bound: Bound) -> bool:
    """Whether an agent is sensitive, or one that may answer in its stead or below it."""
    inside = bound.graph is not None and veils(bound.graph)
    return bound.agent.sensitive or inside or any(map(sensitive, bound.fallbacks))


def distinct(pattern: str, agents: Sequence[Bound], *, taken: Sequence[str] = ()) -> list[str]:
    """The names of agents that become nodes. Raises ContractError when two are equal, or a role has the name."""
    names = [b.agent.name for b in agents]
    for name in names:
        if names.count(name) > 1 or name in taken:
            other = "a role of the pattern" if name in taken else "another agent"
            raise ContractError(f"{pattern}: {name!r} is also the name of {other}; rename the agent")
    return names


def take_tasks(pattern: str, agents: Sequence[Bound]) -> None:
    """Refuse agents with an input of their own where the pattern hands out Tasks. Raises ContractError."""
    for agent in (b.agent for b in agents):
        if agent.input is not Task:
            raise ContractError(
                f"{pattern}: {agent.name!r} takes {agent.input.__name__}, but is handed a Task here; "
                "set input=Task, or put it into a pipeline behind a stage that makes its input"
            )
