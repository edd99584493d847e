"""The bidder's side of a market: its word on a call for proposals, and its work when it has won."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes.agent import Bound, call
from runtime.run import place_of, run_of
from state.agent import Reply
from state.record import Kind

Node = Callable[..., Awaitable[dict[str, Any]]]

KINDS: tuple[Kind, ...] = ("model", "function", "graph", "human")  # of records that end with an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bidder:
    """Who may do tasks, what bids for them, how many at once, and how many it has elsewhere."""

    work: Bound
    bid: Bound
    capacity: int = 1
    load: int | Callable[[], int] = 0

    @property
    def name(self) -> str:
        """The bidder's name, which is that of the agent who does the work."""
        return self.work.agent.name

    @property
    def bids_as(self) -> str:
        """The node of its bids."""
        return f"{self.name}_bid"


def propose(bidder: Bidder) -> Node:
    """One bidder's answers: a proposal, a refusal, or that it was not understood."""

    async def propose(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bidder.bid.graph  # so that LangGraph finds the nested graph from here

        async def one(part: dict[str, Any]) -> dict[str, Any]:
            reply, at = await _in_time(bidder.bid, part, config, runtime)
            return {**_about(part, bidder.name, at), **_answer(reply)}

        ends = await asyncio.gather(*map(one, sent["calls"]), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return {"heard": {part["visit"]: end for part, end in zip(sent["calls"], ends, strict=True)}}

    return propose


def execute(bidder: Bidder) -> Node:
    """The winner at work on one task; it informs, or has failed."""

    async def execute(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bidder.work.graph
        reply, at = await _in_time(bidder.work, sent, config, runtime)
        said = {**_about(sent, bidder.name, at), "kind": "inform" if reply.ok else "failure", "body": plain(reply)}
        return {"heard": {sent["visit"]: said}}

    return execute


def plain(reply: Reply) -> dict[str, Any]:
    """What the market keeps of a piece of work."""
    return {"output": reply.output, "outcome": reply.outcome, "reason": reply.reason}


async def _in_time(
    bound: Bound, sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]
) -> tuple[Reply, float]:
    """A reply, and when it came. Past its time a leaf is cut off; a graph or a person is waited for, and then late.

    By the book an answer came when it was given, so that one from before a crash is not late after it.
    """
    visit, until = sent["visit"], sent["until"]
    place = place_of(config)
    book = (await run_of(place, runtime)).book

    def given_at() -> float | None:
        done = [r for kind in KINDS for r in book.of(place.path, visit, kind) if r["outcome"] == "completed"]
        return max((r["at"] + r["latency_ms"] / 1000 for r in done), default=None)

    cut = None if until is None or not bound.leaf or given_at() else max(0.0, until - time.time())
    try:
        async with asyncio.timeout(cut):
            reply = await call(bound, sent["given"], visit=visit, config=config, runtime=runtime)
    except TimeoutError:
        why = f"{bound.agent.name} (environment): nothing came in time"
        return Reply(agent=bound.agent.name, output=None, outcome="failed", reason=why), max(time.time(), until + 1e-3)
    return reply, given_at() or time.time()


def _about(sent: dict[str, Any], name: str, at: float) -> dict[str, Any]:
    return {"lot": sent["lot"], "epoch": sent["epoch"], "from": name, "at": at}


def _answer(reply: Reply) -> dict[str, Any]:
    if reply.output is None:
        return {"kind": "not_understood", "body": {"why": reply.reason, "outcome": reply.outcome}}
    if reply.output["refuse"]:
        return {"kind": "refuse", "body": {"why": reply.output["why"]}}
    return {"kind": "propose", "body": {"bid": reply.output, "outcome": reply.outcome}}
