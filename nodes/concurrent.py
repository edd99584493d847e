"""The roles of a fan-out: branches at work, or in a race, and who makes one answer of what they bring."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes.agent import Bound, as_node, call
from runtime.run import Run, place_of, run_of
from state.agent import Outcome, Reply
from state.blame import says
from state.concurrent import (
    Aggregator,
    Choice,
    Found,
    Settled,
    Splitter,
    State,
    chosen,
    chunks,
    dealt,
    faults,
    in_order,
    outcome_of,
    useful,
)
from state.errors import InputError
from state.task import Task
from state.turn import ended, reasons, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

SYNTHESIZE = (
    "Answer the goal from these results, with their sources as [file#section]. Add nothing that is not in them. "
    "Say plainly where they disagree, and what is missing."
)
JUDGE = "Compare the numbered candidates, each an answer to the task. Name the number of the best one, and why."

KEPT = 256  # races remembered; one that a crash ended is never taken back


def send(state: State, agents: Sequence[str], split: Splitter, *, least: int, chunk: int) -> list[Send]:
    """Every branch to its agent, by itself or with others. Raises InputError when there are too few of them."""
    branches = dealt(task_of(state), agents, split)
    if len(branches) < least:
        raise InputError(
            f"{len(branches)} branch(es) cannot bring the {least} results that are needed: give more tasks or agents"
        )
    since = time.time()  # saved with what is sent, so that it stays the same on a resume
    return [Send(agent, {"branches": some, "since": since}) for agent, some in chunks(branches, chunk)]


def branch(bound: Bound, aggregator: Aggregator, *, timeout: float | None) -> Node:
    """One agent at work on what was sent to it, all at once; in a race, until the others have settled it."""
    name = bound.agent.name

    async def branch(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        race = await _race(aggregator, sent["since"], config, runtime) if aggregator.enough else None

        async def one(part: dict[str, Any]) -> dict[str, Any]:
            visit = part["visit"]

            def work() -> Awaitable[Reply]:
                return call(bound, part["given"], visit=visit, config=config, runtime=runtime)

            try:
                async with asyncio.timeout(timeout):
                    reply = await (race.run(visit, work) if race else work())
            except TimeoutError:
                return _result(part, "failed", f"{name} (environment): no answer within {timeout:g} s")
            if reply is None:
                return _result(part, "cancelled", "settled without it")
            result = _result(part, reply.outcome, reply.reason, reply)
            if race:
                race.add(visit, result)
            return result

        parts = sent["branches"]
        ends = await asyncio.gather(*map(one, parts), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return {"results": {part["visit"]: end for part, end in zip(parts, ends, strict=True)}}

    return branch


def gather(aggregator: Aggregator, least: int) -> Node:
    """Where the results meet: too few end the turn, else they are settled, or go to the agent who does that."""

    async def gather(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        if aggregator.enough:
            place = place_of(config)
            _races.pop((id(await run_of(place, runtime)), place.path), None)
        results = state["results"]
        found = useful(results)
        if len(found) < least:
            settled = _settled(aggregator, found) if found else Settled(None)
            end = outcome_of(results, least)
            reason = f"{len(found)} of {len(results)} branches brought a result, {least} needed: {faults(results)}"
            return ended(end, reason, answer=settled.answer if end == "out_of_budget" else None, author=settled.by)
        return {} if aggregator.by else _conclusion(state, least, _settled(aggregator, found))

    return gather


def synthesize(bound: Bound, aggregator: Aggregator, least: int) -> Node:
    """One answer from all results, written by an agent."""

    def read(state: State) -> Task:
        found = useful(state["results"])
        several = len({f["agent"] for f in found}) < len(found)
        named = {f"{f['agent']} {f['at'] + 1}" if several else f["agent"]: f["output"] for f in found}
        context = {"instructions": SYNTHESIZE, **_known(state), **named}
        if gone := faults(state["results"]):
            context["missing"] = gone
        return task_of(state).model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        settled = Settled(reply.output, reply.agent) if reply.ok else _settled(aggregator, useful(state["results"]))
        return _conclusion(state, least, settled, reply)

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/0")


def judge(bound: Bound, aggregator: Aggregator, least: int) -> Node:
    """The best of all results, by the word of an agent who does not know whose they are."""

    def read(state: State) -> Task:
        candidates = {str(n): f["output"] for n, f in enumerate(useful(state["results"]), 1)}
        task = task_of(state)
        return Task(goal=JUDGE, context={"task": task.goal, "success": task.success, **candidates})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        found = useful(state["results"])
        if reply.output is None:
            return _conclusion(state, least, _settled(aggregator, found), reply)
        return _conclusion(state, least, chosen(found, Choice.model_validate(reply.output)), reply)

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/0")


class Race:
    """What the branches of one race know of each other while they run.

    It lives in this process alone. After a crash it is made anew from the book, so that a race that
    was won stays won.
    """

    def __init__(self, run: Run, enough: Callable[[Sequence[Found]], bool]) -> None:
        self.enough, self.over = enough, asyncio.Event()
        self.owner = run  # held, so that no other run gets its id while this is remembered
        self.found: dict[str, Found] = {}

    def add(self, visit: str, result: Found) -> None:
        """Take in a result; the race is over when it settles the matter."""
        if result["output"] is not None:
            self.found[visit] = result
            if self.enough(in_order(self.found)):
                self.over.set()

    async def run(self, visit: str, work: Callable[[], Awaitable[Reply]]) -> Reply | None:
        """Do the work of one branch; None when the race was over before it."""
        if visit in self.found:  # done before a crash: the door answers from the book
            return await work()
        if self.over.is_set():
            return None
        task, over = asyncio.ensure_future(work()), asyncio.ensure_future(self.over.wait())
        try:
            await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            task.cancel()
            await asyncio.gather(task, over, return_exceptions=True)
        if self.over.is_set() and (task.cancelled() or isinstance(task.exception(), Exception)):
            return None
        return task.result()


_races: OrderedDict[tuple[int, str], Race] = OrderedDict()


async def _race(aggregator: Aggregator, since: float, config: RunnableConfig, runtime: Runtime[Any]) -> Race:
    place = place_of(config)
    run = await run_of(place, runtime)
    key = (id(run), place.path)
    if key not in _races:
        assert aggregator.enough is not None
        race = _races[key] = Race(run, aggregator.enough)
        for record in run.book.records():
            output = (record.get("content") or {}).get("output")
            if record["path"] == place.path and record["at"] >= since and record["outcome"] and output is not None:
                visit = record["visit"].split("~")[0]  # a fallback stands in for its agent
                at, sure = int(visit.rsplit("/", 1)[1]), record["content"].get("confidence")
                race.add(visit, {"at": at, "output": output, "confidence": sure, "agent": record["agent"]})
        if len(_races) > KEPT:
            _races.popitem(last=False)
    return _races[key]


def _known(state: State) -> dict[str, Any]:
    return {k: v for k, v in task_of(state).context.items() if k != "tasks"}


def _result(part: dict[str, Any], outcome: Outcome, reason: str, reply: Reply | None = None) -> dict[str, Any]:
    who = part["agent"]
    if (reason or outcome != "completed") and not says(who, reason):
        reason = f"{who}: {reason or outcome}"
    return {
        "at": part["at"],
        "agent": part["agent"],
        "output": reply.output if reply else None,
        "outcome": outcome,
        "reason": reason,
        "confidence": reply.confidence if reply else None,
    }


def _settled(aggregator: Aggregator, found: Sequence[Found]) -> Settled:
    try:
        return aggregator.settle(found)
    except Exception as error:  # a function of the user's, on data it did not foresee
        return Settled(None, flaw=f"{aggregator.name} failed: {type(error).__name__}: {error}"[:400])


def _conclusion(state: State, least: int, settled: Settled, reply: Reply | None = None) -> dict[str, Any]:
    """The update that ends the turn: the answer, and all that it has to do without."""
    end = outcome_of(state["results"], least)
    said = [settled.flaw, reply.reason if reply else "", faults(state["results"])]
    reason = reasons(*said)
    if settled.answer is None:
        return ended("failed", reason, author=settled.by)
    if reply is not None and end != "out_of_budget" and reply.outcome != "completed":
        end = reply.outcome if reply.ok else weaker(reply.outcome)
    if end == "completed" and settled.flaw:
        end = "degraded"
    return ended(end, reason, answer=settled.answer, author=settled.by)
