"""Nested graphs of a thread, by their namespace: "node:task|node:task", as LangGraph writes it."""

from typing import Any

from langgraph.channels.base import BaseChannel
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from runtime.sync import Graph
from state.errors import ThreadError
from state.record import Record, under


def graph_at(graph: Graph, thread: str, inside: str) -> Pregel[Any, Any, Any, Any]:
    """The graph of a namespace. Raises ThreadError where there is none, saying where to find them."""
    if not inside:
        return graph
    names = "|".join(level.split(":")[0] for level in inside.split("|"))
    known: dict[str, Any] = dict(graph.get_subgraphs(recurse=True))
    if names not in known or not all(":" in level for level in inside.split("|")):
        there = f"nested are {', '.join(known)}" if known else "nothing is nested in it"
        raise ThreadError(
            f"{inside!r} names no nested graph of thread {thread!r}; {there}; "
            f"`motet state {thread} --at STEP` gives their full names at a step"
        )
    found: Pregel[Any, Any, Any, Any] = known[names]
    return found


def channels(graph: Pregel[Any, Any, Any, Any]) -> list[str]:
    """The channels that hold its state, without those of the engine."""
    own = (name for name, channel in graph.channels.items() if isinstance(channel, BaseChannel))
    return sorted(name for name in own if not name.startswith(("__", "branch:to:", "join:")))


def root_step(snapshot: StateSnapshot) -> str:
    """The step of the root graph in which a nested one took this step of its own."""
    parents: dict[str, str] = (snapshot.metadata or {}).get("parents", {})
    return parents.get("", "")


def records_of(records: list[Record], inside: str) -> list[Record]:
    """The records of a nested graph: those below the call that its task made. A fork knows no task: then all."""
    task = inside.rsplit(":", 1)[-1]
    calls = [f"{r['path']}/{r['visit']}".strip("/") for r in records if r["kind"] == "graph" and r["task"] == task]
    return under(records, calls[0]) if inside and calls else records


def namespaces(snapshot: StateSnapshot) -> list[dict[str, Any]]:
    """The nested graphs at work in a step: namespace, and where known, their step and what comes next."""
    out: list[dict[str, Any]] = []
    for task in snapshot.tasks:
        inner = task.state
        if isinstance(inner, StateSnapshot):
            where = inner.config["configurable"]
            at = where.get("checkpoint_id", "")
            out.append({"inside": where["checkpoint_ns"], "at": at, "next": list(inner.next)})
            out += namespaces(inner)
        elif inner is not None:
            out.append({"inside": inner["configurable"]["checkpoint_ns"], "at": "", "next": []})
    return out
