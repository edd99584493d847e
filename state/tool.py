"""What a tool is, and what it is told about the call it serves."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from state.context import User
from state.errors import ContractError

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

    `run` is a function of (validated arguments, ToolContext) that returns plain data (str, numbers, lists,
    dicts) or raises ToolError. `timeout` is in seconds. `effects` is "none" (reading), "idempotent" (twice is
    once) or "irreversible" (waits for approval).

    A coroutine function shares the event loop: it must never block. A plain function runs in a worker process
    and is killed when it is late; one that only this process has (a closure, or what a script or a notebook
    defines) runs on a thread, which goes on by itself. `isolated` says that a coroutine function needs the
    worker process, too, and that a plain one must have it. Raises ContractError when it cannot.
    """

    name: str
    description: str
    args: type[Arguments]
    run: Callable[[Any, ToolContext], Any]
    effects: Effects = "none"
    timeout: float = 30.0
    isolated: bool = False

    def __post_init__(self) -> None:
        if self.isolated and not movable(self.run):
            raise ContractError(
                f"tool {self.name!r}: isolated=True needs a function that stands at the top of a module: a worker "
                "process cannot load a closure, a lambda, or what a script or a notebook defines"
            )


def movable(function: Callable[..., Any]) -> bool:
    """Whether another process can load a function: not one of the main script, which it does not run again."""
    if getattr(function, "__module__", "__main__") == "__main__":
        return False
    try:
        pickle.dumps(function)
    except Exception:  # whatever an object raises when it is pickled
        return False
    return True
