"""plan_process.py DB SEED MS: a wide plan whose steps take as long as the seed says; killed after MS milliseconds."""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time

from graphs import orchestrator_worker
from graphs.bind import bind
from runtime.book import Book
from runtime.persistence import open_persistence
from runtime.travel import at
from state.agent import Agent
from state.plan import Plan
from state.record import repeated
from state.task import Task

STEPS = [
    {"id": f"s{n}", "worker": "hand", "task": f"s{n}", "needs": [f"s{n - 4}"] if n >= 4 else []} for n in range(16)
]


def kill_after(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)
    os.kill(os.getpid(), signal.SIGKILL)


async def main(database: str, seed: int, milliseconds: int) -> None:
    dice = random.Random(seed)
    seconds = {step["id"]: dice.uniform(0.002, 0.08) for step in STEPS}

    async def work(task: Task) -> str:
        await asyncio.sleep(seconds[task.goal])
        return f"done {task.goal} after {sorted(task.context)}"

    graph = orchestrator_worker.build(
        bind(Agent(name="planner", responsibility="Plans.", output=Plan), lambda task: {"steps": STEPS}),
        [bind(Agent(name="hand", responsibility="Works."), work)],
        bind(Agent(name="writer", responsibility="Writes."), lambda task: "all done"),
    )
    home = open_persistence(f"sqlite:///{database}")
    bound = home.bind(graph)
    if milliseconds:
        threading.Thread(target=kill_after, args=(milliseconds,), daemon=True).start()
    begun = (await bound.aget_state(at("t"))).created_at is not None
    found = await bound.ainvoke(None if begun else {"task": "go"}, at("t"), durability="sync")
    results = (await bound.aget_state(at("t"))).values["results"]
    book = (await Book(home.store, thread="t", branch="main", turn=1).load()).records()
    texts = {name: result["output"]["text"] for name, result in results.items()}
    print(json.dumps({"outcome": found["outcome"], "results": texts, "repeated": repeated(book)}))
    home.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
