"""CPU per turn of a conversation against a raw LangGraph loop, and what 500 turns cost in time and memory.

The raw loop has the same channel for its transcript, shows its model the same window of it, and makes the
same requests in as many super-steps as the pattern did: with a transfer tool, or in a form, where the
pattern asks so. The model answers at once; saver and `sync` durability are the same on both sides. Process
CPU time, the least of several rounds that take turns.
"""

import asyncio
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import END, START, StateGraph
from pydantic import Field
from typing_extensions import TypedDict

from benchmarks.instant import Instant
from graphs import group_chat, handoff, magentic
from graphs.bind import bind
from nodes.agent import Bound
from nodes.prompt import RULES
from runtime.persistence import Persistence, open_persistence
from runtime.sync import Graph
from state.agent import Agent
from state.magentic import ProgressLedger, TaskLedger
from state.speaker import WINDOW
from state.transcript import Transcript

TURNS, LONG, PART = 100, 500, 50
ROUNDS, REPEATS = 9, 3
LIMIT, SAVED, SLOWER = 1.3, 1.8, 1.4
SAID = "What was said before holds for most cases, and the figures of the report bear it out. "


class Marking(Instant):
    """Says a sentence, and notes the CPU time and the memory in use at each of its calls."""

    text: str = SAID
    marks: list[tuple[float, int]] = Field(default_factory=list)

    def _result(self) -> ChatResult:
        held = 0
        if tracemalloc.is_tracing() and len(self.marks) in (0, PART, LONG - PART - 1, LONG - 1):
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        self.marks.append((time.process_time(), held))
        return super()._result()


def speaker(name: str, model: Instant) -> Bound:
    """An agent for whom this model answers."""
    return bind(Agent(name=name, responsibility="Answers."), model)


def in_turn(model: Instant, turns: int) -> Graph:
    """Three agents who speak in turn."""
    return group_chat.build([speaker(name, model) for name in ("ann", "bob", "eve")], max_turns=turns)


def managed(model: Instant, turns: int) -> Graph:
    """Three agents, and a manager who is asked before each turn."""
    manager = speaker("manager", Instant(text="bob"))
    team = [speaker(name, model) for name in ("ann", "bob", "eve")]
    return group_chat.build(team, select=manager, allow_repeats=True, max_turns=turns)


class Passing(Instant):
    """Hands over to the first it can; without a transfer tool it says what the other model says."""

    by: Instant

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        """Offer tools, as they are."""
        return self.bind(tools=tools)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        result = self.by._result()
        message = result.generations[0].message
        if isinstance(message, AIMessage) and (tools := kwargs.get("tools")):
            name, args = tools[0]["function"]["name"], {"reason": message.text}
            message.tool_calls = [{"name": name, "args": args, "id": "call", "type": "tool_call"}]
            message.content = ""
        return result


def handed_over(model: Instant, turns: int) -> Graph:
    """Two agents who hand the conversation to each other until the last turn."""
    passing = Passing(by=model)
    team = [speaker(name, passing) for name in ("ann", "bob")]
    return handoff.build(team, cycles=None, max_handoffs=turns, max_turns=turns)


class Filling(Instant):
    """Fills a form in each of its calls, one after the other, and begins anew after the last."""

    forms: list[dict[str, Any]]
    made: int = 0

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        """Offer tools, as they are."""
        return self.bind(tools=tools, tool_choice=tool_choice)

    def _result(self) -> ChatResult:
        self.text = json.dumps(self.forms[self.made % len(self.forms)])
        self.made += 1
        return super()._result()


def judged(*, done: bool) -> dict[str, Any]:
    """A progress ledger that sends bob, or is satisfied."""
    word = {"reason": "So it seems.", "holds": True}
    return {
        "satisfied": {**word, "holds": done},
        "in_loop": {"reason": "All of it is new.", "repeats": False},
        "progress": word,
        "next_speaker": {"reason": "He knows best.", "speaker": "bob"},
        "instruction": {"reason": "It is next.", "instruction": "Go on."},
    }


def sent(model: Instant, turns: int) -> Graph:
    """One worker, sent in each turn by a manager who keeps the ledgers."""
    plan = Filling(forms=[{"plan": [{"worker": "bob", "task": "talk"}]}])
    ledgers = Filling(forms=[*[judged(done=False)] * turns, judged(done=True)])
    planner = bind(Agent(name="planner", responsibility="Plans.", output=TaskLedger), plan)
    manager = bind(Agent(name="manager", responsibility="Judges.", output=ProgressLedger), ledgers)
    return magentic.build(planner, manager, [speaker("bob", model)], speaker("writer", Instant()), max_rounds=turns)


TALKS: dict[str, Callable[[Instant, int], Graph]] = {  # a graph whose model is called once in each of so many turns
    "group_chat, round robin": in_turn,
    "group_chat, managed": managed,
    "handoff": handed_over,
    "magentic": sent,
}


def asked(name: str) -> list[Runnable[Any, AIMessage]]:
    """Whom the raw loop asks, one after the other: models with the tools or the form that the pattern gives them."""
    plain = Instant(text=SAID)
    if name == "handoff":
        reason = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": ["reason"]}
        tool = {"name": "transfer_to_bob", "description": "Hands the conversation to bob.", "parameters": reason}
        return [Passing(by=plain).bind_tools([{"type": "function", "function": tool}])]
    if name == "magentic":
        form = convert_to_openai_tool(ProgressLedger)
        return [Filling(forms=[judged(done=False)]).bind_tools([form], tool_choice="ProgressLedger"), plain]
    return [plain]


