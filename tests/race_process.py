"""race_process.py FOLDER WHAT:N …: processes on one thread, forked from this one; a line of JSON for each race.

Every agent call leaves a line that survives a kill. WHAT is `resume` (N times two processes that go on with a
killed run), `begin` (N times two that give new input to a database that is not there yet), `crowd` (N
processes with five inputs each) or `stopped` (a holder that is stopped past its lease, N times).
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from scripted import note

from graphs import orchestrator_worker
from graphs.bind import bind
from runtime.persistence import open_persistence
from runtime.saver import Saver
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent
from state.errors import MotetError
from state.plan import Plan
from state.task import Task

NEEDS = {"s0": [], "s1": [], "s2": ["s0"], "s3": ["s1"], "s4": ["s2", "s3"]}
STEPS = [{"id": name, "worker": "hand", "task": name, "needs": needs} for name, needs in NEEDS.items()]
LEASE = 0.3


def graph(log: Path, ends: Callable[[str], None]) -> Graph:
    """A small plan, each of whose steps has an effect."""

    async def work(task: Task) -> str:
        note(str(log), task.goal)
        ends(task.goal)
        await asyncio.sleep(0.005)
        return f"done {task.goal}"

    return orchestrator_worker.build(
        bind(Agent(name="planner", responsibility="Plans.", output=Plan), lambda task: {"steps": STEPS}),
        [bind(Agent(name="hand", responsibility="Works."), work)],
        bind(Agent(name="writer", responsibility="Writes."), lambda task: "all done"),
    )


def signals(step: str, number: int) -> Callable[[str], None]:
    return lambda goal: os.kill(os.getpid(), number) if goal == step else None


async def go(
    folder: Path, given: Any, *, start: float = 0, times: int = 1, ends: Any = lambda goal: None, seconds: float = 30
) -> list[str]:
    home = open_persistence(f"sqlite:///{folder / 'threads.db'}")
    assert isinstance(home.saver, Saver)
    home.saver.seconds = seconds

    def ended(goal: str) -> None:
        with home.saver.lock:  # not in the middle of a write, when SQLite itself would keep all others waiting
            ends(goal)

    bound = home.bind(graph(folder / "effects", ended))
    await asyncio.sleep(max(0.0, start - time.time()))

    async def once() -> str:
        try:
            return str((await bound.ainvoke(given, at("t"), durability="sync"))["outcome"])
        except MotetError as error:
            return f"{type(error).__name__}: {error}"

    said = await asyncio.gather(*(once() for _ in range(times)))
    home.close()
    return list(said)


def forked(folder: Path, name: str, **how: Any) -> int:
    """A process of its own that goes on with, or begins, the thread; its pid."""
    if pid := os.fork():
        return pid
    try:
        said: Any = asyncio.run(go(folder, **how))
    except BaseException:  # the test shows it
        said = [traceback.format_exc()]
    (folder / f"said-{name}").write_text(json.dumps(said))
    os._exit(0)


def said(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("said-*")) for line in json.loads(path.read_text())]


def look(folder: Path) -> dict[str, Any]:
    """Steps of the thread's own that go on from one step, its turns, and what had an effect."""
    with closing(sqlite3.connect(folder / "threads.db")) as conn:
        forks = conn.execute(
            "SELECT count(*) FROM checkpoints WHERE checkpoint_ns = '' AND parent_checkpoint_id IS NOT NULL "
            "GROUP BY parent_checkpoint_id HAVING count(*) > 1"
        ).fetchall()
        turn = conn.execute("SELECT max(json_extract(about, '$.turn')) FROM steps").fetchone()[0]
        sound = conn.execute("PRAGMA integrity_check").fetchone()[0]
    effects = (folder / "effects").read_text().split()
    return {"said": said(folder), "forks": len(forks), "turns": turn, "effects": effects, "sound": sound}


def race(folder: Path, given: Any) -> dict[str, Any]:
    before: list[str] = []
    if given is None:
        os.waitpid(forked(folder, "killed", given={"task": "go"}, ends=signals("s2", signal.SIGKILL)), 0)
        before = (folder / "effects").read_text().split()
    start = time.time() + 0.2
    for pid in [forked(folder, str(n), given=given, start=start) for n in range(2)]:
        os.waitpid(pid, 0)
    return look(folder) | {"before": before}


def crowd(folder: Path, count: int) -> dict[str, Any]:
    start = time.time() + 0.5
    for pid in [forked(folder, str(n), given={"task": "go"}, start=start, times=5) for n in range(count)]:
        os.waitpid(pid, 0)
    return look(folder)


def stopped(folder: Path) -> dict[str, Any]:
    ends = signals("s2", signal.SIGSTOP)
    sleeper = forked(folder, "stopped", given={"task": "go"}, ends=ends, seconds=LEASE)
    os.waitpid(sleeper, os.WUNTRACED)
    time.sleep(2 * LEASE)
    os.waitpid(forked(folder, "next", given=None), 0)
    with closing(sqlite3.connect(folder / "threads.db")) as conn:
        before = [*conn.iterdump()]
        os.kill(sleeper, signal.SIGCONT)
        os.waitpid(sleeper, 0)
        after = [*conn.iterdump()]
    return look(folder) | {"changed": [line[:200] for line in after if line not in before], "rows": len(before)}


def main(folder: Path, what: str, count: int) -> None:
    for n in range(1 if what == "crowd" else count):
        here = folder / f"{what}-{n}"
        here.mkdir()
        if what == "crowd":
            found = crowd(here, count)
        elif what == "stopped":
            found = stopped(here)
        else:
            found = race(here, None if what == "resume" else {"task": "go"})
        print(json.dumps({"what": what} | found), flush=True)


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        main(Path(sys.argv[1]), wanted.split(":")[0], int(wanted.split(":")[1]))
