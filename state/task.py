"""A task: what to do, under which constraints, and what success looks like."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Task(BaseModel):
    """What an agent or a pattern is asked. Only `goal` is required; `deadline` is seconds since the epoch."""

    model_config = ConfigDict(extra="forbid")

    goal: str = Field(description="What is to be done or answered")
    context: dict[str, Any] = Field(default_factory=dict, description="What is already known, by name")
    constraints: list[str] = Field(default_factory=list, description="What must hold on the way")
    success: list[str] = Field(default_factory=list, description="How to tell that it is done")
    otherwise: str = Field("", description="What to do when it cannot be done")
    deadline: float | None = Field(None, description="Seconds since the epoch after which no work begins")
    critical: bool = Field(True, description="Whether a failure here fails what it is part of")
    turn: int = Field(0, description="Set by the graph once the turn is settled; a client leaves it out")
