"""Runs over one database: start a turn, answer questions, resume, look back, fork.

The command line is a thin layer over this; notebooks and programs may use it as well.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, Interrupt, StateSnapshot
from pydantic import ValidationError

from motet.load import load
from runtime import models
from runtime.book import Book
from runtime.persistence import Persistence, open_persistence
from runtime.sync import Graph
from runtime.travel import at, fork
from state.context import TIERS, Context
from state.decision import Decisions, Request, mismatch
from state.errors import InputError, StorageError, ThreadError
from state.record import Record
from state.turn import explain, settle

THREADS = ("threads",)
Listen = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked, under the id by which it is answered."""

    id: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a turn stands: an outcome of the patterns, or `waiting` with its questions."""

    thread: str
    pattern: str
    outcome: str
    reason: str = ""
    answer: str = ""
    citations: list[str] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] | None = None
    questions: list[Question] = field(default_factory=list)
    report: str = ""

    def plain(self) -> dict[str, Any]:
        """As plain data, for programs."""
        return asdict(self)


class Session:
    """One open database. Use it as a context manager."""

    def __init__(self, url: str = "") -> None:
        self.home: Persistence = open_persistence(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.home.close()

    async def run(
        self,
        name: str,
        task: str | dict[str, Any],
        *,
        thread: str = "",
        context: Mapping[str, Any] | None = None,
        discard: bool = False,
        listen: Listen | None = None,
        control: RunControl | None = None,
    ) -> Ended:
        """One turn of a pattern on a thread, a new one unless named.

        Raises InputError for what cannot be run, and ThreadError when the thread's last turn is not
        over (unless `discard`), or belongs to another pattern. Nothing is saved before all that holds.
        """
        graph, options = load(name), options_of(context or {})
        settle({"task": task})
        thread = thread or f"{name.split(':')[-1]}-{uuid.uuid4().hex[:8]}"
        known = await self.home.store.aget(THREADS, thread)
        if known is not None and known.value["name"] != name:
            raise ThreadError(
                f"thread {thread!r} belongs to {known.value['name']}, not to {name}; take another --thread"
            )
        if known is not None and not discard and (await self._bound(graph).aget_state(at(thread))).next:
            raise ThreadError(
                f"thread {thread!r} is in the middle of a turn: go on with `motet resume {thread}`, "
                "or give --discard to drop what is open"
            )
        about: dict[str, Any] = {"name": name, "task": task if isinstance(task, str) else task.get("goal", ""), "began": time.time()}
        await self._remember(thread, about | {"context": options.model_dump(mode="json", exclude_defaults=True)})
        return await self._go(graph, thread, {"task": task}, options, listen, control)

    async def resume(
        self,
        thread: str,
        answer: Any = None,
        *,
        context: Mapping[str, Any] | None = None,
        listen: Listen | None = None,
        control: RunControl | None = None,
    ) -> Ended:
        """Go on with a thread: after a crash or a stop, or with an answer to its open questions.

        `answer` is the decisions for the one open question, or a mapping of question ids to decisions.
        Raises ThreadError for an unknown thread, and InputError when the answer does not fit, before
        anything is resumed.
        """
        about, graph = await self._known(thread)
        options = options_of({**about["context"], **(context or {})})
        snapshot = await self._bound(graph).aget_state(at(thread))
        if not snapshot.next:
            return self._ended(thread, about["name"], snapshot)
        go: Command[Any] | None = None
        if snapshot.interrupts:
            if answer is None:
                return self._ended(thread, about["name"], snapshot)
            go = Command(resume=answers(snapshot.interrupts, answer))
        elif answer is not None:
            raise InputError(f"thread {thread!r} asks nothing; resume it without --answer")
        return await self._go(graph, thread, go, options, listen, control)

    async def fork(
        self, thread: str, checkpoint: str, values: Mapping[str, Any] | None = None, *, namespace: str = ""
    ) -> str:
        """Begin a new branch at a step; `resume` goes on with it. See `runtime.travel.fork`."""
        _, graph = await self._known(thread)
        unknown = sorted(set(values or {}) - set(graph.channels)) if not namespace else []
        if unknown:
            raise InputError(
                f"the state has no {', '.join(unknown)}; it has {', '.join(sorted(graph.output_channels))}"
            )
        return await fork(self._bound(graph), thread, checkpoint, namespace=namespace, values=values)

    async def state(self, thread: str, checkpoint: str = "", namespace: str = "") -> StateSnapshot:
        """A thread's state at a step, the newest by default, nested graphs included."""
        _, graph = await self._known(thread)
        snapshot = await self._bound(graph).aget_state(at(thread, checkpoint, namespace), subgraphs=not checkpoint)
        if snapshot.created_at is None:
            raise ThreadError(f"thread {thread!r} has no step {checkpoint!r}; `motet history {thread}` lists them")
        return snapshot

    async def history(self, thread: str, namespace: str = "", limit: int | None = None) -> AsyncIterator[StateSnapshot]:
        """A thread's steps, newest first."""
        _, graph = await self._known(thread)
        async for snapshot in self._bound(graph).aget_state_history(at(thread, namespace=namespace), limit=limit):
            yield snapshot

    async def book(self, thread: str, snapshot: StateSnapshot) -> list[Record]:
        """The records of the turn that a state belongs to."""
        branch, turn = snapshot.values.get("branch") or "main", snapshot.values.get("turn") or 0
        book = await Book(self.home.store, thread=thread, branch=branch, turn=turn).load()
        return book.records()

    async def threads(self, limit: int = 100) -> list[dict[str, Any]]:
        """The threads of this database, the newest first: name of the pattern, task, when, how it stands."""
        items = await self.home.store.asearch(THREADS, limit=limit)
        found = [{"thread": i.key, **i.value} for i in items]
        return sorted(found, key=lambda t: t["began"], reverse=True)

    def ask(self, snapshot: StateSnapshot) -> list[Question]:
        """The open questions of a state."""
        return [Question(i.id, i.value) for i in snapshot.interrupts]

    async def _known(self, thread: str) -> tuple[dict[str, Any], Graph]:
        item = await self.home.store.aget(THREADS, thread)
        if item is None:
            have = [t["thread"] for t in await self.threads(5)]
            raise ThreadError(f"no thread is called {thread!r}; the newest are {', '.join(have) or 'none yet'}")
        return item.value, load(item.value["name"])

    async def _remember(self, thread: str, about: dict[str, Any]) -> None:
        await self.home.store.aput(THREADS, thread, about, index=False)

    def _bound(self, graph: Graph) -> Graph:
        return self.home.bind(graph)

    async def _go(
        self,
        graph: Graph,
        thread: str,
        given: Any,
        context: Context,
        listen: Listen | None,
        control: RunControl | None,
    ) -> Ended:
        bound, name = self._bound(graph), (await self._known(thread))[0]["name"]
        stopped = ""
        try:
            async for _, part in bound.astream(
                given,
                at(thread),
                context=context,
                stream_mode="custom",
                subgraphs=True,
                durability="sync",
                control=control or RunControl(),
            ):
                if listen is not None:
                    listen(part)
        except GraphDrained as drained:
            stopped = drained.reason
        except sqlite3.Error as error:
            raise StorageError(
                f"the database failed: {error}. What was saved stands: mend it, then `motet resume {thread}`"
            ) from error
        snapshot = await bound.aget_state(at(thread))
        ended = self._ended(thread, name, snapshot, stopped)
        known, _ = await self._known(thread)
        await self._remember(thread, {**known, "outcome": ended.outcome})
        return ended

    def _ended(self, thread: str, name: str, snapshot: StateSnapshot, stopped: str = "") -> Ended:
        values, questions = snapshot.values, self.ask(snapshot)
        if questions or snapshot.next:
            waits = bool(questions)
            reason = f"{len(questions)} question(s) to a person" if waits else stopped or "the turn is not over"
            return Ended(
                thread=thread,
                pattern=name,
                outcome="waiting" if waits else "cancelled",
                reason=reason,
                questions=questions,
            )
        answer = values.get("answer")
        return Ended(
            thread=thread,
            pattern=name,
            outcome=values.get("outcome") or "failed",
            reason=values.get("reason") or "",
            answer="" if answer is None else str(answer.get("text") or json.dumps(answer, ensure_ascii=False)),
            citations=list((answer or {}).get("citations") or []),
            usage=dict(values.get("usage") or {}),
            output=answer,
        )


