"""slice_process.py DB MS: go on with the slice in this process, which kills itself after MS milliseconds of work."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from langgraph.types import Command
from slice_app import graph

from runtime.book import Book
from runtime.persistence import open_persistence
from runtime.travel import at
from state.record import repeated


def kill_after(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)
    os.kill(os.getpid(), signal.SIGKILL)


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Approve; of a letter that was cut off, say what the log says of it."""
    sent = question["kind"] == "escalation" and "sent ann" in Path(os.environ["SLICE_LOG"]).read_text()
    said = {"type": "respond", "message": json.dumps({"sent": "ann"})} if sent else {"type": "approve"}
    return {"decisions": [said]}


async def main(database: str, milliseconds: int) -> None:
    home = open_persistence(f"sqlite:///{database}")
    bound = home.bind(graph)
    if milliseconds:
        threading.Thread(target=kill_after, args=(milliseconds,), daemon=True).start()
    snapshot = await bound.aget_state(at("t"))
    given = {"task": "go"} if snapshot.created_at is None else None
    asked = snapshot.interrupts
    while True:
        go = Command(resume={q.id: answer(q.value) for q in asked}) if asked else given
        found = await bound.ainvoke(go, at("t"), durability="sync")
        if not (asked := found.get("__interrupt__", ())):
            break
    book = (await Book(home.store, thread="t", branch="main", turn=1).load()).records()
    done = {
        "outcome": found["outcome"],
        "calls": found["usage"]["total"]["calls"],
        "lost": len([r for r in book if r["kind"] == "model" and not r["outcome"]]),
        "repeated": repeated(book),
    }
    print(json.dumps(done))
    home.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
