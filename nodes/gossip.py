"""The roles of a mesh that gossips: who has heard of the task says what it knows, and all tell each other."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from nodes.agent import Bound, as_node, call
from nodes.post import post
from runtime.run import context_of
from state.agent import Outcome, Reply
from state.envelope import Envelope, message_id
from state.gossip import TASK, State, spread, told
from state.mesh import Net, between
from state.task import Task
from state.turn import concluded, ended, reasons, steps_left, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

CONCLUDE = "Answer the task from the news of your peers, with their sources. Say plainly where they disagree."
SPARE = 6  # super-steps that one more round, the one after it, and the end need


def tell(net: Net, *, fanout: int, max_rounds: int) -> Node:
    """One round: every peer tells what it has heard, and who hears of the task for the first time is asked."""

    async def tell(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        said, round = state["said"], state["round"] + 1
        news = {**state["news"], **{n: s["output"] for n, s in said.items() if s["output"] is not None}}
        flaws = [*state["flaws"], *(said[n]["reason"] for n in sorted(said) if said[n]["outcome"] != "completed")]
        heard = {n: sorted({*state["heard"].get(n, []), *([n] if n in news else [])}) for n in net.peers}
        update: dict[str, Any] = {"said": Overwrite({}), "news": news, "flaws": flaws, "asked_now": []}
        if broke := next((n for n in sorted(said) if said[n]["outcome"] == "out_of_budget"), ""):
            best = news.get(net.entry) or next((news[n] for n in sorted(news)), None)
            return update | ended("out_of_budget", said[broke]["reason"], answer=best, author=net.entry)
        if round == 1:
            return update | {"round": 1, "heard": {**heard, net.entry: [TASK]}, "asked_now": [net.entry]}
        if len(net.peers) == 1:
            return update | {"heard": heard} | _alone(said[net.entry], net.entry)
        if all({TASK, *news} <= set(h) for h in heard.values()):
            return update | {"heard": heard, "over": True}
        if round > max_rounds or steps_left(state) < SPARE:
            deaf = [n for n in net.peers if not {TASK, *news} <= set(heard[n])]
            why = f"after {state['round']} rounds not everybody has heard everything: {', '.join(deaf[:6])}"
            return update | {"heard": heard, "flaws": [*flaws, why], "over": True}
        seed, now, counts = context_of(runtime).seed, time.time(), dict(state["counts"])
        calls = told(heard, net.knows, fanout=fanout, seed=seed, round=round)
        await post([_event(state, counts, now, *one) for one in calls], config=config, runtime=runtime)
        after = spread(heard, calls)
        first = [n for n in net.peers if TASK in after[n] and TASK not in heard[n]]
        return update | {"round": round, "heard": after, "asked_now": first, "counts": counts}

    return tell


def route(state: State) -> list[Send] | str:
    """To who has heard of the task just now, to the next round, or to the one who answers."""
    if state.get("outcome"):
        return "finish"
    if state.get("over"):
        return "conclude"
    sent = {"task": state["task"], "round": state["round"]}
    return [Send(name, {**sent, "name": name}) for name in state["asked_now"]] or "spread"


def peer(bound: Bound) -> Node:
    """One peer says what it has to say to the task."""

    async def peer(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        name = sent["name"]
        reply = await call(
            bound,
            task_of(sent),  # type: ignore[arg-type]  # what `route` sent
            visit=f"{name}/{sent['round']}",
            config=config,
            runtime=runtime,
        )
        return {"said": {name: {"output": reply.output, "outcome": reply.outcome, "reason": reply.reason}}}

    return peer


def conclude(bound: Bound) -> Node:
    """The entry peer answers, with all the news that reached it."""
    name = bound.agent.name

    def read(state: State) -> Task:
        task = task_of(state)
        reached = {n: state["news"][n] for n in state["heard"][name] if n in state["news"]}
        return task.model_copy(update={"context": {"instructions": CONCLUDE, **task.context, **reached}})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        flaws, best = state["flaws"], state["news"].get(name)
        if not reply.ok:
            return concluded(reply, best=best)
        outcome: Outcome = "degraded" if flaws and reply.outcome == "completed" else reply.outcome
        reason = reasons(reply.reason, *flaws)
        return ended(outcome, reason, answer=reply.output, author=reply.agent)

    return as_node(bound, read=read, write=write, visit=lambda state: f"{name}/last")


def _alone(said: dict[str, Any], name: str) -> dict[str, Any]:
    """The end of a turn in which there is nobody to tell."""
    return ended(said["outcome"], said["reason"], answer=said["output"], author=name)


def _event(state: State, counts: dict[str, int], now: float, sender: str, to: str, news: list[str]) -> Envelope:
    """One telling as an envelope; `counts` has the last number of each way."""
    way, conversation = f"{sender}>{to}", between(state["turn"], sender, to)
    number = counts[way] = counts.get(way, 0) + 1
    return Envelope(
        id=message_id(conversation, sender, number),
        conversation=conversation,
        sender=sender,
        recipient=to,
        kind="event",
        payload={"news": list(news)},
        sequence=number,
        sent_at=now,
    )