class State(TypedDict, total=False):
    """What the raw loop carries."""

    n: int
    talk: Transcript


def raw(models: list[Runnable[Any, AIMessage]], calls: int, steps: int) -> Any:
    """The loop that everybody writes first: so many super-steps, model calls and messages of its transcript."""

    async def step(state: State) -> dict[str, Any]:
        n, talk = state.get("n", 0) + 1, state.get("talk") or []
        if not falls(calls, n, steps):
            return {"n": n}
        seen = talk[-WINDOW:]
        said = await models[n % len(models)].ainvoke(
            [SystemMessage(f"Answers.\n\n{RULES}"), HumanMessage("talk"), *seen]
        )
        text = said.tool_calls[0]["args"]["reason"] if said.tool_calls else said.text
        new = [AIMessage(text, name="ann", id=f"talk-{n}")] if falls(TURNS, n, steps) else []
        return {"n": n, "talk": new}

    async def more(state: State) -> str:
        return "step" if state["n"] < steps else END

    wiring = StateGraph(State).add_node("step", step).add_edge(START, "step")
    return wiring.add_conditional_edges("step", more, ["step", END]).compile()


def falls(many: int, n: int, steps: int) -> bool:
    """Whether one of many things, evenly spread over all steps, falls on step `n`."""
    return n * many // steps > (n - 1) * many // steps


async def run(graph: Any, given: dict[str, Any], home: Persistence | None, thread: str) -> Any:
    """One run to its end."""
    config: RunnableConfig = {"recursion_limit": 5 * LONG}
    if home:
        graph, config["configurable"] = home.bind(graph), {"thread_id": thread}
    return await graph.ainvoke(given, config, **({"durability": "sync"} if home else {}))


async def cpu(graph: Any, given: dict[str, Any], home: Persistence | None, thread: str) -> float:
    """Microseconds of CPU per turn of one run."""
    gc.collect()
    began = time.process_time()
    await run(graph, given, home, thread)
    return (time.process_time() - began) / TURNS * 1e6


async def size(graph: Graph) -> tuple[int, int]:
    """The model calls and the super-steps of a run, in which one node runs at a time."""
    steps, calls = 0, 0
    async for update in graph.astream({"task": "talk"}, stream_mode="updates"):
        steps += 1
        calls = ((update.get("finish") or {}).get("usage") or {}).get("total", {}).get("calls", calls)
    return calls, steps


async def compare(name: str, home: Persistence | None) -> tuple[float, float]:
    """The least of raw and pattern, in turns, so that a slow moment of the machine meets both."""
    ours = TALKS[name](Instant(text=SAID), TURNS)
    loop = raw(asked(name), *await size(ours))
    base, least = 1e9, 1e9
    for n in range(ROUNDS):
        base = min(base, await cpu(loop, {"n": 0}, home, f"{name}-raw-{n}"))
        least = min(least, await cpu(ours, {"task": "talk"}, home, f"{name}-{n}"))
    return base, least


async def parts(name: str, home: Persistence, thread: str) -> tuple[float, float, float, float]:
    """What the first and the last 50 of 500 turns took: ms of CPU, and KB of memory where that is traced."""
    model = Marking()
    found = await run(TALKS[name](model, LONG), {"task": "talk"}, home, thread)
    assert found["outcome"] == "completed", found["reason"]
    (began, empty), (early, few) = model.marks[0], model.marks[PART]
    (late, many), (ended, full) = model.marks[-PART - 1], model.marks[-1]
    return (early - began) * 1e3, (ended - late) * 1e3, (few - empty) / 1e3, (full - many) / 1e3


def long_talk(name: str, home: Persistence) -> tuple[float, float, float, float]:
    """`parts` of the quietest of several runs; memory is that of runs of their own, as tracing it costs time."""
    quiet = [asyncio.run(parts(name, home, f"{name}-{n}")) for n in range(REPEATS)]
    tracemalloc.start()
    traced = [asyncio.run(parts(name, home, f"{name}-traced-{n}")) for n in range(REPEATS)]
    tracemalloc.stop()
    early, later, *_ = min(quiet, key=lambda found: found[0] + found[1])
    *_, few, more = map(median, zip(*traced, strict=True))  # a single one may hold what was on its way just then
    return early, later, few, more


def measure() -> list[tuple[str, float, float, float, float]]:
    """Rows of (what, baseline, ours, ratio, limit)."""
    rows = []
    for name in TALKS:
        with tempfile.TemporaryDirectory() as folder:
            home = open_persistence(f"sqlite:///{Path(folder) / 'talks.db'}")
            for about, where, limit in (("no saver", None, LIMIT), ("SQLite, sync", home, SAVED)):
                base, ours = asyncio.run(compare(name, where))
                rows.append((f"{name}, {about}: µs of CPU a turn, raw loop and ours", base, ours, ours / base, limit))
            early, later, few, more = long_talk(name, home)
            ends = f"the first and the last {PART} of {LONG} turns"
            rows.append((f"{name}: ms of CPU, {ends}", early, later, later / early, SLOWER))
            rows.append((f"{name}: KB of memory, {ends}", few, more, more / few, SLOWER))
            home.close()
    return rows


if __name__ == "__main__":
    for row in measure():
        print(row)
