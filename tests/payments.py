"""An agent that pays whoever its task names, and what a test needs to answer its questions."""

from typing import Any

from langgraph.types import Command
from scripted import Scripted

from graphs import concurrent
from graphs.bind import bind
from runtime.book import Book
from runtime.persistence import Persistence
from runtime.sync import Graph
from runtime.travel import at
from state.agent import Agent
from state.context import Context
from state.tool import Arguments, Tool, ToolContext

APPROVE: Any = {"decisions": [{"type": "approve"}]}
PAID: list[Any] = []


class Payment(Arguments):
    to: str
    amount: int = 0


async def pay(given: Payment, context: ToolContext) -> str:
    PAID.append((given.to, given.amount))
    return "paid"


def said(messages: Any, tools: Any) -> Any:
    """As many batches of calls as the task has words; a word is NAME or NAME:AMOUNT, with + between calls."""
    done = sum(m.type == "ai" for m in messages)
    batches = messages[1].text.splitlines()[0].split()
    if done >= len(batches):
        return "done"
    pairs = (call.partition(":") for call in batches[done].split("+"))
    return [("pay", {"to": to, "amount": int(amount or 0)}) for to, _, amount in pairs]


def paying(description: str = "Pays somebody.", name: str = "clerk", effects: Any = "irreversible") -> Graph:
    tool = Tool(name="pay", description=description, args=Payment, run=pay, effects=effects)
    bound = bind(Agent(name=name, responsibility="Pays.", tools=(tool,)), Scripted(script=said))
    assert isinstance(bound.graph, Graph)
    return bound.graph


graph = paying()
PAY = "payments:graph"


async def start(home: Persistence, task: str = "ann", bound: Graph | None = None, **context: Any) -> Graph:
    bound = home.bind(bound or graph)
    await bound.ainvoke({"task": task}, at("t"), context=Context(**context))
    return bound


async def open_(bound: Graph) -> dict[str, Any]:
    return {i.id: i.value for i in (await bound.aget_state(at("t"))).interrupts}


async def answer(bound: Graph, given: Any, **context: Any) -> Any:
    return await bound.ainvoke(Command(resume=given), at("t"), context=Context(**context))


async def people(home: Persistence) -> list[Any]:
    book = await Book(home.store, thread="t", branch="main", turn=1).load()
    return [r for r in book.records() if r["kind"] == "human"]


two = concurrent.build([bind(Agent(name=n, responsibility="Pays."), paying()) for n in ("one", "two")])
