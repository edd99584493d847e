"""Time travel: fork a thread at any step, also inside a nested graph, and go on from there.

A fork makes a new branch. Its book inherits every call that had ended by then, so that none of them
is made again; what comes after runs anew, under keys of the new branch.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.constants import START
from langgraph.types import StateSnapshot

from runtime.book import ANY_TASK, Book
from runtime.sync import Graph
from state.errors import ThreadError
from state.record import Record


def at(thread: str, checkpoint: str = "", namespace: str = "") -> RunnableConfig:
    """The config of one step of a thread; of its newest one without a checkpoint."""
    configurable = {"thread_id": thread, "checkpoint_ns": namespace}
    if checkpoint:
        configurable["checkpoint_id"] = checkpoint
    return {"configurable": configurable}


async def fork(
    graph: Graph, thread: str, checkpoint: str, *, namespace: str = "", values: Mapping[str, Any] | None = None
) -> str:
    """Begin a new branch at a step, with some channels changed; returns the branch's name.

    `namespace` is that of a nested graph ("node:task|node:task"), where the step is one of its own.
    Afterwards the thread's head is the fork: run it with no input. Raises ThreadError for an unknown
    step, or channels that the graph does not have.
    """
    saver = _saver(graph)
    forked = await _step(graph, thread, checkpoint, namespace)
    levels = namespace.split("|") if namespace else []
    root, chain = await _ancestors(graph, thread, checkpoint, levels)
    old, turn = root.values.get("branch") or "main", root.values.get("turn") or 0
    branch = await _new_branch(graph, thread, old)
    await _inherit(graph, thread, old, branch, turn, until=forked)
    if (root.metadata or {}).get("source") == "input" and not levels:
        raise ThreadError(
            "the first step of a turn is its input: give the thread a new one instead of forking it there"
        )
    changes = dict(values or {})
    await _update(graph, root, {"branch": branch} | ({} if levels else changes))
    space = ""
    for depth, level in enumerate(levels):
        name, task = level.split(":", 1)
        here = await graph.aget_state(at(thread, namespace=space))
        before = chain[depth]
        place = [t.id for t in before.tasks if t.name == name].index(task)
        space = (space + "|" if space else "") + f"{name}:{[t.id for t in here.tasks if t.name == name][place]}"
        last = chain[depth + 1].config["configurable"]["checkpoint_id"]
        await _copy(saver, thread, "|".join(levels[: depth + 1]), space, last)
    if levels and changes:
        await _update(graph, await graph.aget_state(at(thread, namespace=space)), changes)
    return branch


async def _step(graph: Graph, thread: str, checkpoint: str, namespace: str) -> StateSnapshot:
    found = await graph.aget_state(at(thread, checkpoint, namespace))
    if found.created_at is None:
        raise ThreadError(f"thread {thread!r} has no step {checkpoint!r}; list its steps with: motet history {thread}")
    return found


async def _ancestors(
    graph: Graph, thread: str, checkpoint: str, levels: list[str]
) -> tuple[StateSnapshot, list[StateSnapshot]]:
    """The steps from the root down in which each nested graph was called, and the forked step last."""
    chain: list[StateSnapshot] = []
    for depth, level in enumerate(levels):
        task = level.split(":", 1)[1]
        chain.append(await _caller(graph, thread, "|".join(levels[:depth]), task))
    chain.append(await _step(graph, thread, checkpoint, "|".join(levels)))
    return chain[0], chain


async def _caller(graph: Graph, thread: str, namespace: str, task: str) -> StateSnapshot:
    async for snapshot in graph.aget_state_history(at(thread, namespace=namespace)):
        if any(t.id == task for t in snapshot.tasks):
            return snapshot
    raise ThreadError(f"thread {thread!r} has no step that called {namespace or 'the nested graph'} ({task})")


async def _update(graph: Graph, snapshot: StateSnapshot, values: dict[str, Any]) -> None:
    """Change a step as the node did that led to it: what follows is then routed anew, and nobody runs again."""
    led = snapshot
    while (led.metadata or {}).get("source") == "update" and led.parent_config:
        led = await graph.aget_state(led.parent_config)
    before = await graph.aget_state(led.parent_config) if led.parent_config else None
    wrote = before.tasks[0].name if before is not None and before.tasks else None
    config = snapshot.config
    if wrote == START:  # which writes nothing but the input
        config = await graph.aupdate_state(config, {"branch": values["branch"]}, as_node="finish")
    await graph.aupdate_state(config, values, as_node=wrote)


async def _new_branch(graph: Graph, thread: str, old: str) -> str:
    store = graph.store
    count = 1
    while store is not None and await store.asearch(
        Book(store, thread=thread, branch=f"{old}-{count}", turn=0).namespace[:-1], limit=1
    ):  # of any turn: at its end begins the next one
        count += 1
    return f"{old}-{count}"


async def _inherit(graph: Graph, thread: str, old: str, new: str, turn: int, *, until: StateSnapshot) -> None:
    """Give the new branch every record that had ended when the forked step was saved.

    A tool need only have begun by then: whether it took effect is the same on every branch.
    """
    end = datetime.fromisoformat(until.created_at or "").timestamp()
    source = await Book(graph.store, thread=thread, branch=old, turn=turn).load()
    target = Book(graph.store, thread=thread, branch=new, turn=turn)
    for record in source.records():
        ended = record["at"] + record["latency_ms"] / 1000 if record["outcome"] else math.inf
        if (record["at"] if record["kind"] == "tool" else ended) <= end:
            inherited: Record = {**record, "task": ANY_TASK}
            await target.save(inherited)


async def _copy(saver: BaseCheckpointSaver[str], thread: str, old: str, new: str, last: str) -> None:
    """Copy a nested graph's steps, up to `last`, to the namespace under which the fork will call it."""
    rows: list[CheckpointTuple] = []
    async for row in saver.alist(at(thread, namespace=old)):
        rows.append(row)
    done = [r for r in reversed(rows) if r.checkpoint["id"] <= last]
    parent = None
    for row in done:
        config = at(thread, parent or "", new)
        saved = await saver.aput(config, row.checkpoint, row.metadata, row.checkpoint["channel_versions"])
        if row.checkpoint["id"] != last:
            by_task: dict[str, list[tuple[str, Any]]] = {}
            for task, channel, value in row.pending_writes or []:
                by_task.setdefault(task, []).append((channel, value))
            for task, writes in by_task.items():
                await saver.aput_writes(saved, writes, task)
        parent = row.checkpoint["id"]


def _saver(graph: Graph) -> BaseCheckpointSaver[str]:
    saver = graph.checkpointer
    if not isinstance(saver, BaseCheckpointSaver):
        raise ThreadError("this graph keeps no threads: bind it to a database first")
    return saver
