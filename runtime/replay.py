"""A run again from its record: every agent, tool and person answers as the book has it, and nothing is done.

A call that the book does not have, or whose input or prompt is another, ends the run there: it is where
the code goes another way than it did.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from langgraph.store.base import BaseStore, GetOp, Op, Result, SearchOp
from langgraph.store.memory import InMemoryStore

from runtime.book import ANY_TASK, Book
from state.record import Kind, Record, timeline, under

What = Literal["call", "lost", "input", "prompt", "tools"]


class PartedError(BaseException):
    """Raised where a replayed run makes a call that its record does not answer. No policy may catch it."""

    def __init__(self, what: What, path: str, visit: str) -> None:
        self.what, self.where = what, f"{path}/{visit}".strip("/")
        super().__init__(f"{SAID[what]} at {self.where}")


class RecordEndedError(PartedError):
    """Raised where a replayed run comes to a call that the saved one, which is not over, had not ended either."""


SAID = {
    "call": "a call that was not made then",
    "lost": "a call whose answer was not kept",
    "input": "another input than then",
    "prompt": "another prompt than then",
    "tools": "other tools than then",
}
ALIKE: dict[Kind, tuple[Kind, ...]] = {"tool": ("tool",), "human": ("human",)}
AGENT: tuple[Kind, ...] = ("model", "function", "graph", "note")


class Recording(Book):
    """A book that answers from the records of a run; `over` says that the run came to its end.

    It shows what was recorded only once it was asked for, as the run itself saw it.
    """

    def __init__(self, script: Iterable[Record], *, thread: str, branch: str, turn: int, over: bool) -> None:
        super().__init__(None, thread=thread, branch=branch, turn=turn)
        self.over, self.answered = over, 0
        self._all = timeline(script)
        self._script: dict[tuple[str, str], list[Record]] = {}
        self._taken: Counter[tuple[str, str, str]] = Counter()
        for record in self._all:
            if record["kind"] != "message":  # what nodes write themselves, they write again
                self._script.setdefault((record["path"], record["visit"]), []).append(record)
            if record["task"] == ANY_TASK:  # it was there when the branch began
                self._keep(record)

    def recorded(self, kind: Kind, *, path: str, visit: str, digest: str, voice: str = "") -> tuple[Any, list[Record]]:
        """What was answered then, and the records that were made for it.

        Raises PartedError, or RecordEndedError where nothing was answered.
        """
        kinds = ALIKE.get(kind, AGENT)
        said = [r for r in self._script.get((path, visit), []) if r["kind"] in kinds]
        answers = [r for r in said if "content" in r and r["outcome"]]
        same = [r for r in answers if digest in ("", r["digest"])]
        if not same:
            if answers:
                raise PartedError("input", path, visit)
            raise (PartedError if self.over else RecordEndedError)("lost" if said else "call", path, visit)
        key = (path, visit, digest)
        found = same[min(self._taken[key], len(same) - 1)]
        self._taken[key] += 1
        if voice and (told := found.get("voice", voice)) != voice:
            raise PartedError("tools" if told.split(".")[0] == voice.split(".")[0] else "prompt", path, visit)
        made = [r for r in said if r["at"] <= found["at"]]
        if kind == "graph":  # not one of ours: what was called below it stands here alone
            made += under(self._all, f"{path}/{visit}".strip("/"))
        new = [r for r in made if r["id"] not in self._records]
        for record in new:
            self._keep(record)
        self.answered += 1
        return found["content"], new


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)


@contextmanager
def replaying(recording: Recording) -> Iterator[None]:
    """Let every call inside be answered by a recording."""
    token = _recording.set(recording)
    try:
        yield
    finally:
        _recording.reset(token)


def recording() -> Recording | None:
    """The recording that answers here, if a run is replayed."""
    return _recording.get()


class Shadow(InMemoryStore):
    """What agents remember, as it was before a run; what is written here goes nowhere."""

    def __init__(self, behind: BaseStore, before: float) -> None:
        super().__init__()
        self._behind, self._before = behind, before

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `InMemoryStore.abatch`: what is not here is looked for behind."""
        asked = list(ops)
        own = await super().abatch(asked)
        older = iter(await self._behind.abatch([op for op in asked if isinstance(op, GetOp | SearchOp)]))
        return [
            _both(mine, next(older), self._before) if isinstance(op, GetOp | SearchOp) else mine
            for op, mine in zip(asked, own, strict=True)
        ]


def _both(mine: Any, theirs: Any, before: float) -> Any:
    """What is here, and what stood behind it in time."""
    if isinstance(theirs, list):
        known = {(item.namespace, item.key) for item in mine}
        return [*mine, *(i for i in theirs if i.created_at.timestamp() < before and (i.namespace, i.key) not in known)]
    return mine or (theirs if theirs is not None and theirs.created_at.timestamp() < before else None)
