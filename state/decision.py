"""What a person is asked, and what they may answer. Any client can draw a form from the schemas."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.plain import unsavable

RequestKind = Literal["approval", "review", "escalation", "input"]
DecisionType = Literal["approve", "edit", "reject", "respond"]

EXPIRY = "expiry"  # who decided where nobody did in time
POLICY = "policy"  # who decided where the run's options did, after a question was already open

DENIED = "the run's options deny it"
LATE = "nobody decided in time"


class ActionRequest(BaseModel):
    """One thing somebody wants to do or to know."""

    model_config = ConfigDict(extra="forbid")

    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    description: str = ""


class ReviewConfig(BaseModel):
    """Which answers one action takes, from whom (empty: from anybody), and which one counts when none comes in time."""

    model_config = ConfigDict(extra="forbid")

    action_name: str
    allowed_decisions: list[DecisionType]
    approvers: list[str] = Field(default_factory=list)
    default: Literal["approve", "reject"] = "reject"


class Request(BaseModel):
    """A question to a person: `action_requests` and `review_configs` agree by position.

    `agent` and `path` say who asks and where in the run. `requested_by` are those who may not approve it, as
    it is their own. `shown` is the hash of all this and of its place in the run: an answer that names it
    in `for` counts for this question only.
    """

    model_config = ConfigDict(extra="forbid")

    v: int = 1
    kind: RequestKind
    action_requests: list[ActionRequest] = Field(min_length=1)
    review_configs: list[ReviewConfig]
    case: dict[str, Any] = Field(default_factory=dict, description="All a person needs to decide")
    agent: str = ""
    path: str = ""
    requested_by: list[str] = Field(default_factory=list)
    expires_at: float | None = Field(None, description="Seconds since the epoch; None never expires")
    shown: str = ""


class Decision(BaseModel):
    """The answer to one action: `args` belongs to edit, `message` to reject and respond."""

    model_config = ConfigDict(extra="forbid")

    type: DecisionType
    args: dict[str, Any] | None = None
    message: str = ""


class Decisions(BaseModel):
    """The answer to one request: one decision per action, in the order of the request."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    decisions: list[Decision] = Field(min_length=1)
    by: str = Field("", description="Who decided")
    shown: str = Field("", alias="for", description="The request's `shown`: an answer to any other is refused")


def mismatch(request: Request, answer: Decisions, *, by: str = "") -> str:
    """Why an answer does not fit its request; empty when it does. `by` is who decided, where that is known better."""
    who = (by or answer.by).strip()
    if who in (EXPIRY, POLICY):
        return f"{who} is the name of nobody: give that of who decides, as `by`"
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
        if decision.type != "reject" and (fault := _not_theirs(request, config, who)):
            return f"{config.action_name} {fault}"
    return ""


def _not_theirs(request: Request, config: ReviewConfig, by: str) -> str:
    """Why somebody may not let an action pass; empty when they may. Anybody may reject."""
    if config.approvers and by not in config.approvers:
        return f"is decided by {' or '.join(config.approvers)}, not by {by or 'somebody without a name'}"
    if by and by in request.requested_by:
        return f"was asked for by {by}, who may not approve it: somebody else has to"
    if not by and len(request.requested_by) > 1:
        return f"was asked for by {request.requested_by[-1]}: give the name of who decides, as `by`"
    return ""


def expired(request: Request, now: float) -> bool:
    """Whether the time for an answer is over; `now` is in seconds since the epoch."""
    return request.expires_at is not None and now >= request.expires_at


def default(request: Request) -> Decisions:
    """What counts where nobody decided in time."""
    return Decisions(
        decisions=[Decision(type=config.default, message=LATE) for config in request.review_configs],
        by=EXPIRY,
        shown=request.shown,
    )


def may_expire(configs: Sequence[ReviewConfig]) -> bool:
    """Whether each action takes the decision that would count for it."""
    return all(config.default in config.allowed_decisions for config in configs)
