"""The roles of a router: classify, clarify, the specialists, and who makes one answer of several."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from nodes import human
from nodes.agent import Bound, as_node
from state.agent import Reply
from state.decision import ActionRequest, Request, ReviewConfig
from state.router import Route, State, conclusion, misnamed, question_of
from state.task import Task
from state.turn import concluded, ended, reasons, steps_left, task_of

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_TO_END = 6  # super-steps from a classification to the end of the turn, a question on the way included

CLASSIFY = (
    "Say which of these workers should do the task, and how sure you are. Do not do the task. If you are not sure, "
    "write the question to the user whose answer would settle it."
)
ONE = "Name one worker only."
SEVERAL = "Where the task needs the answers of several workers, name the others too."
SYNTHESIZE = (
    "Answer the goal from these answers, with their sources as [file#section]. Add nothing that is not in them. "
    "Say plainly where they disagree, and what is missing."
)


def classify(
    bound: Bound, team: Mapping[str, str], floor: float, fallback: str, *, several: bool, clarify: bool, repairs: int
) -> Node:
    """Who the task is for. A name that nobody has goes back with the list; what is not sure, to user or fallback.

    `team` is the specialists' names and what they are for; `fallback` is empty where there is none.
    """

    def read(state: State) -> Task:
        task = task_of(state)
        told: dict[str, Any] = {"instructions": f"{CLASSIFY} {SEVERAL if several else ONE}", "workers": dict(team)}
        if state.get("fault"):
            told |= {"your last choice": state.get("route"), "what is wrong with it": state["fault"]}
        return task.model_copy(update={"context": {**told, **task.context}})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        if reply.output is None:
            if not fallback or reply.outcome == "out_of_budget":
                return concluded(reply)
            return {"chosen": [fallback], "flaw": reply.reason}
        route = Route.model_validate(reply.output)
        update = {"route": reply.output, "flaw": "" if reply.outcome == "completed" else reply.reason, "fault": ""}
        if fault := misnamed(route.names, team, several=several):
            misses = state["misses"] + 1
            if misses <= repairs and steps_left(state) > STEPS_TO_END:
                return update | {"fault": fault, "misses": misses}
            return update | _astray(fallback, reply, f"{reply.agent} names nobody who could do it: {fault}")
        if route.confidence >= floor:
            return update | {"chosen": [name for name in team if name in route.names], "misses": 0}
        unsure = f"{reply.agent} is not sure of {', '.join(route.names)}: {route.confidence:g} is below {floor:g}"
        if clarify and not state["asked_back"] and steps_left(state) > STEPS_TO_END:
            return update | {"misses": 0}
        if fallback:
            return update | {"chosen": [fallback], "detour": unsure}
        question = question_of(reply.output, task_of(state).goal, team)
        return update | ended("degraded", f"asked back: {unsure}", answer=_text(question), author=reply.agent)

    def visit(state: State) -> str:
        return f"classify/{state['asked_back']}/{state['misses']}"

    return as_node(bound, read=read, write=write, visit=visit)


def clarify(team: Mapping[str, str]) -> Node:
    """The user is asked what they mean; who answers makes the task clearer, who declines leaves it as it is."""

    async def clarify(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        task = task_of(state)
        question = question_of(state.get("route") or {}, task.goal, team)
        case = {"task": task.goal, "question": question, "specialists": dict(team)}
        request = Request(
            kind="input",
            action_requests=[ActionRequest(name="clarify", args={"question": question}, description=question)],
            review_configs=[ReviewConfig(action_name="clarify", allowed_decisions=["respond", "reject"])],
            case=case,
        )
        said = await human.ask(request, agent="clarify", visit="clarify/0", config=config, runtime=runtime)
        answer = said.decisions[0]
        known = {"asked back": question, "the user's answer": answer.message} if answer.type == "respond" else {}
        whole = task.model_copy(update={"context": {**task.context, **known}, "turn": state["turn"]})
        return {"task": whole.model_dump(mode="json"), "asked_back": state["asked_back"] + 1}

    return clarify


def specialist(bound: Bound) -> Node:
    """One who was chosen does the task; several do it in the same super-step."""
    name = bound.agent.name

    def write(state: State, reply: Reply) -> dict[str, Any]:
        said = {"output": reply.output, "outcome": reply.outcome, "reason": reply.reason, "by": reply.agent}
        return {"results": {name: said}}

    return as_node(bound, read=task_of, write=write, visit=lambda state: f"{name}/0")


def join() -> Node:
    """The one answer, or all of them under their names."""

    async def join(state: State) -> dict[str, Any]:
        outcome, reason, answer = conclusion(state["results"], state["chosen"], state["flaw"])
        author = state["results"][state["chosen"][0]]["by"] if len(state["chosen"]) == 1 else ""
        return ended(outcome, reasons(state["detour"], reason), answer=answer, author=author)

    return join


def synthesize(bound: Bound) -> Node:
    """One answer from those of several specialists; without it, theirs stand under their names."""

    def read(state: State) -> Task:
        found = {name: r["output"] for name, r in state["results"].items() if r["output"] is not None}
        gone = {"missing": state["reason"]} if state["reason"] else {}
        task, told = task_of(state), {"instructions": SYNTHESIZE}
        return task.model_copy(
            update={"context": {**told, **task.context, **{n: found[n] for n in state["chosen"] if n in found}, **gone}}
        )

    def write(state: State, reply: Reply) -> dict[str, Any]:
        update = concluded(reply, best=state["answer"])
        if state["outcome"] == "completed":
            return update
        outcome = state["outcome"] if update["outcome"] == "completed" else update["outcome"]
        return update | {"outcome": outcome, "reason": reasons(state["reason"], reply.reason)}

    return as_node(bound, read=read, write=write, visit=lambda state: "synthesize/0")


def _astray(fallback: str, reply: Reply, why: str) -> dict[str, Any]:
    return {"chosen": [fallback], "flaw": why} if fallback else ended("failed", why, author=reply.agent)


def _text(text: str) -> dict[str, Any]:
    return {"text": text, "citations": [], "confidence": None}
