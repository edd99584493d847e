"""The record book of a run: what was done, at the moment it was done.

Records stand in LangGraph's Store, so that SQLite, the server and memory all serve; a graph that
is bound to no store keeps its book in memory for the run.
"""

import time
from typing import Any, Protocol, runtime_checkable

from langgraph.store.base import BaseStore, PutOp

from runtime.veil import hidden, keyed
from state.errors import MotetError, StorageError
from state.record import Kind, Record, record_id, timeline, under
from state.record import digest as digest_of

ROOT = "book"
PAGE = 1000
LEAVES = ("model", "function", "tool")  # what takes its time itself, and is not made of others
ANY_TASK = "*"  # on records that a fork inherited: whichever task comes to the visit may take them


@runtime_checkable
class QuickStore(Protocol):
    """A store that can also write at once, or together with what is written next (`runtime.persistence.Store`)."""

    def put_now(self, op: PutOp) -> bool:
        """Write where it stands, if that is possible; says whether it is done."""

    def put_later(self, op: PutOp) -> None:
        """Write with whatever is written next."""

    async def records(self, namespace: tuple[str, ...]) -> list[Any]:
        """All of a book. Raises IntegrityError where it is not as it was saved."""


class Book:
    """The records of one turn of one thread. Reads come from memory, writes go through to the store."""

    def __init__(self, store: BaseStore | None, *, thread: str, branch: str, turn: int) -> None:
        self.store, self.thread, self.branch, self.turn = store, thread, branch, turn
        self.namespace = (ROOT, label(thread), label(branch), f"turn-{turn:06d}")
        self._records: dict[str, Record] = {}
        self._visits: dict[tuple[str, str, str], list[Record]] = {}
        self._quick = store if isinstance(store, QuickStore) else None
        self._at_work: set[str] = set()
        self.veiled = False  # a sensitive agent takes part: what anybody said is kept as hashes only

    async def load(self) -> "Book":
        """Read what is already there: nothing on a new turn, all that happened before on a resume."""
        offset, page = 0, PAGE
        if self._quick is not None:
            for record in await self._quick.records(self.namespace):
                self._keep(record)
            page = 0
        while self.store is not None and page == PAGE:
            items = await self.store.asearch(self.namespace, limit=PAGE, offset=offset)
            for item in items:
                self._keep(item.value)  # type: ignore[arg-type]  # what `save` put there
            page, offset = len(items), offset + len(items)
        for attempts in self._visits.values():
            attempts.sort(key=lambda r: r["attempt"])
        return self

    def digest(self, value: Any, *, sensitive: bool = False) -> str:
        """The digest of an input, as the records of this book have it."""
        return keyed(value) if sensitive or self.veiled else digest_of(value)

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
        if kind in LEAVES:
            self._at_work.add(record["id"])
        return record

    async def end(self, record: Record, outcome: str, *, soon: bool = False, **known: Any) -> None:
        """Close a record with what came of it.

        `soon` lets it be written together with what the node returns, where the store can do that: an
        answer is then durable in the book and in the state at once, or in neither.
        """
        record.update(known)  # type: ignore[typeddict-item]  # keys of Record, given by the doors
        record["outcome"] = outcome
        record["latency_ms"] = round((time.time() - record["at"]) * 1000, 2)
        await self.save(record, soon=soon)

    def _keep(self, record: Record) -> None:
        if record["id"] not in self._records:
            self._visits.setdefault((record["path"], record["visit"], record["kind"]), []).append(record)
        self._records[record["id"]] = record

    async def save(self, record: Record, *, soon: bool = False) -> None:
        """Write a record as it stands now. Raises StorageError when it cannot be kept: then nothing goes on."""
        if record["outcome"]:
            self._at_work.discard(record["id"])
        if self.store is None:
            return
        try:
            kept = hidden(record) if self.veiled or record.get("sensitive") else dict(record)
            key = f"{round(record['at'] * 1e6)}-{record['id']}"  # in order of time, so that rows are appended
            if self._quick is not None:
                op = PutOp(self.namespace, key, kept, False)
                if soon:
                    return self._quick.put_later(op)
                if len(self._at_work) <= 1 and self._quick.put_now(op):
                    return None
            await self.store.aput(self.namespace, key, kept, index=False)
            return None
        except MotetError:
            raise
        except Exception as error:  # whichever store it is
            raise StorageError(
                f"the record book cannot be written: {error}. What was saved stands: mend the cause, then resume"
            ) from error


def label(text: str) -> str:
    """A namespace label of any text: the store takes no dots and no empty labels."""
    return text if text and "." not in text and text != "langgraph" else "h-" + digest_of(text)
