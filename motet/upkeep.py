"""Upkeep of a database: whether it is as it was saved, and what of a thread may go."""

import asyncio
import sqlite3
from dataclasses import dataclass

from langgraph.channels import DeltaChannel

from motet import nested
from runtime import verify
from runtime.book import ROOT, label
from runtime.persistence import Persistence
from runtime.saver import Saver
from runtime.store import Store
from runtime.sync import Graph
from runtime.travel import at
from state.errors import InputError


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many steps of a thread were dropped, those of nested graphs included, and how many are left."""

    thread: str
    dropped: int
    left: int


async def found_wrong(home: Persistence, thread: str = "") -> list[str]:
    """Everything that is not as it was saved: of a thread and its books, or in the whole database."""
    saver, store = home.saver, home.store
    if not isinstance(saver, Saver) or not isinstance(store, Store):
        return []  # in memory

    def look() -> list[str]:
        if thread:
            return [*saver.faults(thread), *store.faults(f"{ROOT}.{label(thread)}.")]
        with saver.cursor(transaction=False) as cursor:
            damage = [f"the database is damaged: {line}" for line in _damage(cursor)]
            threads = verify.threads(cursor)
        return [*damage, *(fault for name in threads for fault in saver.faults(name)), *store.faults()]

    return await asyncio.to_thread(look)


def _damage(cursor: sqlite3.Cursor) -> list[str]:
    return [line for (line,) in cursor.execute("PRAGMA integrity_check").fetchall() if line != "ok"]


async def pruned(home: Persistence, graph: Graph, thread: str, keep: int) -> Pruned:
    """Drop the steps that were saved before a thread's newest turns, save those that these need."""
    if not isinstance(home.saver, Saver):
        raise InputError(f"{home.url} lasts no longer than this process: there is nothing to prune")
    whole = {}
    for place in await home.saver.aedges(thread, keep):
        _, inside, step = place
        channels = nested.graph_at(graph, thread, inside).channels
        values = (await home.bind(graph).aget_state(at(thread, step, inside))).values
        whole[place] = {n: values[n] for n, c in channels.items() if isinstance(c, DeltaChannel) and n in values}
    return Pruned(thread, *await home.saver.aprune_turns(thread, keep, whole=whole))
