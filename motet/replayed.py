"""A saved turn, run again from its record on a scratch database: no model, tool or person is asked."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import StateSnapshot

from motet.difference import Place, booked, place, taken
from motet.ended import text_of
from motet.register import Register
from runtime.fingerprint import CODES, MARK, code_of
from runtime.persistence import Persistence, open_persistence
from runtime.replay import PartedError, RecordEndedError, Recording, Shadow, replaying
from runtime.steps import start, steps
from runtime.sync import Graph
from runtime.travel import at
from state.comparison import Pair, Step, pairs
from state.context import Context
from state.errors import MotetError, ThreadError
from state.fingerprint import Code, changes, said
from state.record import Record


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay. `parted` says in words where the code goes another way, and `at` which step that is.

    `answered` counts the calls that the record answered; `changed` says how the code differs from then.
    """

    run: str
    same: bool
    parted: str
    at: Pair | None
    answered: int
    steps: int
    outcome: str
    answer: str
    changed: list[str]

    def plain(self) -> dict[str, Any]:
        """As plain data, for programs."""
        return asdict(self)


async def replay(home: Persistence, name: str) -> Replayed:
    """Run a turn again from its record, and hold it against what was saved.

    `name` is THREAD, THREAD@BRANCH or THREAD@STEP. Raises ThreadError for an unknown one, one whose turn has
    not begun, and one whose contents are sensitive: those are not kept.
    """
    where = await place(home, name)
    records, saved = await booked(home, where), await taken(home, where)
    _refuse_hidden(where, records)
    began = await start(where.graph, where.thread, where.step)
    recording = Recording(
        records, thread=where.thread, branch=where.branch, turn=where.turn, over=not (saved and saved[-1]["open"])
    )
    scratch = await _scratch(home, where, began)
    bound: Graph = where.graph.copy({"checkpointer": scratch.saver, "store": scratch.store})
    context = _context((await Register(home.store).known(where.thread)).context)
    parted, over, ended = "", False, None
    with replaying(recording):
        try:
            await bound.ainvoke(None, at(where.thread), context=context, durability="sync")
            over = True
        except RecordEndedError as error:
            ended = error
        except PartedError as error:
            parted = str(error)
        except MotetError as error:
            parted = str(error)
    again = await steps(bound, where.thread)
    if ended is not None and ended.what == "call" and len(again) < len(saved):
        parted = str(ended)  # the saved run got further, without that call
    both = [p for p in pairs(saved, again) if over or p["ran"][1] is not None]
    first = next((p for p in both if p["differs"]), None)
    if first is not None:
        parted = "; ".join(filter(None, (_said(first), parted)))
    elif parted:
        first = _open(again)
    head = (await bound.aget_state(at(where.thread))).values
    return Replayed(
        run=f"{where.thread}@{where.branch}",
        same=not parted,
        parted=parted,
        at=first,
        answered=recording.answered,
        steps=len(again),
        outcome=(head.get("outcome") or "") if over else "",
        answer=text_of(head.get("answer")) if over else "",
        changed=await _changed(where, began, context),
    )


def _said(pair: Pair) -> str:
    """How a step differs, in words."""
    was, now = (", ".join(r) if r else "nothing" for r in pair["ran"])
    inside = f" inside {pair['inside']}" if pair["inside"] else ""
    if pair["differs"] == "routing":
        return f"{now} runs at step {pair['number']}{inside}, where {was} ran then"
    return f"{', '.join(pair['wrote'])} of {now} at step {pair['number']}{inside} differs"


def _open(steps: list[Step], inside: str = "") -> Pair | None:
    """The innermost step that did not end."""
    if not steps or not steps[-1]["open"]:
        return None
    last = steps[-1]
    for name, below in last["below"].items():
        if (found := _open(below, f"{inside}/{name}".strip("/"))) is not None:
            return found
    return Pair(inside=inside, number=last["number"], ran=(last["ran"], last["ran"]), wrote={}, differs="")


def _refuse_hidden(where: Place, records: list[Record]) -> None:
    if hidden := sorted({r["agent"] for r in records if r.get("hidden") or r.get("sensitive")}):
        raise ThreadError(
            f"thread {where.thread!r} cannot be replayed: {', '.join(hidden)} took part in a run with sensitive "
            "contents, of which the book has hashes only"
        )
    if not records and where.turn == 0:
        raise ThreadError(f"thread {where.thread!r} cannot be replayed: no turn of it has begun")


def _context(given: dict[str, Any]) -> Context:
    """The options of the run; a folder that is not here is not needed, as no tool runs."""
    context = Context.model_validate(given)
    folder = context.docs_folder()
    return context if folder is None or folder.is_dir() else context.model_copy(update={"docs": ""})


async def _scratch(home: Persistence, where: Place, began: StateSnapshot) -> Persistence:
    """A database in memory that holds what there was when the run began."""
    scratch, first = open_persistence("memory://"), str(began.config["configurable"]["checkpoint_id"])
    tasks = tuple(f"{task.name}:{task.id}" for task in began.tasks)
    rows: dict[str, list[CheckpointTuple]] = {}
    async for row in home.saver.alist({"configurable": {"thread_id": where.thread}}):
        rows.setdefault(row.config["configurable"].get("checkpoint_ns") or "", []).append(row)
    for namespace, found in rows.items():
        if not namespace or namespace.startswith(tasks):
            changed = (r.checkpoint["id"] for r in found if namespace and r.metadata.get("source") == "update")
            last = max(first, *changed, "")
            await _copy(scratch.saver, where.thread, namespace, [r for r in found[::-1] if r.checkpoint["id"] <= last])
    before = datetime.fromisoformat(began.created_at or "").timestamp()
    return replace(scratch, store=Shadow(home.store, before))


async def _copy(saver: Any, thread: str, namespace: str, rows: list[CheckpointTuple]) -> None:
    """Copy steps, without what was pending at the last one: there the run begins."""
    for row in rows:
        parent = row.parent_config["configurable"]["checkpoint_id"] if row.parent_config else ""
        metadata = {k: v for k, v in row.metadata.items() if k != MARK}
        versions = row.checkpoint["channel_versions"]
        saved = await saver.aput(at(thread, parent, namespace), row.checkpoint, metadata, versions)
        if row is rows[-1]:
            return
        by_task: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in row.pending_writes or []:
            by_task.setdefault(task, []).append((channel, value))
        for task, writes in by_task.items():
            await saver.aput_writes(saved, writes, task)


async def _changed(where: Place, began: StateSnapshot, context: Context) -> list[str]:
    """How the code differs from that which began the run."""
    mark = (began.metadata or {}).get(MARK)
    kept = await where.graph.store.aget(CODES, str(mark)) if mark and where.graph.store is not None else None
    if kept is None:
        return []
    was, now = Code(**kept.value), code_of(where.graph, context)
    wired = list(changes(was.wiring, now.wiring))
    return [*(said(c, wired) for c in wired), *(said(c) for c in changes(was.voice, now.voice))]
