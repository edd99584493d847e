"""The roles of generate, critique, revise."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime
from langgraph.types import Overwrite

from nodes import human
from nodes.agent import Bound, as_node
from state.agent import Reply
from state.critic import State, blocking, issues_of, listed, unheard, verdict_of, weight
from state.decision import ActionRequest, Request, ReviewConfig
from state.task import Task
from state.turn import concluded, ended, reasons, steps_left, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

STEPS_PER_ROUND = 6  # super-steps that another round and the end need

REVIEW = (
    "Review the draft against the task. Say accept, revise or reject, and list each issue with its place and how to "
    "check it. Mark as blocking only what makes the draft wrong or unsafe. Do not rewrite the draft."
)
REVISE = "Revise the draft so that every issue is closed. Change nothing else. Return the whole draft."


def generate(bound: Bound) -> Node:
    """The first draft."""

    def write(state: State, reply: Reply) -> dict[str, Any]:
        return _drafted(reply) | {"round": 1} if reply.ok else concluded(reply)

    return as_node(bound, read=task_of, write=write, visit=lambda state: "generate/0")


def review(bound: Bound) -> Node:
    """One critic's word on the draft; all critics speak in the same super-step."""

    def read(state: State) -> Task:
        task = task_of(state)
        return Task(goal=REVIEW, context={"task": task.goal, "success": task.success, "draft": state["draft"]})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        lost = {"missing": reply.reason, "outcome": reply.outcome}
        return {"critiques": {bound.agent.name: reply.output if reply.ok else lost}}

    return as_node(bound, read=read, write=write, visit=lambda state: f"{bound.agent.name}/{state['round']}")


def weigh(max_rounds: int) -> Node:
    """What the critics' words come to: good, beyond mending, or to be revised; the best draft is kept."""

    async def weigh(state: State) -> dict[str, Any]:
        said, draft, author = state["critiques"], state["draft"], state["drafted_by"]
        heard = {name: c for name, c in said.items() if "verdict" in c}
        missing = unheard(said)
        worst = next((c["outcome"] for c in said.values() if c.get("outcome", "degraded") != "degraded"), None)
        if worst or not heard:
            best = state.get("best") or draft
            return ended(weaker(worst or "degraded"), missing, answer=best, author=author)
        issues, verdict = issues_of(heard), verdict_of(heard)
        better = state.get("best") is None or weight(issues) <= weight(state["best_open"])
        best, left = (draft, issues) if better else (state["best"], state["best_open"])
        kept = {"best": best, "best_open": left}
        if verdict == "accept" and (missing or state.get("flaw")):
            return kept | ended("degraded", reasons(state.get("flaw") or "", missing), answer=draft, author=author)
        if verdict == "accept":
            return kept | ended("completed", "", answer=draft, author=author)
        if verdict == "reject":
            return kept | ended("rejected", listed(issues), author=author)
        if state["round"] >= max_rounds or steps_left(state) < STEPS_PER_ROUND:
            why = reasons(f"open after {state['round']} round(s): {listed(left)}", missing)
            return kept | ended("degraded", why, answer=best, author=author)
        return kept

    return weigh


def revise(bound: Bound) -> Node:
    """A new draft that closes the issues; the same draft again ends the loop at once."""

    def read(state: State) -> Task:
        issues = issues_of({n: c for n, c in state["critiques"].items() if "verdict" in c})
        return Task(goal=REVISE, context={"task": task_of(state).goal, "draft": state["draft"], "issues": issues})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        best = state["best"]
        if not reply.ok:
            return concluded(reply, best=best)
        if reply.output == state["draft"]:
            why = f"open, and the draft no longer changes: {listed(state['best_open'])}"
            why = reasons(why, unheard(state["critiques"]))
            return ended("degraded", why, answer=best, author=reply.agent)
        return _drafted(reply) | {"round": state["round"] + 1, "critiques": Overwrite({})}

    return as_node(bound, read=read, write=write, visit=lambda state: f"revise/{state['round']}")


def _drafted(reply: Reply) -> dict[str, Any]:
    """A draft with its author, and what its author's own contract has against it."""
    return {
        "draft": reply.output,
        "drafted_by": reply.agent,
        "flaw": "" if reply.outcome == "completed" else reply.reason,
    }


def waive() -> Node:
    """A person may waive what stayed blocking: the draft is then good as it is."""

    async def waive(state: State, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        issues = blocking({"left": {"issues": state["best_open"]}})
        request = Request(
            kind="review",
            action_requests=[
                ActionRequest(name="waive", args={"issues": issues}, description="Accept the draft with these?")
            ],
            review_configs=[ReviewConfig(action_name="waive", allowed_decisions=["approve", "reject"])],
            case={"task": task_of(state).goal, "draft": state["best"], "issues": issues},
        )
        said = await human.ask(request, agent="waive", visit=f"waive/{state['round']}", config=config, runtime=runtime)
        if said.decisions[0].type == "reject":
            return {}
        missing = unheard(state["critiques"])
        reason = reasons(f"waived by {said.by or 'a person'}: {listed(issues)}", missing)
        return {"outcome": "degraded" if missing else "completed", "reason": reason}

    return waive
