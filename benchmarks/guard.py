"""What the guard of the saver costs: leases, seals and heads, against LangGraph's own SQLite saver.

Both sides have the same pragmas, the same serializer and the same way from async callers to the
database: one thread. Steps are process CPU time, the least of several rounds that take turns; saves
under load are wall-clock times, the median of rounds that take turns.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from benchmarks.growth import talker
from runtime.lease import alone
from runtime.patience import patiently
from runtime.persistence import Persistence, open_persistence, serializer
from runtime.saver import Saver
from runtime.travel import at

T = TypeVar("T")
Row = tuple[str, float, float, float, float]

STEPS, ROUNDS, LOADS = 200, 16, 3
THREADS, SAVES = 200, 20
CHECKPOINTS = 1000
COST, LATER, SHARE = 1.2, 2.0, 0.01


class Bare(SqliteSaver):
    """The stock saver, with async methods that run on one thread."""

    def __init__(self, path: Path) -> None:
        conn = sqlite3.connect(path, check_same_thread=False)
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("PRAGMA synchronous=NORMAL")
        super().__init__(conn, serde=serializer())
        self._worker = ThreadPoolExecutor(1)
        self.setup()

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, patiently, work)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """See `SqliteSaver.get_tuple`."""
        return await self._do(lambda: self.get_tuple(config))

    async def aput(self, *args: Any) -> RunnableConfig:
        """See `SqliteSaver.put`."""
        return await self._do(lambda: self.put(*args))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """See `SqliteSaver.put_writes`."""
        await self._do(lambda: self.put_writes(config, writes, task_id, task_path))

    async def aget_delta_channel_history(self, **kwargs: Any) -> Mapping[str, Any]:
        """See `SqliteSaver.get_delta_channel_history`."""
        return await self._do(lambda: self.get_delta_channel_history(**kwargs))


class State(TypedDict, total=False):
    """A counter, and a kilobyte."""

    n: int
    text: str


def looping(saver: Any, steps: int) -> Any:
    """One node, so many times."""

    async def step(state: State) -> dict[str, Any]:
        return {"n": state.get("n", 0) + 1, "text": "x" * 1000}

    async def more(state: State) -> str:
        return "step" if state["n"] < steps else END

    wiring = StateGraph(State).add_node("step", step).add_edge(START, "step")
    return wiring.add_conditional_edges("step", more, ["step", END]).compile(checkpointer=saver)


async def run(saver: Any, thread: str, steps: int) -> None:
    """A run under `sync` durability; of a thread that can be held, held."""
    config: RunnableConfig = at(thread) | {"recursion_limit": steps + 5}
    if isinstance(saver, Saver):
        async with alone(saver, thread):
            await looping(saver, steps).ainvoke({"n": 0}, config, durability="sync")
    else:
        await looping(saver, steps).ainvoke({"n": 0}, config, durability="sync")


async def cost(savers: Sequence[Any]) -> list[float]:
    """Microseconds of CPU per step with each saver: the least."""
    least = [1e9 for _ in savers]
    for turn in range(ROUNDS):
        for n, saver in enumerate(savers):
            began = time.process_time()
            await run(saver, f"steps-{turn}", STEPS)
            least[n] = min(least[n], (time.process_time() - began) / STEPS * 1e6)
    return least


async def load(saver: Any, turn: int) -> float:
    """Milliseconds that 99 of 100 saves of a step take at most, with 200 threads at once. Any error ends it."""
    took: list[float] = []
    put = saver.aput

    async def timed(*args: Any) -> Any:
        began = time.perf_counter()
        saved = await put(*args)
        took.append((time.perf_counter() - began) * 1e3)
        return saved

    saver.aput = timed
    try:
        await asyncio.gather(*(run(saver, f"load-{turn}-{n}", SAVES) for n in range(THREADS)))
    finally:
        saver.aput = put
    return quantiles(took, n=100)[98]


async def under_load(savers: Sequence[Any]) -> list[float]:
    """The median p99 of each saver, in turns."""
    rounds = [[await load(saver, turn) for saver in savers] for turn in range(LOADS)]
    return [median(p99) for p99 in zip(*rounds, strict=True)]


async def history(home: Persistence) -> tuple[float, float]:
    """Milliseconds of CPU for LangGraph's full history of a talk of 1,000 steps, and for our list of them."""
    graph = home.bind(talker([]))
    await graph.ainvoke({"task": "talk"}, at("long") | {"recursion_limit": CHECKPOINTS + 10}, durability="sync")
    began = time.process_time()
    full = [s async for s in graph.aget_state_history(at("long"))]
    between = time.process_time()
    steps = await home.saver.ahistory("long")
    end = time.process_time()
    assert [(s.config, s.next) for s in steps] == [(s.config, s.next) for s in full]
    return (between - began) * 1e3, (end - between) * 1e3


def measure() -> list[Row]:
    """Rows of (what, baseline, ours, ratio, limit)."""
    with tempfile.TemporaryDirectory() as folder:
        home = open_persistence(f"sqlite:///{Path(folder) / 'guarded.db'}")
        savers = Bare(Path(folder) / "bare.db"), home.saver
        base, ours = asyncio.run(cost(savers))
        base_p99, ours_p99 = asyncio.run(under_load(savers))
        home.close()
        again = open_persistence(f"sqlite:///{Path(folder) / 'history.db'}")
        full, listed = asyncio.run(history(again))
        again.close()
    return [
        ("graph step: µs of CPU, stock saver and guarded one", base, ours, ours / base, COST),
        ("200 threads at once: ms of a save, p99, stock and guarded", base_p99, ours_p99, ours_p99 / base_p99, LATER),
        ("history of 1,000 steps of 1 KB: ms of CPU, LangGraph's and ours", full, listed, listed / full, SHARE),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)
