"""A word from outside that a conversation should end, kept in the store: any process can say it.

It holds for the turn that is at work on the thread when it is said, and for all graphs in it that listen
(`state.condition.external`); a later turn does not hear it.
"""

import time

from langgraph.store.base import BaseStore

from runtime.book import label

STOPS = "stops"
KEY = "stop"
SILENT = "no reason given"


async def stop(store: BaseStore, thread: str, why: str = "") -> None:
    """Ask what runs on a thread to stop at its next turn."""
    await store.aput((STOPS, label(thread)), KEY, {"at": time.time(), "why": why or SILENT}, index=False)


async def stopped(store: BaseStore | None, thread: str, since: float) -> str:
    """Why it should stop, when that was said after `since` (seconds since the epoch); else nothing."""
    found = await store.aget((STOPS, label(thread)), KEY) if store is not None and thread else None
    return str(found.value["why"]) if found is not None and found.value["at"] >= since else ""
