"""slice_process.py DB MS: go on with the slice in this process, which kills itself after MS milliseconds of work."""

import asyncio
import json
import os
import signal
import sys
import threading
import time

from langgraph.types import Command
from slice_app import graph

from runtime.book import Book
from runtime.persistence import open_persistence
from runtime.travel import at
from state.record import repeated


def kill_after(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)
    os.kill(os.getpid(), signal.SIGKILL)


async def main(database: str, milliseconds: int) -> None:
    home = open_persistence(f"sqlite:///{database}")
    bound = home.bind(graph)
    if milliseconds:
        threading.Thread(target=kill_after, args=(milliseconds,), daemon=True).start()
    snapshot = await bound.aget_state(at("t"))
    given = {"task": "go"} if snapshot.created_at is None else None
    answer = {"decisions": [{"type": "approve"}]}
    found = await bound.ainvoke(Command(resume=answer) if snapshot.interrupts else given, at("t"), durability="sync")
    if "__interrupt__" in found:
        found = await bound.ainvoke(Command(resume=answer), at("t"), durability="sync")
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
