"""The contract of an agent, and what comes back when one is called.

An agent is frozen data. Who answers under it (a model, a tool loop, a function, any compiled graph)
is decided by `graphs.bind.bind`, so that swapping the one who answers never touches a pattern.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.context import Tier
from state.errors import ContractError
from state.task import Task
from state.tool import Tool

Outcome = Literal["completed", "degraded", "escalated", "rejected", "out_of_budget", "cancelled", "failed"]
Owner = Literal["sender", "receiver", "environment"]
Action = Literal["retry", "fallback", "degrade", "escalate", "abort"]


SECONDS = 120.0  # that one call of a model or a function may take, where nothing is said


class Text(BaseModel):
    """The default output of an agent: a text, with what supports it."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="The answer")
    citations: list[str] = Field(default_factory=list, description="Sources of the answer, as file#section")
    confidence: float | None = Field(None, ge=0, le=1, description="How sure the answer is, 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one agent may use. Tokens per call bound the *output* of one model call; seconds are per call.

    Without a word on seconds, a model or a function has two minutes for one call, and a graph as long as it takes.
    """

    tokens_per_call: int = 4096
    tokens_per_run: int | None = None
    seconds_per_call: float | None = None
    repairs: int = 2
    steps: int = 12

    @property
    def seconds(self) -> float:
        """What one call of a model or a function may take."""
        return SECONDS if self.seconds_per_call is None else self.seconds_per_call


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFailure:
    """What follows when an agent has failed for good: `attempts` belongs to retry, `to` to fallback."""

    action: Action = "degrade"
    attempts: int = 2
    to: tuple[Any, ...] = ()


def retry(attempts: int = 2) -> OnFailure:
    """Call again, `attempts` times in all."""
    return OnFailure(action="retry", attempts=attempts)


def fallback(*to: Any) -> OnFailure:
    """Call these instead, in order: anything that `bind` takes."""
    return OnFailure(action="fallback", to=to)


DEGRADE = OnFailure(action="degrade")
ESCALATE = OnFailure(action="escalate")
ABORT = OnFailure(action="abort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A named predicate over (input, output) that must hold; `says` is what the agent is told when it does not."""

    name: str
    holds: Callable[[dict[str, Any], dict[str, Any]], bool]
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """One responsibility under one contract.

    `critical` says whether its failure fails what it is part of; `sensitive` keeps its input and
    output out of the book and of traces; `cache` answers the same input from the cache; `review` puts
    each answer to a person, who accepts it, edits it, sends it back with comments, or rejects it.
    Raises ContractError when a part is missing or contradicts another.
    """

    name: str
    responsibility: str
    instructions: str = ""
    input: type[BaseModel] = Task
    output: type[BaseModel] = Text
    tools: tuple[Tool, ...] = ()
    tier: Tier = "worker"
    on_failure: OnFailure = DEGRADE
    critical: bool = True
    limits: Limits = field(default_factory=Limits)
    invariants: tuple[Invariant, ...] = ()
    sensitive: bool = False
    cache: bool = False
    review: bool = False

    def __post_init__(self) -> None:
        for fault in faults(self):
            raise ContractError(f"agent {self.name!r}: {fault}")


def faults(agent: Agent) -> list[str]:
    """What is wrong with a contract, each with its mend; empty when it is sound."""
    out = []
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", agent.name):
        out.append("the name must be lower case letters, digits and _, beginning with a letter (at most 64)")
    said = agent.responsibility.strip()
    if not said or "\n" in said or re.search(r"[.!?]\s+\S", said):
        out.append(f"the responsibility must be one sentence, not {said!r}; split the agent, or say it shorter")
    names = [t.name for t in agent.tools]
    if repeated := sorted({n for n in names if names.count(n) > 1}):
        out.append(f"tools are listed twice: {', '.join(repeated)}; name each once")
    if agent.on_failure.action == "fallback" and not agent.on_failure.to:
        out.append("on_failure is fallback, to nobody; name the agents: fallback(other)")
    if agent.on_failure.attempts < 1:
        out.append("on_failure.attempts must be at least 1")
    limits = agent.limits
    for name, value in (
        ("tokens_per_call", limits.tokens_per_call),
        ("tokens_per_run", limits.tokens_per_run),
        ("seconds_per_call", limits.seconds_per_call),
        ("steps", limits.steps),
    ):
        if value is not None and value <= 0:
            out.append(f"limits.{name} must be above 0, not {value}")
    if limits.repairs < 0:
        out.append(f"limits.repairs must be 0 or more, not {limits.repairs}")
    if agent.cache and agent.tools:
        out.append("an agent with tools cannot be cached; cache the agent that uses its answer, or drop cache=True")
    if agent.cache and agent.sensitive:
        out.append("a sensitive agent cannot be cached: its answers are not to be kept; drop one of the two")
    return out


@dataclass(frozen=True, slots=True)
class Person:
    """Who answers where a person fills the contract: `bind(agent, PERSON)`. Every call is a question to them."""


PERSON = Person()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call failed and whose it is; plain enough to stand in a channel once `asdict`ed."""

    kind: str
    message: str
    owner: Owner
    retryable: bool = False
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back through the door. A failure is returned, never raised, so that what was spent is not lost.

    `message` is there instead of an output when a tool loop's model asked for tools.
    """

    agent: str
    output: dict[str, Any] | None
    outcome: Outcome = "completed"
    reason: str = ""
    error: Failure | None = None
    confidence: float | None = None
    reasoning: str = ""
    citations: tuple[str, ...] = ()
    usage: dict[str, int] = field(default_factory=dict)
    message: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an output to go on with."""
        return self.output is not None
