"""Makespan of a random plan of 60 steps against its critical path, with workers that only wait."""

import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from graphs import orchestrator_worker
from graphs.bind import bind
from runtime.persistence import open_persistence
from runtime.travel import at
from state.agent import Agent
from state.plan import Plan
from state.task import Task

STEPS, SHORTEST, LONGEST, SEED = 60, 20, 300, 7
LIMIT = 1.05


def plan(seed: int = SEED) -> tuple[dict[str, Any], float]:
    """A plan whose tasks are their durations in milliseconds, and its critical path in seconds."""
    dice = random.Random(seed)
    steps: list[dict[str, Any]] = []
    ends: dict[str, int] = {}
    for n in range(STEPS):
        before = [s["id"] for s in steps[-10:]]
        needs = dice.sample(before, min(len(before), dice.choice([0, 1, 1, 2])))
        duration = dice.randint(SHORTEST, LONGEST)
        steps.append({"id": f"s{n}", "worker": "waiter", "task": str(duration), "needs": needs})
        ends[f"s{n}"] = duration + max((ends[i] for i in needs), default=0)
    return {"steps": steps}, max(ends.values()) / 1000


async def wait(task: Task) -> str:
    """Work as long as the task says."""
    await asyncio.sleep(int(task.goal) / 1000)
    return "done"


async def makespan(url: str, made: dict[str, Any]) -> float:
    """Seconds from the first step's start to the last one's end, by the book."""
    home = open_persistence(url)
    graph = home.bind(
        orchestrator_worker.build(
            bind(Agent(name="planner", responsibility="Plans.", output=Plan), lambda _: made),
            [bind(Agent(name="waiter", responsibility="Waits."), wait)],
            bind(Agent(name="writer", responsibility="Writes."), lambda _: "all done"),
        )
    )
    began = time.perf_counter()
    found = await graph.ainvoke({"task": "go"}, at("t"), durability="sync", context={"max_concurrency": 64})
    took = time.perf_counter() - began
    assert found["outcome"] == "completed", found["reason"]
    home.close()
    return took


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit)."""
    made, path = plan()
    with tempfile.TemporaryDirectory() as folder:
        took = min(asyncio.run(makespan(f"sqlite:///{Path(folder) / f'{n}.db'}", made)) for n in range(3))
    return [("plan of 60 steps, SQLite, sync: seconds, critical path and whole run", path, took, took / path, LIMIT)]


if __name__ == "__main__":
    for row in measure():
        print(row)
