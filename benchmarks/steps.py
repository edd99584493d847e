"""CPU per agent step through the door, records written, against a raw LangGraph node with the same chat model.

A 50-step sequence of one looping node; the model answers at once. The saver and `sync` durability are
the same on both sides. Process CPU time, the least of several rounds that take turns.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from benchmarks.instant import Instant
from graphs.bind import bind
from nodes.agent import call
from nodes.prompt import RULES
from runtime.persistence import Persistence, open_persistence
from state.agent import Agent
from state.context import Context

STEPS = 50
ROUNDS = 15
LIMIT = 1.3
HEARD, BOTH = 1.5, 1.8  # where somebody listens, the model is asked with callbacks on both sides; BOTH: and saved


class State(TypedDict, total=False):
    """What both loops carry."""

    n: int
    text: str


def graph(node: Callable[..., Awaitable[dict[str, Any]]], home: Persistence | None) -> Any:
    """One node, so many times."""

    async def more(state: State) -> str:
        return "step" if state["n"] < STEPS else END

    wiring = StateGraph(State, context_schema=Context).add_node("step", node).add_edge(START, "step")
    compiled = wiring.add_conditional_edges("step", more, ["step", END]).compile()
    return home.bind(compiled) if home else compiled


async def raw(state: State) -> dict[str, Any]:
    """The node that everybody writes first."""
    said = await MODEL.ainvoke([SystemMessage(f"Answers.\n\n{RULES}"), HumanMessage("go on")])
    return {"n": state.get("n", 0) + 1, "text": said.text}


MODEL = Instant()
AGENT = bind(Agent(name="agent", responsibility="Answers."), MODEL)


async def door(state: State, config: RunnableConfig, runtime: Runtime[Context]) -> dict[str, Any]:
    """The same call through the door."""
    n = state.get("n", 0) + 1
    reply = await call(AGENT, {"goal": "go on"}, visit=f"step/{n}", config=config, runtime=runtime)
    return {"n": n, "text": (reply.output or {})["text"]}


async def cpu(
    node: Callable[..., Awaitable[dict[str, Any]]], home: Persistence | None, turn: int, *, heard: bool = False
) -> float:
    """Microseconds of CPU per step of one run; `heard` by a callback that does nothing, or by nobody."""
    bound = graph(node, home)
    config: RunnableConfig = {"recursion_limit": STEPS + 5, "callbacks": [AsyncCallbackHandler()] if heard else None}
    if home:
        config["configurable"] = {"thread_id": f"{node.__name__}-{turn}"}
    options: dict[str, Any] = {"durability": "sync"} if home else {}
    began = time.process_time()
    found = await bound.ainvoke({"n": 0}, config, **options)
    assert found["n"] == STEPS
    return (time.process_time() - began) / STEPS * 1e6


async def compare(home: Persistence | None, *, heard: bool = False) -> tuple[float, float]:
    """The least of raw and door, in turns, so that a slow moment of the machine meets both."""
    least = {raw: 1e9, door: 1e9}
    for turn in range(ROUNDS):
        for node in (raw, door):
            least[node] = min(least[node], await cpu(node, home, turn + ROUNDS * heard, heard=heard))
    return least[raw], least[door]


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, url in (("no saver", ""), ("SQLite, sync", f"sqlite:///{Path(folder) / 'steps.db'}")):
            home = open_persistence(url) if url else None
            for heard, limit in ((False, LIMIT), (True, BOTH if url else HEARD)):
                base, ours = asyncio.run(compare(home, heard=heard))
                about = f"agent step, {name}{', with a listener' if heard else ''}: µs of CPU, raw node and door"
                rows.append((about, base, ours, ours / base, limit))
            if home:
                home.close()
    return rows


if __name__ == "__main__":
    for row in measure():
        print(row)
