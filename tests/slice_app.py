"""React inside critic inside orchestrator and workers, with one approval in the deepest graph."""

import asyncio
import os
from typing import Any

from scripted import Scripted, note

from graphs import critic, orchestrator_worker
from graphs.bind import bind
from state.agent import Agent
from state.critic import Critique
from state.plan import Plan
from state.tool import Arguments, Tool, ToolContext

LOG = os.environ.get("SLICE_LOG", "")
PAUSE = float(os.environ.get("SLICE_PAUSE", "0"))


class Letter(Arguments):
    to: str


async def send(letter: Letter, context: ToolContext) -> dict[str, str]:
    if LOG:
        note(LOG, f"sent {letter.to}")
    await asyncio.sleep(PAUSE)
    return {"sent": letter.to}


async def look(letter: Letter, context: ToolContext) -> str:
    await asyncio.sleep(PAUSE)
    return f"{letter.to} lives at 1 Main Street"


SEND = Tool(name="send", description="Send a letter.", args=Letter, run=send, effects="irreversible")
LOOK = Tool(name="look", description="Look up an address.", args=Letter, run=look)


def clerk(messages: Any, tools: Any) -> Any:
    done = [m for m in messages if m.type == "tool"]
    if not done:
        return [("look", {"to": "ann"})]
    if len(done) == 1:
        return [("send", {"to": "ann"})]
    return f"letter: {done[-1].text}"


def editor(messages: Any, tools: Any) -> Any:
    if "better letter" in messages[1].text:
        return [("Critique", {"verdict": "accept", "issues": []})]
    issue = {"severity": "blocking", "where": "start", "what": "too dry", "check": ""}
    return [("Critique", {"verdict": "revise", "issues": [issue]})]


def model(script: Any) -> Scripted:
    return Scripted(script=script, log=LOG, seconds=PAUSE)


def plan(messages: Any, tools: Any) -> Any:
    steps = [
        {"id": "a", "worker": "team", "task": "write to ann"},
        {"id": "b", "worker": "counter", "task": "count"},
        {"id": "c", "worker": "counter", "task": "count again", "needs": ["a", "b"]},
    ]
    return [("Plan", {"steps": steps})]


team = critic.build(
    bind(Agent(name="clerk", responsibility="Sends letters.", tools=(LOOK, SEND)), model(clerk)),
    [bind(Agent(name="editor", responsibility="Edits.", output=Critique), model(editor))],
    reviser=bind(Agent(name="reviser", responsibility="Revises."), model(lambda m, t: "better letter")),
)
graph = orchestrator_worker.build(
    bind(Agent(name="planner", responsibility="Plans.", output=Plan), model(plan)),
    [
        bind(Agent(name="team", responsibility="Writes letters."), team),
        bind(Agent(name="counter", responsibility="Counts."), model(lambda m, t: "three")),
    ],
    bind(Agent(name="writer", responsibility="Writes up."), model(lambda m, t: "all done")),
)
