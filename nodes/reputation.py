"""What bidders brought to an end in earlier turns, of any thread: kept in the store, which outlives them.

Each outcome stands under a key of its own, so that one written again after a crash counts once, and two
runs at a time lose none. The keys are so many and no more: a new outcome takes the place of any older one.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from langgraph.store.base import BaseStore

from runtime.book import label
from state.record import digest

ROOT = ("market", "reputation")
KEPT = 64  # outcomes of each bidder


async def remembered(store: BaseStore | None, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """How many awards each one brought to a good end, and how many not; nothing without a store."""
    if store is None:
        return {}
    found = {name: store.asearch((*ROOT, label(name)), limit=KEPT) for name in names}
    out = {}
    for name, items in zip(found, await asyncio.gather(*found.values()), strict=True):
        done = sum(bool(item.value.get("done")) for item in items)
        out[name] = {"done": done, "failed": len(items) - done}
    return out


async def remember(store: BaseStore | None, ends: Sequence[tuple[str, str, bool]], where: Sequence[Any]) -> None:
    """Keep outcomes: (bidder, task, whether it was done). `where` says which round of which run it was."""
    if store is None:
        return
    for who, task, done in ends:
        key = int(digest([*where, task, who]), 16) % KEPT
        await store.aput((*ROOT, label(who)), str(key), {"done": done}, index=False)
