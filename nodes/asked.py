"""One call on its way through the door, and how what comes back is held against the contract."""

import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from langchain_core.messages import AnyMessage
from langgraph.runtime import Runtime
from pydantic import BaseModel, ValidationError

from nodes.prompt import whole
from runtime.run import Place, Run
from state.agent import Agent, Failure, Reply, Text
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
            **({"sensitive": True} if self.agent.sensitive else {}),
        }

    def tell(self, what: str) -> None:
        """Progress, for whoever streams `custom`."""
        self.runtime.stream_writer(
            {"agent": self.agent.name, "path": self.place.path, "visit": self.visit, "call": what}
        )

    def seconds_left(self) -> float:
        """Seconds that a call may take now. Raises BudgetError when there are none."""
        seconds = [self.agent.limits.seconds_per_call]
        if (left := self.run.seconds_left) is not None:
            seconds.append(left)
        if (deadline := getattr(self.given, "deadline", None)) is not None:
            seconds.append(deadline - time.time())
        if min(seconds) <= 0:
            raise BudgetError("the time is up")
        return min(seconds)

    def shown(self, reply: Reply) -> dict[str, Any]:
        """What the book keeps of a reply: all of it; it shows nothing of what is sensitive."""
        return {"content": plain(reply)}


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
        reason=f"{agent.name} violates {flag}" if flag else "",
        confidence=output.get("confidence"),
        reasoning=str(output.get("reasoning") or ""),
        citations=tuple(c for c in output.get("citations") or () if isinstance(c, str)),
    )


def failed(agent: Agent, fault: Failure) -> Reply:
    """The reply of a call that brought nothing."""
    whose = "" if fault.owner == "receiver" else f" ({fault.owner})"
    return Reply(
        agent=agent.name, output=None, outcome="failed", reason=f"{agent.name}{whose}: {fault.message}", error=fault
    )
