"""The roles of a mesh: the delivery of messages, the peers, and a person who breaks loops and deadlocks."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Send

from nodes import human
from nodes.agent import Bound, call
from nodes.post import post
from state.decision import ActionRequest, Decisions, Request, ReviewConfig
from state.delivery import deliver as delivered
from state.mesh import Net, Said, State
from state.task import Task
from state.turn import task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

READ = "Read the messages in your mailbox, and do what they ask of you."
HOW = (
    "You work with peers who see only what you write to them. Send messages to peers that you know, each with all it "
    "needs. Their answers come to you later. Once you can answer whoever asked you, give the answer and say done."
)


def deliver(net: Net) -> Node:
    """Takes what was said in this round, delivers it, and hands mail to who can go on; decides nothing for anybody."""

    async def deliver(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        update, posted = delivered(state, net, time.time())
        await post(posted, config=config, runtime=runtime)
        return update

    return deliver


def route(state: State) -> list[Send] | str:
    """To every peer that has mail, to a person where something is to be decided, or to the end."""
    if state.get("outcome"):
        return "finish"
    if state.get("open"):
        return "decide"
    common = {"task": state["task"], "round": state["round"]}
    return [Send(name, {**common, "name": name, "job": state["jobs"][name]}) for name in state["handed"]]


def peer(bound: Bound, known: Sequence[Bound]) -> Node:
    """One peer reads its mailbox and says what it has to say."""
    talks = bound.agent.output is Said
    others = "\n".join(f"- {other.agent.name}: {other.agent.responsibility}" for other in known)

    async def peer(sent: dict[str, Any], config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        _ = bound.graph  # so that LangGraph finds the nested graph from here
        name = sent["name"]
        given = _given(task_of(sent), sent["job"], others if talks else "")  # type: ignore[arg-type]  # what `route` sent
        reply = await call(bound, given, visit=f"{name}/{sent['round']}", config=config, runtime=runtime)
        said = {"output": reply.output, "outcome": reply.outcome, "reason": reply.reason, "talks": talks}
        return {"said": {name: said}}

    return peer


def decide() -> Node:
    """A person says who gives up in each loop and deadlock, or ends the turn with what there is."""

    async def decide(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        found = state["open"]
        request = Request(
            kind="review",
            action_requests=[
                ActionRequest(
                    name=one["kind"],
                    args={"victim": one["who"]},
                    description=f"{one['what']}: shall {one['who']} give up? Edit to name another; reject to end here",
                )
                for one in found
            ],
            review_configs=[
                ReviewConfig(action_name=one["kind"], allowed_decisions=["approve", "edit", "reject"]) for one in found
            ],
            case={"task": task_of(state).goal, "incidents": found},
        )

        def refuse(said: Decisions) -> str:
            for one, decision in zip(found, said.decisions, strict=True):
                if decision.type == "edit" and (decision.args or {}).get("victim") not in one["cycle"]:
                    return f"`victim` must be one of {', '.join(one['cycle'])}"
            return ""

        said = await human.ask(
            request, agent="decide", visit=f"decide/{state['round']}", config=config, runtime=runtime, refuse=refuse
        )
        return {"decisions": [decision.model_dump(mode="json") for decision in said.decisions]}

    return decide


def _given(task: Task, job: dict[str, Any], others: str) -> Task:
    """What a peer is shown: the first thing it was asked, what it knows, and its mail."""
    asked = job["open"]
    said = asked[0]["said"] if asked else {}
    context = {**task.context, **(said.get("context") or {})}
    if others:
        context |= {"instructions": HOW, "workers": others}
    if asked and asked[0]["kind"] != "task":
        context["message"] = {"kind": asked[0]["kind"], **said}
    if asked[1:]:
        context["also asked"] = [{"from": one["from"], "what": one["what"]} for one in asked[1:]]
    if job["news"]:
        context["messages"] = job["news"]
    if job["answers"]:
        context["answers"] = job["answers"]
    goal = asked[0]["what"] if asked else READ
    update = {"goal": goal or READ, "context": context, "success": said.get("success") or []}
    return task.model_copy(update=update)
