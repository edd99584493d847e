"""The roles of an arbitration: sides who answer, a weighing by rules, an arbiter for what these leave open."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nodes.agent import Bound, as_node
from state.agent import Reply
from state.arbitration import Rule, Ruling, State, decide, foremost, given, heard, record, results_of, tie
from state.concurrent import Key, faults, in_order, outcome_of
from state.task import Task
from state.turn import ended, reasons, task_of, weaker

Node = Callable[..., Awaitable[dict[str, Any]]]

ARBITRATE = (
    "These results about one subject contradict each other. Decide which of them is right by what supports it, not "
    "by how it is worded or who said it. Say why. Take a middle way only if you are asked to answer in your own words."
)


def side(bound: Bound, at: int) -> Node:
    """One side's own answer; all of them answer in the same super-step, and hear nothing of each other."""
    name = bound.agent.name

    def write(state: State, reply: Reply) -> dict[str, Any]:
        result = {
            "at": at,
            "agent": name,
            "output": reply.output,
            "outcome": reply.outcome,
            "reason": reply.reason,
            "confidence": reply.confidence,
        }
        return {"results": {name: result}}

    return as_node(bound, read=task_of, write=write, visit=lambda state: f"{name}/0")


def weigh(rules: Sequence[Rule], key: Key, *, arbiter: bool) -> Node:
    """Agreement or the rules decide; what they leave open goes to the arbiter, or is said to be open."""

    async def weigh(state: State) -> dict[str, Any]:
        sides, results = heard(state), state.get("results") or {}
        if not sides:
            return ended(outcome_of(results, 1), f"no side brought a result: {faults(results)}")
        found = decide(sides, rules, key)
        best, end = foremost(found.standing), outcome_of(results, 1) if results else "completed"
        if found.tied and arbiter and end != "out_of_budget":
            return {}
        reason = reasons(tie(found.standing) if found.tied else "", faults(results))
        if found.tied and end == "completed":
            end = "degraded"
        ruling = record(_all(state), found, best["output"], key=key)
        return {"ruling": ruling, **ended(end, reason, answer=best["output"], author=best["agent"])}

    return weigh


def arbitrate(bound: Bound, rules: Sequence[Rule], key: Key) -> Node:
    """The arbiter's word on the sides that are still standing: one of them by its number, or an answer of its own."""
    name = bound.agent.name

    def read(state: State) -> Task:
        task = task_of(state)
        standing = decide(heard(state), rules, key).standing
        known = {k: v for k, v in task.context.items() if k != "results"}
        context = {"instructions": ARBITRATE, **known, "results": results_of(standing)}
        return task.model_copy(update={"context": context})

    def write(state: State, reply: Reply) -> dict[str, Any]:
        found = decide(heard(state), rules, key)
        best, results = foremost(found.standing), state.get("results") or {}
        answer, author, said, flaw = reply.output, name, reply.reason, ""
        if reply.output is not None and bound.agent.output is Ruling:
            word = Ruling.model_validate(reply.output)
            said = word.reason
            chosen = found.standing[word.number - 1] if word.number <= len(found.standing) else None
            answer, author = (chosen["output"], chosen["agent"]) if chosen else (None, name)
            flaw = "" if chosen else f"{name} named side {word.number} of {len(found.standing)}"
        if answer is None:  # nobody decided: the best of the sides, and it says so
            ruling = record(_all(state), found, best["output"], key=key)
            end = weaker(reply.outcome) if not flaw else "degraded"
            reason = reasons(tie(found.standing), flaw or reply.reason, faults(results))
            return {"ruling": ruling, **ended(end, reason, answer=best["output"], author=best["agent"])}
        end = outcome_of(results, 1) if results else "completed"
        end = end if reply.outcome == "completed" else reply.outcome
        reason = reasons(reply.reason, faults(results))
        ruling = record(_all(state), found, answer, by=name, reason=said, key=key)
        return {"ruling": ruling, **ended(end, reason, answer=answer, author=author)}

    return as_node(bound, read=read, write=write, visit=lambda state: f"{name}/0")


def _all(state: State) -> Sequence[Any]:
    """Every side in order, those too that brought nothing."""
    sides = given(task_of(state))
    return in_order(state.get("results") or {}) if sides is None else sides
