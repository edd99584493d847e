"""What an orchestrator remembers of its plan, and the decisions on what comes next."""

from typing import Annotated, Any, Literal

from state.answers import cited
from state.plan import Plan, Step, missing, progress
from state.reducers import merge_keys
from state.turn import Turn, reasons, steps_left


class State(Turn, total=False):
    """`results` is written by all workers of a layer at once, each under its step's id.

    A result is {"output": … or None, "reason", "outcome", "worker", "fatal"}.
    """

    plan: dict[str, Any] | None
    plan_faults: list[str]
    plan_repairs: int
    replans: int
    failures: dict[str, str]
    results: Annotated[dict[str, Any], merge_keys]


def plan_of(state: State) -> Plan:
    """The plan that is being worked on."""
    return Plan.model_validate(state.get("plan"))


def next_move(state: State, max_replans: int) -> Literal["work", "replan", "synthesize"]:
    """What follows a piece of work: more of the plan, a new plan for what failed, or the synthesis."""
    now, left = progress(plan_of(state), state.get("results") or {}), steps_left(state)
    if spent_out(state) or left < 6:
        return "synthesize"
    if not now.over:
        return "work"
    return "replan" if now.broken and (state.get("replans") or 0) < max_replans and left > 10 else "synthesize"


def ready(state: State) -> list[Step]:
    """The steps whose needs are met, in plan order."""
    plan = plan_of(state)
    now = progress(plan, state.get("results") or {}).ready
    return [s for s in plan.steps if s.id in now]


def kept(state: State) -> dict[str, Any]:
    """The results that stand."""
    return {i: r for i, r in (state.get("results") or {}).items() if r["output"] is not None}


def spent_out(state: State) -> bool:
    """Whether a budget ended the work."""
    return any(r["outcome"] == "out_of_budget" for r in (state.get("results") or {}).values())


def best_of(state: State) -> dict[str, Any] | None:
    """The results so far as one text: the best answer there is before a synthesis."""
    found = {i: r["output"] for i, r in kept(state).items()}
    if not found:
        return None
    text = "\n\n".join(f"{i}: {o.get('text', o)}" for i, o in found.items())
    return {"text": text, "citations": cited(found.values()), "confidence": None}


def lost(state: State) -> str:
    """What is missing of the plan, and which results are not whole, in words."""
    weak = [f"{i} is {r['outcome']} ({r['reason']})" for i, r in kept(state).items() if r["outcome"] != "completed"]
    return reasons(missing(plan_of(state), state.get("results") or {}), *weak)
