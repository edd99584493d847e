"""A person who answers for an agent: as one of the team, or in the stead of one that failed."""

from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, ValidationError

from nodes import human
from nodes.asked import Asked, failed, finished, violated
from state.agent import Failure, Reply, Text
from state.decision import Decision
from state.turn import explain


async def from_person(asked: Asked, config: RunnableConfig) -> Reply:
    """A call of an agent whose contract a person fills. Who declines has failed, and the policy decides."""
    case = {"task": asked.given.model_dump(mode="json")}
    said, output = await stand_in(asked, config, case, visit=asked.visit, kind="input")
    if output is None:
        why = f"declined: {said.message or 'no reason given'}"
        return failed(asked.agent, Failure(kind="Declined", message=why, owner="receiver", at=asked.agent.name))
    return finished(asked.agent, output, flag=violated(asked, output))


async def stand_in(
    asked: Asked, config: RunnableConfig, case: dict[str, Any], *, visit: str, kind: Literal["escalation", "input"]
) -> tuple[Decision, dict[str, Any] | None]:
    """A person's decision, and in it the agent's output unless they declined."""
    model = asked.agent.output

    def output_of(message: str) -> BaseModel:
        return model(text=message) if model is Text else model.model_validate_json(message)

    def refuse(message: str) -> str:
        try:
            output_of(message)
        except ValidationError as error:
            return f"the answer must be a {model.__name__} as JSON: {explain(error)}"
        return ""

    said = await human.speak(
        case, agent=asked.agent.name, kind=kind, visit=visit, config=config, runtime=asked.runtime, refuse=refuse
    )
    return said, None if said.type == "reject" else output_of(said.message).model_dump(mode="json")
