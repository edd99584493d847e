"""The steps of one turn as they were saved, with those of the graphs that it called."""

from collections import Counter
from itertools import pairwise
from typing import Any

from langgraph.types import StateSnapshot

from runtime.history import next_of
from runtime.sync import Graph
from runtime.travel import at
from state.comparison import Step, written

CHANGED = "update"  # the source of a step that somebody changed from outside: a fork


async def steps(graph: Graph, thread: str, checkpoint: str = "") -> list[Step]:
    """The steps of the turn that a checkpoint belongs to, up to it; the newest by default."""
    chain = await _chain(graph, thread, checkpoint, "")
    turn = chain[-1].values.get("turn") or 0
    first = next((n for n, s in enumerate(chain) if (s.values.get("turn") or 0) == turn), 0)
    return await _steps(graph, thread, chain[max(0, first - 1) :])


async def start(graph: Graph, thread: str, checkpoint: str = "") -> StateSnapshot:
    """Where a run began: at its input, or where it was forked."""
    return (await _walk(graph, thread, checkpoint, "", until=("input", CHANGED)))[-1]


async def _chain(graph: Graph, thread: str, checkpoint: str, namespace: str) -> list[StateSnapshot]:
    return (await _walk(graph, thread, checkpoint, namespace, until=("input",)))[::-1]


async def _walk(
    graph: Graph, thread: str, checkpoint: str, namespace: str, *, until: tuple[str, ...]
) -> list[StateSnapshot]:
    """A step and those that led to it, the newest first, as far as one of some source."""
    if not checkpoint:  # by its id: of the newest step the engine shows what its unfinished tasks wrote as well
        newest = await graph.aget_state(at(thread, namespace=namespace))
        checkpoint = newest.config["configurable"].get("checkpoint_id", "")
    found = [await graph.aget_state(at(thread, checkpoint, namespace))]
    while (found[-1].metadata or {}).get("source") not in until and (before := found[-1].parent_config):
        older = await graph.aget_state(at(thread, before["configurable"]["checkpoint_id"], namespace))
        if older.created_at is None:  # pruned
            break
        found.append(older)
    return found


async def _steps(graph: Graph, thread: str, chain: list[StateSnapshot]) -> list[Step]:
    out: list[Step] = []
    for before, after in pairwise(chain):
        if (after.metadata or {}).get("source") == CHANGED:
            if out:
                out[-1]["wrote"] |= written(before.values, after.values)
            continue
        if (before.metadata or {}).get("source") != "input":  # that step only takes the input in
            out.append(await _step(graph, thread, before, after))
    if chain[-1].created_at is not None and (await _next(graph, chain[-1])):
        out.append(await _step(graph, thread, chain[-1], None))
    return out


async def _step(graph: Graph, thread: str, before: StateSnapshot, after: StateSnapshot | None) -> Step:
    """What happened between two saved states; `after` is None for what has not ended."""
    return Step(
        number=int((before.metadata or {}).get("step", -2)) + 1,
        at="" if after is None else str(after.config["configurable"]["checkpoint_id"]),
        ran=await _next(graph, before),
        wrote={} if after is None else written(before.values, after.values),
        open=after is None,
        below=await _below(graph, thread, before),
    )


async def _next(graph: Graph, snapshot: StateSnapshot) -> list[str]:
    """The nodes that were to run, as the checkpoint itself has them: the graph may have others by now."""
    saver: Any = graph.checkpointer
    saved = await saver.aget_tuple(snapshot.config)
    return sorted(next_of(saved.checkpoint["channel_values"])) if saved is not None else list(snapshot.next)


async def _below(graph: Graph, thread: str, before: StateSnapshot) -> dict[str, list[Step]]:
    """The steps of each graph that was called from here, by its node; the second of one node is `node#2`."""
    known = {name for name, _ in graph.get_subgraphs(recurse=True)}
    above = before.config["configurable"].get("checkpoint_ns") or ""
    prefix = "".join(f"{level.split(':')[0]}|" for level in above.split("|") if level)
    seen: Counter[str] = Counter()
    out: dict[str, list[Step]] = {}
    for task in before.tasks:
        seen[task.name] += 1
        if f"{prefix}{task.name}" not in known:
            continue
        namespace = f"{above}|{task.name}:{task.id}" if above else f"{task.name}:{task.id}"
        head = await graph.aget_state(at(thread, namespace=namespace))
        if head.created_at is not None:
            name = task.name if seen[task.name] == 1 else f"{task.name}#{seen[task.name]}"
            out[name] = await _steps(graph, thread, await _chain(graph, thread, "", namespace))
    return out
