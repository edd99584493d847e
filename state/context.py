"""The options of a run: what it is given besides its input."""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from state.policy import checked

Tier = Literal["planner", "worker", "judge"]
Approval = Literal["auto", "ask", "deny"]

NOBODY = "anonymous"
TIERS: tuple[Tier, ...] = ("planner", "worker", "judge")


class User(BaseModel):
    """Who asks. Tools receive it, and see only what this user may see."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: str = NOBODY
    groups: tuple[str, ...] = ()


class Context(BaseModel):
    """Options of a run; every field has a default, so that no context is a valid context.

    A model is named `offline`, `openai:<name>`, or any name registered with the house's models; several,
    with commas between them, are a model and its fallbacks. A limit that is None does not bind. Money is
    in US dollars, time in seconds.
    """

    model_config = ConfigDict(extra="forbid")

    planner: str = Field(
        "", description="Model of the agents that plan; empty: MOTET_PLANNER, else MOTET_MODEL, else offline"
    )
    worker: str = Field(
        "", description="Model of the agents that work; empty: MOTET_WORKER, else MOTET_MODEL, else offline"
    )
    judge: str = Field(
        "", description="Model of the agents that judge; empty: MOTET_JUDGE, else MOTET_MODEL, else offline"
    )
    docs: str = Field("", description="Folder of documents that the run may read; empty: MOTET_DOCS, else none")
    user: User = User()
    approve: Approval = Field(
        "ask", description="What happens before an irreversible tool runs: ask a person, auto-approve, or deny"
    )
    approvals: dict[str, str] = Field(
        {},
        description="What happens instead, by AGENT.TOOL, TOOL, AGENT or *: auto, deny, or "
        "ask [above ARGUMENT NUMBER] [by NAME,NAME] [within SECONDS [else approve|reject]]",
    )
    expires: float | None = Field(
        None,
        gt=0,
        description="Seconds that a question to a person stays open; what it asks for then counts as rejected",
    )
    max_tokens: int | None = Field(None, ge=1, description="Tokens the whole run may use, in and out")
    max_usd: float | None = Field(None, gt=0, description="Dollars the whole run may cost")
    max_calls: int | None = Field(None, ge=1, description="Model calls the whole run may make")
    max_seconds: float | None = Field(
        None, gt=0, description="Seconds from the start of a turn in which calls may begin"
    )
    max_concurrency: int = Field(
        16, ge=1, description="Model and tool calls at once, over all branches and nested graphs"
    )
    seed: int = Field(0, description="Seeds whatever a pattern shuffles")

    _readable = field_validator("approvals")(checked)

    def model_of(self, tier: Tier) -> str:
        """The model's name of a tier, or an empty string where the environment decides."""
        return {"planner": self.planner, "worker": self.worker, "judge": self.judge}[tier]

    def docs_folder(self) -> Path | None:
        """The folder a run may read, or None."""
        named = self.docs or os.environ.get("MOTET_DOCS", "")
        return Path(named).expanduser() if named else None
