"""Runs over one database: start a turn, answer questions, resume, look back, fork.

The command line is a thin layer over this; notebooks and programs use it as well:

    >>> import asyncio
    >>> async def main():
    ...     with Session("memory://") as session:
    ...         ended = await session.run("react", "What is 6 * 7?")
    ...         again = await session.run("react", "And 6 * 8?", thread=ended.thread)
    ...         return ended.outcome, again.outcome, len(await session.threads())
    >>> asyncio.run(main())
    ('completed', 'completed', 1)
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, StateSnapshot

from motet import nested, shelf
from motet.difference import Differs, difference
from motet.ended import Ended, ended_of, questions_of
from motet.load import load
from motet.options import merged, named, options_of
from motet.register import About, Register, step_of
from motet.replayed import Replayed, replay
from motet.upkeep import Pruned, found_wrong, pruned
from runtime.book import Book
from runtime.fingerprint import check, code_of, refuse_lost
from runtime.history import Shown
from runtime.lease import alone
from runtime.persistence import Persistence, open_persistence
from runtime.questions import answers, discarding, overdue
from runtime.sync import Graph
from runtime.travel import at, fork
from state.context import Context
from state.errors import InputError, IntegrityError, ThreadError
from state.record import Record
from state.turn import settle

POLICIES = {"approve", "approvals"}  # options that may decide what is already open

Listen = Callable[[Any], None]
"""Takes in what happens: the folder that is read, the thread that begins, then each call that starts and ends."""


class Session:
    """One open database. Use it as a context manager.

    Raises StorageError, from wherever the database is used, when it cannot be written or read.
    """

    def __init__(self, url: str = "") -> None:
        self.home: Persistence = open_persistence(url)
        self.register = Register(self.home.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.home.close()

    async def run(
        self,
        name: str,
        task: str | Mapping[str, Any],
        *,
        thread: str = "",
        context: Mapping[str, Any] | None = None,
        discard: bool = False,
        listen: Listen | None = None,
        control: RunControl | None = None,
    ) -> Ended:
        """One turn of a pattern, or "module:attribute", on a new thread or a further one on a known thread.

        A further turn keeps the thread's options but for those in `context`. Raises InputError and
        DocumentError for what cannot be run, and ThreadError when the thread belongs to another
        pattern, or its last turn is not over (unless `discard`). Nothing is saved before all that holds.
        """
        graph = load(name)
        given: Any = task if isinstance(task, str) else dict(task)
        goal = settle({"task": given}).goal
        thread = named(thread or f"{name.split(':')[-1]}-{uuid.uuid4().hex[:8]}")
        async with alone(self.home.saver, thread):
            known = await self.register.find(thread)
            if known and known.name != name:
                raise ThreadError(f"thread {thread!r} belongs to {known.name}, not to {name}; take another name")
            head = await self._head(graph, thread)
            if known and not discard and known.outcome(head) in ("waiting", "unfinished"):
                open_ = "; ".join(map(str, questions_of(head))) or "its last turn is not over"
                raise ThreadError(
                    f"thread {thread!r} waits: {open_}. Go on with `motet resume {thread}`, or drop that with --discard"
                )
            options = options_of(merged(known.context if known else {}, context or {}))
            await self._held_against(graph, thread, options, listen, goes_on=False)
            await _look_through(options, listen)
            about = About(
                name=name,
                given=given,
                goal=goal,
                began=time.time(),
                before=step_of(head),
                context=options.model_dump(mode="json", exclude_defaults=True),
            )
            await self.register.keep(thread, about)
            return await self._go(graph, thread, about, {"task": given}, options, listen, control)

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
        A turn that is over, or waits and gets no answer, is only shown; but where the time for an answer is
        over its default counts, and policies in `context` decide what is already open. Raises ThreadError
        for a thread that is unknown, or that its graph has grown away from, and InputError for an answer
        that does not fit: nothing is resumed then.
        """
        async with alone(self.home.saver, thread):
            about, graph = await self._known(thread)
            options = options_of(merged(about.context, context or {}))
            head = await self._head(graph, thread)
            stands = about.outcome(head)
            if answer is not None and stands != "waiting":
                raise InputError(f"thread {thread!r} asks nothing ({stands}): leave the answer out")
            decided = stands == "waiting" and (POLICIES & set(context or {}) or overdue(head))
            if stands != "unfinished" and answer is None and not decided:
                await refuse_lost(self.home.bind(graph), at(thread), about.name)
                return await self._ended(thread, about, head)
            go: Any = None if about.begun(head) else {"task": about.given}
            if answer is not None:
                await answers(self.home.bind(graph), thread, head, answer)
                go = Command(resume=answer)
            await self._held_against(graph, thread, options, listen, goes_on=about.begun(head))
            await _look_through(options, listen)
            return await self._go(graph, thread, about, go, options, listen, control)

    async def fork(self, thread: str, step: str, values: Mapping[str, Any] | None = None, *, inside: str = "") -> str:
        """Begin a new branch at a step, with some channels changed; `resume` goes on with it.

        `inside` is the namespace of a nested graph, where the step is one of its own. A changed `task`
        may be a string. Raises ThreadError for an unknown step, and InputError for a channel that the
        graph does not have. Returns the branch's name.
        """
        async with alone(self.home.saver, thread):
            _, graph = await self._known(thread)
            found, changes = await self.state(thread, step, inside), dict(values or {})
            channels = nested.channels(nested.graph_at(graph, thread, inside))
            if unknown := sorted(set(changes) - set(channels)):
                raise InputError(f"the state has no {', '.join(unknown)}; it has {', '.join(channels)}")
            if isinstance(changes.get("task"), str) and isinstance(found.values.get("task"), dict):
                changes["task"] = {**found.values["task"], "goal": changes["task"]}
            if found.next == ("__start__",):
                raise ThreadError(f"at step {step!r} nothing had run: fork at the one after it")
            id_ = await self._id_of(graph, thread, step, inside)
            return await fork(self.home.bind(graph), thread, id_, namespace=inside, values=changes)

    async def _id_of(self, graph: Graph, thread: str, step: str, inside: str) -> str:
        """The id of a step that may be given by its number: of several turns and branches, the newest with it."""
        if step.isdigit():
            for found in await self.home.saver.ahistory(thread, inside):
                if found.step == int(step):
                    return str(found.id)
        return step

    async def look(self, thread: str) -> Ended:
        """How a thread stands. Raises ThreadError for an unknown one."""
        about, graph = await self._known(thread)
        return await self._ended(thread, about, await self._head(graph, thread))

    async def state(self, thread: str, step: str = "", inside: str = "") -> StateSnapshot:
        """A thread's state at a step, the newest by default; that of a nested graph by its namespace.

        Raises ThreadError for an unknown thread, namespace or step.
        """
        _, graph = await self._known(thread)
        nested.graph_at(graph, thread, inside)
        id_ = await self._id_of(graph, thread, step, inside)
        found = await self.home.bind(graph).aget_state(at(thread, id_, inside), subgraphs=not step)
        if found.created_at is None:
            where = f" inside {inside}" if inside else ""
            raise ThreadError(f"thread {thread!r} has no step {step!r}{where}; list them: motet history {thread}")
        return found

    async def history(self, thread: str, inside: str = "", limit: int | None = None) -> Sequence[Shown]:
        """A thread's steps, newest first; those of a nested graph by its namespace. `state` has the whole of each."""
        _, graph = await self._known(thread)
        nested.graph_at(graph, thread, inside)
        return await self.home.saver.ahistory(thread, inside, limit)  # type: ignore[no-any-return]  # any saver

    async def verify(self, thread: str = "") -> list[str]:
        """Everything that was changed, moved or taken away since it was saved: in a thread, or in the whole database.

        Old steps and records are looked at, too. Raises ThreadError for an unknown thread.
        """
        if thread:
            try:
                await self.register.known(thread)
            except IntegrityError as error:
                return [str(error), *await found_wrong(self.home, thread)]
        return await found_wrong(self.home, thread)

    async def prune(self, thread: str, keep: int = 1) -> Pruned:
        """Drop the steps that were saved before the newest turns, save those that these need.

        The thread goes on as before, and forks from every step that is left. Its books stay: what was done,
        and what it cost. Raises ThreadError for an unknown thread, or one at work, InputError for less than
        one turn, and IntegrityError for a thread that was changed.
        """
        if keep < 1:
            raise InputError(f"{keep} turns cannot be kept: take 1 or more")
        async with alone(self.home.saver, thread):
            _, graph = await self._known(thread)
            return await pruned(self.home, graph, thread, keep)

    async def diff(self, one: str, other: str = "") -> Differs:
        """Two runs, step by step: who ran, what was written, what it cost; nested graphs as well.

        Each is THREAD, THREAD@BRANCH or THREAD@STEP. With one name, a branch is held against what it was forked
        from. Raises ThreadError for an unknown run, and InputError where a second name is needed.
        """
        return await difference(self.home, one, other)

    async def replay(self, run: str) -> Replayed:
        """A turn again, answered by its record: no model, tool or person is asked, and nothing is saved.

        `run` is THREAD, THREAD@BRANCH or THREAD@STEP. Raises ThreadError for an unknown one, and for one
        with sensitive contents, which are not kept.
        """
        return await replay(self.home, run)

    async def calls(self, thread: str, step: str = "", inside: str = "") -> list[Record]:
        """What the book holds of a step's turn: all that had begun by then; of a nested graph, its own."""
        found = await self.state(thread, step, inside)
        root = await self.state(thread, nested.root_step(found)) if inside else found
        records = nested.records_of(await self._records(thread, root), inside)
        end = datetime.fromisoformat(found.created_at or "").timestamp() if step else time.time()
        return [r for r in records if r["at"] <= end]

    async def threads(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest threads: pattern, outcome (or waiting, unfinished, running), task, when its last turn began."""
        return [
            {
                "thread": thread,
                "pattern": about.name,
                "outcome": await self._standing(thread, about),
                "task": about.goal,
                "began": about.began,
            }
            for thread, about in await self.register.newest(limit)
        ]

    async def _standing(self, thread: str, about: About) -> str:
        if self.home.saver.held(thread):
            return "running"
        try:
            return about.outcome(await self._head(load(about.name), thread))
        except InputError:  # a graph of somebody's own that cannot be loaded from here
            return "unknown"

    async def _known(self, thread: str) -> tuple[About, Graph]:
        about = await self.register.known(thread)
        return about, load(about.name)

    async def _head(self, graph: Graph, thread: str) -> StateSnapshot:
        return await self.home.bind(graph).aget_state(at(thread))

    async def _records(self, thread: str, root: StateSnapshot) -> list[Record]:
        branch, turn = root.values.get("branch") or "main", root.values.get("turn") or 0
        return (await Book(self.home.store, thread=thread, branch=branch, turn=turn).load()).records()

    async def _ended(self, thread: str, about: About, head: StateSnapshot, stopped: str = "") -> Ended:
        return ended_of(thread, about, head, await self._records(thread, head), stopped=stopped)

    async def _held_against(
        self, graph: Graph, thread: str, context: Context, listen: Listen | None, *, goes_on: bool
    ) -> None:
        """Say how the code differs from that which left the thread. Raises ThreadError where that matters."""
        bound, tell = self.home.bind(graph), listen or _unheard
        for change in await check(bound, at(thread), code_of(graph, context), goes_on=goes_on):
            tell({"changed": change})

    async def _go(
        self,
        graph: Graph,
        thread: str,
        about: About,
        given: Any,
        context: Context,
        listen: Listen | None,
        control: RunControl | None,
    ) -> Ended:
        tell, stopped = listen or _unheard, ""
        tell({"thread": thread, "pattern": about.name})
        try:
            async for _, part in self.home.bind(graph).astream(
                given,
                discarding(at(thread)) if isinstance(given, dict) else at(thread),
                context=context,
                stream_mode="custom",
                subgraphs=True,
                durability="sync",
                control=control or RunControl(),
            ):
                tell(part)
        except GraphDrained as drained:
            stopped = drained.reason
        return await self._ended(thread, about, await self._head(graph, thread), stopped)


async def _look_through(context: Context, listen: Listen | None) -> None:
    if context.docs:
        tell = listen or _unheard
        tell({"docs": context.docs})
        tell({"docs": context.docs, "refreshed": await shelf.read(Path(context.docs))})


def _unheard(event: Any) -> None:
    """Nobody listens."""
