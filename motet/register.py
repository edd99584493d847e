"""The threads of a database by name: which pattern each runs, what it was asked last, with which options."""

import difflib
from dataclasses import asdict, dataclass
from typing import Any

from langgraph.store.base import BaseStore
from langgraph.types import StateSnapshot

from state.errors import ThreadError

NAMESPACE = ("threads",)
TIES = 100  # threads that may have been kept within one second: the store knows no finer time


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a thread beside its state.

    `given` is the input of its newest turn, and `before` the step at which that turn was to begin, so
    that a turn whose process died before its first step can still be begun.
    """

    name: str
    given: Any
    goal: str
    began: float
    before: str
    context: dict[str, Any]

    def begun(self, head: StateSnapshot) -> bool:
        """Whether the newest turn has saved a step."""
        return step_of(head) != self.before

    def outcome(self, head: StateSnapshot) -> str:
        """How the newest turn stands: an outcome, `waiting` or `unfinished`."""
        return outcome_of(head) if self.begun(head) else "unfinished"


def outcome_of(snapshot: StateSnapshot) -> str:
    """In one word: the outcome of a turn that is over, else `waiting` for a person or `unfinished`."""
    if snapshot.interrupts:
        return "waiting"
    if snapshot.tasks or snapshot.created_at is None:
        return "unfinished"  # also where `next` is empty: all of a step was saved, but not the step
    return snapshot.values.get("outcome") or "failed"


def step_of(snapshot: StateSnapshot) -> str:
    """The id of a saved step; empty where nothing is saved."""
    return str(snapshot.config.get("configurable", {}).get("checkpoint_id") or "")


class Register:
    """The threads of a store."""

    def __init__(self, store: BaseStore) -> None:
        self.store = store

    async def find(self, thread: str) -> About | None:
        """What is known of a thread, or None."""
        item = await self.store.aget(NAMESPACE, thread)
        return About(**item.value) if item else None

    async def known(self, thread: str) -> About:
        """What is known of a thread. Raises ThreadError with the nearest names for an unknown one."""
        if (about := await self.find(thread)) is not None:
            return about
        names = [name for name, _ in await self.newest(1000)]
        near = difflib.get_close_matches(thread, names, n=3, cutoff=0.5) or names[:3]
        hint = f"did you mean {' or '.join(near)}? `motet threads` lists all" if near else "there are no threads yet"
        raise ThreadError(f"no thread is called {thread!r}; {hint}")

    async def newest(self, limit: int) -> list[tuple[str, About]]:
        """The threads last begun, the newest first."""
        items = await self.store.asearch(NAMESPACE, limit=limit + TIES)
        found = [(item.key, About(**item.value)) for item in items]
        return sorted(found, key=lambda pair: pair[1].began, reverse=True)[:limit]

    async def keep(self, thread: str, about: About) -> None:
        """Write down a turn before it begins."""
        await self.store.aput(NAMESPACE, thread, asdict(about), index=False)
