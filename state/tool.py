"""What a tool is, and what it is told about the call it serves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from state.context import User

Effects = Literal["none", "idempotent", "irreversible"]


class Arguments(BaseModel):
    """Base of every tool's arguments: an unknown argument is refused, never dropped."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool knows besides its arguments.

    `key` is the same for the same call after a crash (an outer system can dedupe by it); `deadline`
    is seconds since the epoch, or None; `tokens_left` is what the run may still spend, or None
    without a limit; `docs` is the folder a run may read, `out` the one it may write files to.
    """

    user: User = field(default_factory=User)
    key: str = ""
    deadline: float | None = None
    tokens_left: int | None = None
    docs: Path | None = None
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One thing an agent may do: what it is for, what it takes, what it changes, how long it may take.

    `run` is a coroutine function of (validated arguments, ToolContext) that returns plain data
    (str, numbers, lists, dicts) or raises ToolError. `timeout` is in seconds. `effects` is "none"
    (reading), "idempotent" (twice is once) or "irreversible" (waits for approval).
    """

    name: str
    description: str
    args: type[Arguments]
    run: Callable[[Any, ToolContext], Awaitable[Any]]
    effects: Effects = "none"
    timeout: float = 30.0
