"""Small graphs with effects, and a sitting that drives one of them until it is over, or until it is killed.

Every effect appends a line with its key to a file, where no crash can lose it: that file is the world outside.
"""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph.types import Command
from makers import MAKERS, scripted
from scripted import Scripted, note

from graphs import concurrent, critic, orchestrator_worker
from graphs.bind import bind
from nodes.agent import Bound
from runtime.book import Book
from runtime.persistence import Persistence, open_persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent
from state.concurrent import concatenate
from state.critic import Critique
from state.plan import Plan
from state.record import repeated
from state.tool import Arguments, Effects, Tool, ToolContext

PAUSE = 0.002  # seconds that whatever takes time takes here
LOG = "world.log"
ASKED = "asked.log"  # what was said of calls that may have taken effect


class Word(Arguments):
    word: str


def effect(name: str, effects: Effects) -> Tool:
    async def run(word: Word, context: ToolContext) -> str:
        await asyncio.sleep(PAUSE)
        note(LOG, f"{name} {context.key}")
        await asyncio.sleep(PAUSE)
        return f"{name} done"

    return Tool(name=name, description=f"Does {name}.", args=Word, run=run, effects=effects)


def says(messages: Any, tools: Any) -> Any:
    batch = [("send", {"word": "a"}), ("put", {"word": "b"}), ("send", {"word": "c"})]
    return "all is sent" if messages[-1].type == "tool" else batch


def actor(name: str = "actor") -> Bound:
    """An agent that sends twice, which cannot be undone, and puts once, which may be repeated: all in one batch."""
    tools = (effect("send", "irreversible"), effect("put", "idempotent"))
    agent = Agent(name=name, responsibility="Acts on the world.", tools=tools)
    return bind(agent, Scripted(script=says, seconds=PAUSE))


def plan(*steps: tuple[str, str, list[str]]) -> Bound:
    made = [{"id": id_, "worker": worker, "task": f"do {id_}", "needs": needs} for id_, worker, needs in steps]
    return scripted("planner", [("Plan", {"steps": made})], output=Plan)


def planned() -> Graph:
    return orchestrator_worker.build(
        plan(("a", "actor", []), ("b", "actor", ["a"])), [actor()], scripted("writer", "done")
    )


def fanned() -> Graph:
    return concurrent.build([actor("one"), actor("two")], aggregate=concatenate())


def nested() -> Graph:
    """React inside critic inside orchestrator."""
    editor = scripted("editor", [("Critique", {"verdict": "accept", "issues": []})], output=Critique)
    team = bind(Agent(name="team", responsibility="Acts as a team."), critic.build(actor(), [editor]))
    steps = plan(("a", "team", []), ("b", "counter", []), ("c", "counter", ["a"]))
    return orchestrator_worker.build(steps, [team, scripted("counter", "three")], scripted("writer", "done"))


APPS: dict[str, Callable[[], Graph]] = {"planned": planned, "fanned": fanned, "nested": nested}


def app(name: str) -> Graph:
    """One of the three above, or the small graph of a pattern around the actor."""
    return APPS[name]() if name in APPS else MAKERS[name](actor())


class Sitting:
    """One process that works on one run: it looks at what stands, and goes on until the run is over."""

    def __init__(self, graph: Graph) -> None:
        self.home: Persistence = open_persistence("sqlite:///threads.db")
        self.graph = self.home.bind(graph)

    async def look(self) -> dict[str, Any]:
        """What is committed: steps by namespace, what the book says of finished calls, what SQLite says of its file."""
        steps: dict[str, list[str]] = {}
        children: list[tuple[str, str]] = []
        async for saved in self.home.saver.alist({"configurable": {"thread_id": "t"}}):
            here = saved.config["configurable"]
            steps.setdefault(here["checkpoint_ns"], []).append(here["checkpoint_id"])
            if saved.parent_config and saved.metadata.get("source") == "loop":
                children.append((here["checkpoint_ns"], saved.parent_config["configurable"]["checkpoint_id"]))
        book = (await Book(self.home.store, thread="t", branch="main", turn=1).load()).records()
        return {
            "steps": steps,
            "ended": {r["id"]: json.dumps(r.get("content"), sort_keys=True) for r in book if r["outcome"]},
            "twice": [
                *repeated(book),
                *sorted({f"{ns} {id_}" for ns, id_ in children if children.count((ns, id_)) > 1}),
            ],
            "sound": self.home.saver.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok",
        }

    async def go(self) -> dict[str, Any]:
        """Work until the run is over, and answer every question as somebody who sees the world does."""
        while True:
            stands = await self.graph.aget_state(at("t"))
            if stands.created_at is not None and not stands.tasks:  # `next` is empty before a step is saved, too
                return {"outcome": stands.values["outcome"], **await self.look()}
            given: Any = {"task": "go"} if stands.created_at is None else None
            if stands.interrupts:
                given = Command(resume={i.id: {"decisions": answers(i.value), "by": "ann"} for i in stands.interrupts})
            await self.graph.ainvoke(given, at("t"), durability="sync")


def answers(request: dict[str, Any]) -> list[dict[str, str]]:
    """Approve what is asked for; of what may have happened, say what the world says."""
    if "doubts" not in request["case"]:
        return [{"type": "approve"} for _ in request["action_requests"]]
    world = Path(LOG).read_text() if Path(LOG).exists() else ""
    decisions = []
    for doubt in request["case"]["doubts"]:
        happened = doubt["key"] in world
        note(ASKED, "it happened" if happened else "run it again")
        decisions.append({"type": "respond", "message": f"{doubt['name']} done"} if happened else {"type": "approve"})
    return decisions


class Points:
    """Counts where a process may be cut off (before and after each call of the saver, each commit); ends it at one."""

    def __init__(self, last: int) -> None:
        self.passed, self.last = 0, last

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.last:
            os._exit(9)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.point()
            out = function(*args, **kwargs)
            self.point()
            return out

        return counted

    def around_async(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.point()
            out = await function(*args, **kwargs)
            self.point()
            return out

        return counted
