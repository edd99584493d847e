"""What history costs: 1,000 steps of 1 KB in one run, and 500 turns of one thread."""

import asyncio
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from benchmarks.instant import Instant
from graphs import react
from graphs.bind import bind
from nodes.agent import call
from nodes.turn import Node, begin, finish
from runtime.persistence import open_persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent
from state.context import Context
from state.turn import Given, Result, Turn, task_of

STEPS, TURNS, ROUNDS = 1000, 500, 3
MEGABYTES, SLOWER, LATER = 12.0, 1.4, 2.0
KILOBYTE = "x" * 1000


class State(Turn, total=False):
    """A long conversation with itself."""

    n: int


def talker(marks: list[float]) -> Graph:
    """A graph whose one agent speaks 1,000 times, 1 KB each, into the transcript."""
    agent = bind(Agent(name="talker", responsibility="Talks."), Instant(text=KILOBYTE))

    async def talk(state: State, config: RunnableConfig, runtime: Runtime[Context]) -> dict[str, Any]:
        marks.append(time.perf_counter())
        n = (state.get("n") or 0) + 1
        reply = await call(agent, task_of(state), visit=f"talk/{n}", config=config, runtime=runtime)
        said = AIMessage((reply.output or {})["text"], id=f"said-{n}")
        return {"n": n, "messages": [said], "answer": {"text": "done"}, "outcome": "completed"}

    async def more(state: State) -> str:
        return "talk" if state["n"] < STEPS else "finish"

    node: Node = talk
    wiring = StateGraph(State, context_schema=Context, input_schema=Given, output_schema=Result)
    wiring.add_node("begin", begin(State)).add_node("talk", node).add_node("finish", finish())
    wiring.add_edge(START, "begin").add_edge("begin", "talk").add_edge("finish", END)
    wiring.add_conditional_edges("talk", more, ["talk", "finish"])
    graph = wiring.compile(name="talker")
    graph.__class__ = Graph
    return graph  # type: ignore[return-value]  # by the line above


def size(folder: Path) -> float:
    """All files of a folder, in megabytes."""
    return sum(f.stat().st_size for f in folder.iterdir()) / 1e6


async def one_run(folder: Path) -> tuple[float, float]:
    """Megabytes after 1,000 steps, and how much slower the last 100 were than the first 100: medians."""
    marks: list[float] = []
    home = open_persistence(f"sqlite:///{folder / 'run.db'}")
    await home.bind(talker(marks)).ainvoke(
        {"task": "talk"}, at("t") | {"recursion_limit": STEPS + 10}, durability="sync"
    )
    home.close()
    gaps = [b - a for a, b in pairwise(marks)]
    return size(folder), median(gaps[-100:]) / median(gaps[:100])


async def many_turns(folder: Path) -> float:
    """How much longer the 500th turn of a thread takes than the 10th: medians of the ten turns before each."""
    home = open_persistence(f"sqlite:///{folder / 'turns.db'}")
    graph = home.bind(react.build(bind(Agent(name="talker", responsibility="Talks."), Instant(text=KILOBYTE))))
    took = []
    for n in range(TURNS):
        began = time.perf_counter()
        await graph.ainvoke({"messages": [("user", f"turn {n} {KILOBYTE}")]}, at("t"), durability="sync")
        took.append(time.perf_counter() - began)
    home.close()
    return median(took[-10:]) / median(took[5:15])


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit)."""
    runs = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(asyncio.run(one_run(Path(folder))))
    megabytes, slower = (median(figures) for figures in zip(*runs, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        later = asyncio.run(many_turns(Path(folder)))
    return [
        ("1,000 steps of 1 KB: MB of text, and of all files (limit in MB)", 1.0, megabytes, megabytes, MEGABYTES),
        ("1,000 steps of 1 KB: the last 100 against the first 100", 1.0, slower, slower, SLOWER),
        ("500 turns on one thread: the 500th against the 10th", 1.0, later, later, LATER),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)
