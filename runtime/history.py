"""What a list shows of a thread's steps: written beside each step, under its seal, so that a list reads none."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata
from langgraph.types import Send

QUERY = (
    "SELECT checkpoint_id, about FROM steps WHERE thread_id = ? AND checkpoint_ns = ? AND digest != ? "
    "ORDER BY checkpoint_id DESC"
)


class Shown(NamedTuple):
    """One step of a history: its id and number, when and by what it was saved, what comes next, and how the turn stood.

    `at` is in ISO 8601; `next` is empty at the end of a turn; of a step that was saved before Motet wrote this
    down, and cannot be read any more, only the id is known.
    """

    thread: str
    namespace: str
    id: str
    step: int | None = None
    source: str = ""
    at: str = ""
    next: tuple[str, ...] = ()
    branch: str = "main"
    turn: int = 0
    outcome: str = ""

    @property
    def config(self) -> RunnableConfig:
        """Where the whole of it is found: for `get_state`, or to run on from it."""
        where = {"thread_id": self.thread, "checkpoint_ns": self.namespace, "checkpoint_id": self.id}
        return {"configurable": where}


def shown(thread: str, namespace: str, id_: str, about: str) -> Shown:
    """A step of what stands beside it."""
    said = orjson.loads(about)
    return Shown(thread, namespace, id_, **{**said, "next": tuple(said.get("next", ()))})


def about(checkpoint: Checkpoint, metadata: CheckpointMetadata) -> str:
    """What a history shows of a step, so that it need not read the whole of it."""
    values: Mapping[str, Any] = checkpoint.get("channel_values") or {}
    own = {name: values.get(name) for name in ("branch", "turn", "outcome") if values.get(name)}
    shown = {"step": metadata.get("step"), "source": metadata.get("source"), "at": checkpoint.get("ts")}
    return orjson.dumps({**shown, "next": next_of(values), **own}, default=str).decode()


def next_of(values: Mapping[str, Any]) -> list[str]:
    """The nodes that run next, read from the channels that trigger them: once for every packet sent, and others."""
    named = [name.removeprefix("branch:to:") for name in values if name.startswith("branch:to:")]
    joined = [
        name.rsplit(":", 1)[1] for name, seen in values.items() if name.startswith("join:") and _all_in(name, seen)
    ]
    sent = [send.node for send in values.get("__pregel_tasks") or [] if isinstance(send, Send)]
    start = ["__start__"] if "__start__" in values else []
    return [*sent, *start, *sorted({*named, *joined})]


def _all_in(name: str, seen: Iterable[str]) -> bool:
    return set(name.split(":")[1].split("+")) <= set(seen)
