"""1,000 calls of 50 ms at once through `concurrent`, against raw `Send` nodes and a bare `asyncio.gather`.

All call the same chat model. With `Send` every result is saved on its own, on both sides, in the same
kind of SQLite file with `sync` durability; in chunks, a chunk at a time.
"""

import asyncio
import operator
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from benchmarks.instant import Instant
from graphs import concurrent
from graphs.bind import bind
from nodes.prompt import RULES
from runtime.persistence import Persistence, open_persistence
from runtime.travel import at
from state.agent import Agent
from state.concurrent import collect

CALLS, SECONDS, CHUNK, ROUNDS = 1000, 0.05, 100, 3
SENT, GATHERED = 1.3, 1.5
MODEL = Instant(seconds=SECONDS)
TASKS = [f"item {n}" for n in range(CALLS)]


class State(TypedDict, total=False):
    """What the raw fan-out carries."""

    items: list[str]
    item: str
    said: Annotated[list[str], operator.add]


async def ask(item: str) -> str:
    """One call, without anything around it."""
    return (await MODEL.ainvoke([SystemMessage(f"Answers.\n\n{RULES}"), HumanMessage(item)])).text


async def raw(home: Persistence) -> None:
    """A `Send` to a node for every item."""

    async def one(state: State) -> dict[str, Any]:
        return {"said": [await ask(state["item"])]}

    async def spread(state: State) -> list[Send]:
        return [Send("one", {"item": item}) for item in state["items"]]

    wiring = StateGraph(State).add_node("one", one).add_conditional_edges(START, spread, ["one"]).add_edge("one", END)
    found = await home.bind(wiring.compile()).ainvoke({"items": TASKS}, at("t"), durability="sync")
    assert len(found["said"]) == CALLS


async def bare(home: Persistence) -> None:
    """No graph at all."""
    assert len(await asyncio.gather(*map(ask, TASKS))) == CALLS


def ours(chunk: int) -> Callable[[Persistence], Awaitable[None]]:
    """The pattern, each branch by itself or in chunks."""
    graph = concurrent.build(
        bind(Agent(name="agent", responsibility="Answers."), MODEL), aggregate=collect(), chunk=chunk
    )

    async def run(home: Persistence) -> None:
        task = {"goal": "all of them", "context": {"tasks": TASKS}}
        found = await home.bind(graph).ainvoke(
            {"task": task}, at("t"), durability="sync", context={"max_concurrency": CALLS}
        )
        assert found["outcome"] == "completed", found["reason"]
        assert found["usage"]["agent"]["calls"] == CALLS

    return run


def seconds(work: Callable[[Persistence], Awaitable[None]]) -> float:
    """Wall time of one fan-out on a new file."""

    async def timed(home: Persistence) -> float:
        began = time.perf_counter()
        await work(home)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        home = open_persistence(f"sqlite:///{Path(folder) / 'fanout.db'}")
        took = asyncio.run(timed(home))
        home.close()
    return took


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit); the least of several rounds that take turns."""
    runs = {"raw": raw, "bare": bare, "each": ours(1), "chunks": ours(CHUNK)}
    least = dict.fromkeys(runs, 1e9)
    for _ in range(ROUNDS):
        for name, work in runs.items():
            least[name] = min(least[name], seconds(work))
    each, chunks = least["each"], least["chunks"]
    return [
        (
            "1,000 calls of 50 ms, each saved: seconds, raw Send and concurrent",
            least["raw"],
            each,
            each / least["raw"],
            SENT,
        ),
        (
            "1,000 calls of 50 ms, in chunks: seconds, bare gather and concurrent",
            least["bare"],
            chunks,
            chunks / least["bare"],
            GATHERED,
        ),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)
