"""One call on its way through the door, and how what comes back is held against the contract."""

import asyncio
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from langchain_core.messages import AnyMessage
from langgraph.runtime import Runtime
from pydantic import BaseModel, ValidationError

from nodes.prompt import voice_of, whole
from runtime import deadline
from runtime.failures import failure_of
from runtime.run import Place, Run
from state.agent import Agent, Failure, Reply, Text
from state.blame import blamed
from state.errors import BudgetError, OutputError
from state.plain import unsavable
from state.turn import explain


@dataclass(frozen=True, slots=True)
class Asked:
    """One call on its way: the contract, the validated input, and where in the run it stands."""

    agent: Agent
    given: BaseModel
    visit: str
    place: Place
    run: Run
    runtime: Runtime[Any]
    task: str
    digest: str
    history: tuple[AnyMessage, ...] | None = None

    def about(self) -> dict[str, Any]:
        """What every record of this call says."""
        return {
            "agent": self.agent.name,
            "path": self.place.path,
            "visit": self.visit,
            "task": self.task,
            "digest": self.digest,
            "tier": self.agent.tier,
            "voice": voice_of(self.agent),
            **({"sensitive": True} if self.agent.sensitive else {}),
        }

    def tell(self, what: str) -> None:
        """Progress, for whoever streams `custom`."""
        self.runtime.stream_writer(
            {"agent": self.agent.name, "path": self.place.path, "visit": self.visit, "call": what}
        )

    def left(self) -> float:
        """Seconds until the run, the task or whoever called is out of time: below 0 when it is, or infinite."""
        seconds = [deadline.left()]
        if (left := self.run.seconds_left) is not None:
            seconds.append(left)
        if (until := getattr(self.given, "deadline", None)) is not None:
            seconds.append(until - time.time())
        return min(seconds)

    def seconds_left(self, own: float) -> float:
        """Seconds that a call may take now, `own` at most. Raises BudgetError when there are none."""
        seconds = min(own, self.left())
        if seconds <= 0:
            raise BudgetError("the time is up")
        return seconds

    def shown(self, reply: Reply) -> dict[str, Any]:
        """What the book keeps of a reply: all of it; it shows nothing of what is sensitive."""
        return {"content": plain(reply)}


VIOLATES = "violates"  # the word by which a flagged reply says so

REPLY = tuple(f.name for f in fields(Reply))


def plain(reply: Reply) -> dict[str, Any]:
    """A reply as plain data. Not `asdict`, which copies every value and costs a tenth of a whole step."""
    out = {name: getattr(reply, name) for name in REPLY}
    return out if reply.error is None else out | {"error": asdict(reply.error)}


def checked(agent: Agent, raw: Any) -> dict[str, Any]:
    """An output that did not come from a model, held against the contract. Raises OutputError."""
    if isinstance(raw, str) and agent.output is Text:
        raw = {"text": raw}
    if isinstance(raw, BaseModel):
        raw = raw.model_dump()
    try:
        output = agent.output.model_validate(raw).model_dump(mode="json")
    except ValidationError as error:
        raise OutputError(f"{agent.name} returned no {agent.output.__name__}: {explain(error)}") from error
    if fault := unsavable(output := whole(output)):
        raise OutputError(f"{agent.name} returned what cannot be saved: {fault}")
    return output


def violated(asked: Asked, output: dict[str, Any]) -> str:
    """The first invariant that does not hold, in its own words; empty when all do."""
    if not asked.agent.invariants:
        return ""
    given = asked.given.model_dump(mode="json")
    return next((f"{i.name}: {i.says}" for i in asked.agent.invariants if not i.holds(given, output)), "")


def finished(agent: Agent, output: dict[str, Any], *, flag: str = "") -> Reply:
    """The reply of a call that brought an output; `flag` is an invariant that still does not hold."""
    return Reply(
        agent=agent.name,
        output=output,
        outcome="degraded" if flag else "completed",
        reason=f"{agent.name} {VIOLATES} {flag}" if flag else "",
        confidence=output.get("confidence"),
        reasoning=str(output.get("reasoning") or ""),
        citations=tuple(c for c in output.get("citations") or () if isinstance(c, str)),
    )


def cut_short(error: BaseException) -> dict[str, Any]:
    """How a record ends that brought nothing, where the failure is not the model's."""
    if isinstance(error, asyncio.CancelledError):
        return {"outcome": "cancelled", "owner": "environment", "reason": "cancelled"}
    fault = failure_of(error, at="")
    return {"outcome": "failed", "owner": fault.owner, "reason": f"{fault.kind}: {fault.message}"[:400]}


def flagged(reply: Reply) -> bool:
    """Whether an output breaks one of its own agent's invariants."""
    return reply.reason.startswith(f"{reply.agent} {VIOLATES} ")


def failed(agent: Agent, fault: Failure) -> Reply:
    """The reply of a call that brought nothing."""
    return Reply(agent=agent.name, output=None, outcome="failed", reason=blamed(fault), error=fault)