def options_of(given: Mapping[str, Any]) -> Context:
    """The run's options, with every model they name made once, so that a missing key shows before the run.

    Raises InputError naming the option and the mend.
    """
    try:
        context = Context.model_validate(dict(given))
    except ValidationError as error:
        raise InputError(f"{explain(error)}. Known options: {', '.join(Context.model_fields)}") from error
    for tier in TIERS:
        models.model(models.name_of(tier, context))
    return context


def answers(interrupts: tuple[Interrupt, ...], given: Any) -> dict[str, Any]:
    """Answers by question id, each held against its question. Raises InputError with the reason."""
    by_id = {i.id: i.value for i in interrupts}
    if not isinstance(given, dict):
        raise InputError(f"an answer is a JSON object, not {type(given).__name__}")
    if "decisions" in given and len(by_id) == 1:
        given = {next(iter(by_id)): given}
    if "decisions" in given:
        raise InputError(
            f"{len(by_id)} questions are open: answer by id, as {{id: {{decisions: […]}}}}: {', '.join(by_id)}"
        )
    out = {}
    for key, value in given.items():
        if key not in by_id:
            raise InputError(f"no question {key!r} is open; open are {', '.join(by_id)}")
        try:
            said, asked = Decisions.model_validate(value), Request.model_validate(by_id[key])
        except ValidationError as error:
            raise InputError(f"the answer to {key} does not fit: {explain(error)}") from error
        if fault := mismatch(asked, said):
            raise InputError(f"the answer to {key} does not fit: {fault}")
        out[key] = said.model_dump(mode="json")
    if not out:
        raise InputError(f"the answer is empty; open questions are {', '.join(by_id)}")
    return out
