"""What a person is asked, and what they may answer. Any client can draw a form from the schemas."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.plain import unsavable

RequestKind = Literal["approval", "review", "escalation", "input"]
DecisionType = Literal["approve", "edit", "reject", "respond"]


class ActionRequest(BaseModel):
    """One thing somebody wants to do or to know."""

    model_config = ConfigDict(extra="forbid")

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    description: str = ""


class ReviewConfig(BaseModel):
    """Which answers one action takes."""

    model_config = ConfigDict(extra="forbid")

    action_name: str
    allowed_decisions: list[DecisionType]


class Request(BaseModel):
    """A question to a person: `action_requests` and `review_configs` agree by position."""

    model_config = ConfigDict(extra="forbid")

    v: int = 1
    kind: RequestKind
    action_requests: list[ActionRequest] = Field(min_length=1)
    review_configs: list[ReviewConfig]
    case: dict[str, Any] = Field(default_factory=dict, description="All a person needs to decide")
    expires_at: float | None = Field(None, description="Seconds since the epoch; None never expires")


class Decision(BaseModel):
    """The answer to one action: `args` belongs to edit, `message` to reject and respond."""

    model_config = ConfigDict(extra="forbid")

    type: DecisionType
    args: dict[str, Any] | None = None
    message: str = ""


class Decisions(BaseModel):
    """The answer to one request: one decision per action, in the order of the request."""

    model_config = ConfigDict(extra="forbid")

    decisions: list[Decision] = Field(min_length=1)
    by: str = Field("", description="Who decided")


def mismatch(request: Request, answer: Decisions) -> str:
    """Why an answer does not fit its request; empty when it does."""
    asked, said = len(request.action_requests), len(answer.decisions)
    if asked != said:
        return f"{asked} decision(s) are needed, in the order of the request, not {said}"
    for config, decision in zip(request.review_configs, answer.decisions, strict=True):
        if decision.type not in config.allowed_decisions:
            return f"{config.action_name} takes {' or '.join(config.allowed_decisions)}, not {decision.type}"
        if fault := unsavable(decision.args):
            return f"{config.action_name}: {fault}"
        if decision.type == "edit" and decision.args is None:
            return f"{config.action_name}: an edit needs args"
        if decision.type == "respond" and not decision.message.strip():
            return f"{config.action_name}: a response needs a message"
    return ""
