"""The record book of a run: what was done, at the moment it was done.

Records stand in LangGraph's Store, so that SQLite, PostgreSQL, the server and memory all serve; a
graph that is bound to no store keeps its book in memory for the run.
"""

import time
from typing import Any

from langgraph.store.base import BaseStore

from state.record import Kind, Record, record_id, timeline, under
from state.record import digest as digest_of

ROOT = "book"
PAGE = 1000
ANY_TASK = "*"  # on records that a fork inherited: whichever task comes to the visit may take them


class Book:
    """The records of one turn of one thread. Reads come from memory, writes go through to the store."""

    def __init__(self, store: BaseStore | None, *, thread: str, branch: str, turn: int) -> None:
        self.store, self.thread, self.branch, self.turn = store, thread, branch, turn
        self.namespace = (ROOT, label(thread), label(branch), f"turn-{turn:06d}")
        self._records: dict[str, Record] = {}
        self._visits: dict[tuple[str, str, str], list[Record]] = {}

    async def load(self) -> "Book":
        """Read what is already there: nothing on a new turn, all that happened before on a resume."""
        offset, page = 0, PAGE
        while self.store is not None and page == PAGE:
            items = await self.store.asearch(self.namespace, limit=PAGE, offset=offset)
            for item in items:
                self._keep(item.value)  # type: ignore[arg-type]  # what `save` put there
            page, offset = len(items), offset + len(items)
        for attempts in self._visits.values():
            attempts.sort(key=lambda r: r["attempt"])
        return self

    def records(self) -> list[Record]:
        """All records, in order of time."""
        return timeline(self._records.values())

    def under(self, path: str) -> list[Record]:
        """The records at or below a path."""
        return under(self._records.values(), path)

    def of(self, path: str, visit: str, kind: Kind) -> list[Record]:
        """The attempts at one visit, first to last."""
        return self._visits.get((path, visit, kind), [])

    def finished(self, path: str, visit: str, kind: Kind, *, task: str, digest: str) -> Record | None:
        """The attempt that this very task already finished well with this very input, if there is one."""
        for record in reversed(self.of(path, visit, kind)):
            if record["outcome"] == "completed" and record["task"] in (task, ANY_TASK) and record["digest"] == digest:
                return record if "content" in record else None
        return None

    async def start(self, kind: Kind, *, agent: str, path: str, visit: str, **known: Any) -> Record:
        """Open a record, before the thing is done; it is durable when this returns."""
        record = self.note(kind, agent=agent, path=path, visit=visit, **known)
        await self.save(record)
        return record

    def note(self, kind: Kind, *, agent: str, path: str, visit: str, **known: Any) -> Record:
        """Open a record in memory only: whoever cannot wait sees to it that it is saved."""
        attempt = len(self.of(path, visit, kind)) + 1
        record: Record = {
            "v": 1,
            "id": record_id(self.thread, self.branch, self.turn, path, visit, attempt, kind),
            "kind": kind,
            "at": time.time(),
            "agent": agent,
            "path": path,
            "visit": visit,
            "attempt": attempt,
            "task": "",
            "digest": "",
            "model": "",
            "tokens_in": 0,
            "tokens_out": 0,
            "cost_microusd": 0,
            "latency_ms": 0.0,
            "outcome": "",
        }
        record.update(known)  # type: ignore[typeddict-item]  # keys of Record, given by the doors
        self._keep(record)
        return record

    async def end(self, record: Record, outcome: str, **known: Any) -> None:
        """Close a record with what came of it."""
        record.update(known)  # type: ignore[typeddict-item]  # keys of Record, given by the doors
        record["outcome"] = outcome
        record["latency_ms"] = round((time.time() - record["at"]) * 1000, 2)
        await self.save(record)

    def _keep(self, record: Record) -> None:
        if record["id"] not in self._records:
            self._visits.setdefault((record["path"], record["visit"], record["kind"]), []).append(record)
        self._records[record["id"]] = record

    async def save(self, record: Record) -> None:
        """Write a record as it stands now."""
        if self.store is not None:
            await self.store.aput(self.namespace, record["id"], dict(record), index=False)


def label(text: str) -> str:
    """A namespace label of any text: the store takes no dots and no empty labels."""
    return text if text and "." not in text and text != "langgraph" else "h-" + digest_of(text)
